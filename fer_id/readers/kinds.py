"""The readers by name, each a function of training and inner-validation clips that returns a fitted reader.

All see the same features; they differ in what they may use of a clip: one frame, an order-free summary, the child's own
baseline, the order. Classes weigh alike in every loss, since macro recall is what is judged. A linear reader's penalty
and a network's epoch are chosen on inner validation, by the mean cross-entropy over classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fer_id.models.build import HEAD_CLASSES
from fer_id.readers.baselines import minus_own_median
from fer_id.readers.networks import Lesson, balanced_loss, fit_network, trained_network
from fer_id.tasks.features import Features, Reader, linear_reader

PENALTIES = (1.0, 1e-1, 1e-2)
"""Penalties of the linear readers, the strongest first, which wins a tie."""

Fitted = Callable[[Features], Tensor]
"""Clips -> logits (N, K)."""


def fit_reader(name: str, lesson: Lesson, seed: int = 0) -> Fitted:
    """Fit the reader of this name; ``seed`` matters to networks alone. Clips without a face are left out of the fit,
    and the logits of such a clip are meaningless."""
    return _FITS[name](_seen(lesson), seed)


def _seen(lesson: Lesson) -> Lesson:
    train, validation = (clips.rows(clips.covered) for clips in (lesson.train, lesson.validation))
    return replace(lesson, train=train, validation=validation, apex=lesson.apex[lesson.train.covered])


def apex_frames(intensity: Tensor, valid: Tensor) -> Tensor:
    """Return the valid frame (N,) of the highest true intensity (N, T), in a clip of no intensity the middle one of its
    valid frames. Frame 0 without a valid frame."""
    expressive = (intensity.amax(dim=1) > 0).unsqueeze(1)
    steps = valid.cumsum(dim=1)
    middle = -(steps - (steps[:, -1:] + 1) // 2).abs().float()
    rank = torch.where(expressive, intensity.float(), middle)
    return rank.masked_fill(~valid, -torch.inf).argmax(dim=1)


def _frame(lesson: Lesson, seed: int) -> Fitted:
    """Fit a linear classifier on the apex frames of the training clips; a clip's probabilities are the mean over its
    valid frames."""
    train, validation = lesson.train, lesson.validation
    apex = train.values[torch.arange(len(train.label)), lesson.apex]

    def judged(reader: Reader, clips: Features) -> Tensor:
        shares = reader(clips.values).softmax(dim=-1).masked_fill(~clips.valid.unsqueeze(-1), 0.0)
        return (shares.sum(dim=1) / clips.valid.sum(dim=1, keepdim=True).clamp(min=1)).clamp(min=1e-12).log()

    readers = [partial(judged, linear_reader(apex, train.label, lesson.classes, p, balanced=True)) for p in PENALTIES]
    return min(readers, key=lambda reader: float(balanced_loss(reader(validation), validation.label)))


def _pooled(head: str, lesson: Lesson, seed: int) -> Fitted:
    """Fit a linear classifier on what a head without weights makes of a clip."""
    pool = HEAD_CLASSES[head](lesson.train.values.shape[2], 0, 0.0)

    def vectors(clips: Features) -> Tensor:
        with torch.inference_mode():
            pooled: Tensor = pool(clips.values, clips.valid)
        return pooled.clone()

    known, train, validation = vectors(lesson.validation), vectors(lesson.train), lesson.validation
    readers = [linear_reader(train, lesson.train.label, lesson.classes, p, balanced=True) for p in PENALTIES]
    best = min(readers, key=lambda reader: float(balanced_loss(reader(known), validation.label)))
    return lambda clips: best(vectors(clips))


def _shuffled(lesson: Lesson, seed: int) -> Fitted:
    """Fit the LSTM on clips whose frames are in random order, one order for each clip, and judge such clips: what the
    same network knows without the order."""
    train, validation = (clips.shuffled(seed) for clips in (lesson.train, lesson.validation))
    fitted = fit_network("lstm", replace(lesson, train=train, validation=validation), seed)
    return lambda clips: fitted(clips.shuffled(seed + 1))


def _own_lstm(lesson: Lesson, seed: int) -> Fitted:
    """Fit the LSTM on clips minus their own median, which is subtracted once and not in every pass."""
    train, validation = (minus_own_median(clips) for clips in (lesson.train, lesson.validation))
    fitted = fit_network("lstm", replace(lesson, train=train, validation=validation), seed)
    return lambda clips: fitted(minus_own_median(clips))


_FITS: dict[str, Callable[[Lesson, int], Fitted]] = {
    "frame": _frame,
    **{head: partial(_pooled, head) for head in ("mean", "set", "own_set", "both_sets", "running_set")},
    **{head: partial(fit_network, head) for head in ("lstm", "attention")},
    "own_lstm": _own_lstm,
    "shuffled_lstm": _shuffled,
}


FOLDED = ("mean", "lstm")
"""Readers that begin with a linear map of every frame, into which the principal components can be folded."""


def folded_weights(name: str, lesson: Lesson, seed: int, mean: Tensor, axes: Tensor) -> dict[str, Tensor]:
    """Fit a reader of :data:`FOLDED`, and return the weights of a model's ``head`` (of ``HIDDEN`` units) and
    ``classifier`` that give its logits from frame features (D) themselves, whose components ``(x - mean) @ axes`` the
    reader reads."""
    seen = _seen(lesson)
    if name == "mean":
        reader, unit = _pooled(name, seen, seed), torch.eye(axes.shape[1])
        at_zero, at_unit = (reader(_single_frames(values)).float() for values in (torch.zeros_like(unit), unit))
        weights = {"classifier.1.weight": (at_unit - at_zero).T, "classifier.1.bias": at_zero[0]}
        first, bias = "classifier.1.weight", "classifier.1.bias"
    else:
        state = trained_network(name, seen, seed).state_dict()
        weights = {key.replace("classifier.", "classifier.1."): value for key, value in state.items()}
        first, bias = "head.rnn.weight_ih_l0", "head.rnn.bias_ih_l0"
    weights[first] = weights[first] @ axes.T
    weights[bias] = weights[bias] - weights[first] @ mean
    return weights


def _single_frames(values: Tensor) -> Features:
    """Return values (N, D) as clips of one frame."""
    return Features(values.unsqueeze(1), torch.ones(len(values), 1, dtype=torch.bool), torch.zeros(len(values)), [])
