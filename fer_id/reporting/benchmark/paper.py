"""Results reported by Ramteke & Kumar, shown beside ours, never a target.

Facial Emotion Recognition for Intellectually Disabled Children Using an Explainable CNN-LSTM Framework, Tables 4 and 5.
"""

from __future__ import annotations

REPORTED = "reported by the paper"

_SCORES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auc")
TABLE4: dict[str, dict[str, float]] = {
    model: dict(zip(_SCORES, values, strict=True))
    for model, values in {
        "shallow_cnn": (0.743, 0.721, 0.698, 0.706, 0.781),
        "resnet50": (0.785, 0.762, 0.743, 0.751, 0.812),
        "efficientnet_b0": (0.809, 0.785, 0.773, 0.779, 0.839),
        "compact_vit": (0.814, 0.792, 0.781, 0.786, 0.846),
        "cnn_lstm": (0.826, 0.812, 0.793, 0.801, 0.861),
    }.items()
}
"""Model -> score, in [0, 1]."""

TABLE5 = {"happy": 0.881, "neutral": 0.837, "angry": 0.796, "fear": 0.778, "sad": 0.752}
"""Class-wise accuracy of its CNN-LSTM: the recall of each class."""

CONTRADICTIONS = (
    "Its text gives the shallow CNN 81.8 % and macro-F1 .800, its Table 4 gives 74.3 % and .706.",
    "Its text gives ResNet-50 81.3 % and macro-F1 .798, its Table 4 gives 78.5 % and .751.",
    "Its macro recall is the mean of its class-wise accuracies, if both speak of one model and one test set; but the "
    "mean of its Table 5 is 80.9 %, and its Table 4 gives the CNN-LSTM 79.3 %.",
    "It judges a simulation that it does not specify, so that its numbers cannot be repeated; it gives no interval.",
)
"""Contradictions within the paper, and limits of its numbers."""
