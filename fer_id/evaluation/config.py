"""Settings of an evaluation protocol, the folds it makes, and the breakdown of scores by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fer_id.settings import Clash, setting

Rows = NDArray[np.int64]
OWN_FRACTION, GAP_S = 0.5, 1.0
SPLITS = ("train", "validation", "test")

LEAST_FACE = 0.5
"""Smallest share of a clip's, or window's, frames with a face for its prediction to count as an answer."""

MIN_SUBJECTS = 5
"""Fewest subjects of a group that enters a gap; smaller groups are reported all the same."""


@dataclass
class ProtocolConfig:
    """Settings of the division of clips into training, inner validation and test."""

    name: str = setting(
        "official",
        choices=("official", "holdout", "kfold", "loso"),
        help="official: the dataset's own splits; holdout: one test set of groups; kfold; loso: leave one group out",
    )
    group: str = setting("subject_id", help="column whose groups are never divided; site leaves one site out")
    folds: int = setting(5, min=2, max=1000, help="number of folds of kfold")
    test_fraction: float = setting(0.25, min=0.01, max=0.9, help="share of the groups that holdout tests on")
    validation_fraction: float = setting(0.2, min=0.01, max=0.9, help="share of the other groups for inner validation")
    only: list[str] = setting([], help="run only these folds of kfold (00, 01, ...) or loso (subjects); empty for all")
    train_groups: int | None = setting(
        None, min=1, max=1_000_000, help="number of groups to train on, drawn by seed; null: all"
    )
    at_most: list[int] = setting(
        [],
        min=1,
        max=100_000_000,
        help="[train, validation, test]: most clips of each, whole subjects in an order that no seed changes, at least "
        "one subject; empty: all",
    )
    test: bool = setting(
        True, help="judge the test clips in the end; false: inner validation alone, for choices that must not see them"
    )
    mode: str = setting(
        "inductive",
        choices=("inductive", "transductive", "personalised"),
        help="what training may use of the tested subjects: nothing; their clips without labels; their earlier clips",
    )
    own_fraction: float = setting(
        OWN_FRACTION, above=0, below=1, help="personalised: share of a video's clips that are its earlier ones"
    )
    own_clips: int | None = setting(
        None, min=0, max=1_000_000, help="personalised: earlier clips of each child used; null: all"
    )
    gap_s: float = setting(
        GAP_S, min=0, max=86_400, help="personalised: seconds between the earlier clips and the tested ones"
    )
    cross_fit: int = setting(
        0,
        min=0,
        max=1000,
        help="parts of the training and validation children; a further training per fold predicts each part "
        "without it, for temperature, threshold and prediction sets; 0: inner validation alone",
    )

    @property
    def unit(self) -> str:
        """Column whose groups a fold is new to: ``group``; the subject where the published splits are used."""
        return "subject_id" if self.name == "official" else self.group

    def clashes(self) -> Iterator[Clash]:
        """Yield the combinations of settings that contradict each other."""
        if self.name == "official" and (self.mode != "inductive" or self.train_groups is not None):
            yield Clash(("mode", "train_groups"), "say who is left out first: protocol=loso, kfold or holdout")
        if self.at_most and len(self.at_most) != len(SPLITS):
            yield Clash(("at_most",), f"{self.at_most}: expected three numbers, of train, validation and test clips")
        if self.cross_fit == 1:
            yield Clash(("cross_fit",), "1 part leaves nobody to learn from; say 0, or 2 and more")
        if self.cross_fit and self.mode != "inductive":
            yield Clash(
                ("cross_fit", "mode"),
                f"the calibration children would be unseen, the tested ones partly seen ({self.mode})",
            )
        if not self.test and (self.name in ("kfold", "loso") or self.cross_fit or self.mode != "inductive"):
            yield Clash(
                ("test",),
                "false is for a single inductive training: protocol=official or holdout, protocol.cross_fit=0",
            )
        ours, usual = (self.own_clips, self.own_fraction, self.gap_s), (None, OWN_FRACTION, GAP_S)
        if self.mode != "personalised" and ours != usual:
            yield Clash(("own_clips", "own_fraction", "gap_s"), "are of protocol.mode=personalised; say that too")


@dataclass(frozen=True)
class Fold:
    """Row numbers, into the table of clips, of one division into training, inner validation and test."""

    name: str
    """``official``, ``holdout``, the fold's number, or the group left out."""
    train: Rows
    validation: Rows
    test: Rows
    dropped: dict[str, int]
    """Number of rows left out, by reason."""
    unlabelled: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    """Test rows that training may use without their labels."""
    own: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of ``train`` that are earlier clips of the tested subjects."""
    part: int | None = None
    """In cross-fitting, the number of the part whose children are in ``test``; None for the fold itself."""

    @property
    def mode(self) -> str:
        """Mode by the clips of the tested subjects that training uses; ``inductive`` where it uses none."""
        return "personalised" if len(self.own) else "transductive" if len(self.unlabelled) else "inductive"


@dataclass(frozen=True)
class Breakdown:
    """Group columns that scores are broken down by."""

    columns: Sequence[str] = ()  # empty for all suitable ones
    pairs: Sequence[str] = ()  # first:second, two columns crossed
    min_subjects: int = MIN_SUBJECTS  # fewest subjects of a group that enters a gap


ALL_GROUPS = Breakdown()
