"""Settings of optimiser, loss and adaptation, in a module that does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from fer_id.settings import setting

VIEWS: dict[str, tuple[bool, tuple[tuple[int, int], ...]]] = {
    "one": (False, ((0, 0),)),
    "flip": (True, ((0, 0),)),
    "ten": (True, ((0, 0), (-3, 0), (3, 0), (0, -3), (0, 3))),
}
"""Name -> (mirrored too, shifts right and down in pixels); ``ten`` after the ten crops of Krizhevsky et al. (2012)."""

ALIGNING = ("coral", "dann")
"""Strategies that train on the source's clips beside the cohort's."""

BY_PICTURES = ("adabn", *ALIGNING)
"""Strategies that use unlabelled clips."""


@dataclass
class OptimConfig:
    """Optimiser and learning-rate schedule. The defaults are the paper's Table 3."""

    name: str = setting("adam", choices=("adam", "adamw", "sgd"), help="optimiser")
    lr: float = setting(1e-4, above=0, max=10, help="learning rate; the peak of a schedule")
    weight_decay: float = setting(0.0, min=0, max=1, help="on matrices and kernels only, not norms and biases")
    momentum: float = setting(0.9, above=0, below=1, help="of sgd, by Nesterov's rule")
    schedule: str = setting("constant", choices=("constant", "one_cycle"), help="rate over the steps")
    warmup: float = setting(
        0.2, min=0, below=1, help="share of the steps in which one_cycle rises; 0: a cosine from the peak on"
    )
    encoder_lr: float = setting(
        1.0, above=0, max=1, help="factor on the learning rate of the frame encoder, such as 0.1 for a pretrained one"
    )
    ema: float = setting(
        0.0, min=0, below=1, help="decay of an exponential moving average of the weights, such as 0.999; 0: none"
    )


@dataclass
class LossConfig:
    """Cross-entropy, its label smoothing, and the weights of vote shares and of valence and arousal."""

    label_smoothing: float = setting(0.0, min=0, below=1, help="mass spread evenly over all classes")
    votes: float = setting(
        1.0,
        min=0,
        max=1,
        help="weight of the vote shares in the targets of clips that have them, the rest is the label's; below 1 in "
        "training alone: inner validation then goes by the label",
    )
    votes_head: float = setting(
        0.0, min=0, max=100, help="weight of a second classifier that learns the vote shares alone, in training only"
    )
    affect: float = setting(
        1.0, min=0, max=1000, help="weight of 1 - CCC of valence and arousal beside it, of a model with model.affect"
    )


@dataclass
class AdaptationConfig:
    """Adaptation of a pretrained model to new subjects; see ``fer_id.tasks.strategies``."""

    strategy: str = setting(
        "full",
        choices=("source_only", "linear_probe", "head", "full", "gradual", "l2sp", "adabn", "coral", "dann"),
        help="source_only: as it is; linear_probe: a new classifier; head: temporal head and classifier, the encoder "
        "stays as it is (also with init.encoder_from); full: everything; gradual: stage after stage, the early ones "
        "slower; l2sp: everything, pulled to its start; adabn: new batch statistics, nothing learns; coral, dann: "
        "everything, beside the clips that init.run learned from, until the features of both look alike",
    )
    unfreeze_until: float = setting(0.5, above=0, max=1, help="gradual: share of the training after which all learns")
    lr_decay: float = setting(0.5, above=0, max=1, help="gradual: learning rate of each stage before the next one's")
    l2sp: float = setting(0.01, min=0, max=100, help="l2sp: strength of the pull")
    alignment: float = setting(1.0, min=0, max=1000, help="coral, dann: weight of the alignment")
