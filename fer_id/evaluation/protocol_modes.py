"""Inductive, transductive and personalised protocols: the clips of a tested child that training may use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.evaluation.config import Fold, ProtocolConfig, Rows

NOT_SHOWN = "tested, but not shown without labels: no consent for training"
EARLIER, IN_THE_GAP = "earlier clips of the tested, not learned from", "clips of the tested within protocol.gap_s"
_TIMES = ["video_id", "t0_s", "fps"]


def consent_to(column: str, clips: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether each clip's subject consents to a use, (N,): all do without the column."""
    return clips[column].to_numpy(bool) if column in clips else np.ones(len(clips), bool)


def give_access(clips: pd.DataFrame, fold: Fold, config: ProtocolConfig) -> tuple[Fold, dict[str, int]]:
    """Return the fold under ``config.mode``, and the number of clips that the mode leaves out, by reason.

    ``transductive`` adds the test clips without their labels; ``personalised`` moves the earlier test clips to
    training. Both use only clips of children who consented to training.
    """
    if config.mode == "inductive":
        return fold, {}
    if config.mode == "personalised" and not clips["video_id"].duplicated().any():
        raise DataError("protocol.mode=personalised: no video has two clips, so none is earlier than another")
    trainable = consent_to("for_training", clips)[fold.test]
    if config.mode == "transductive":
        return replace(fold, unlabelled=fold.test[trainable]), {NOT_SHOWN: int((~trainable).sum())}
    return _personalised(clips, fold, config, trainable)


def _personalised(
    clips: pd.DataFrame, fold: Fold, config: ProtocolConfig, trainable: NDArray[np.bool_]
) -> tuple[Fold, dict[str, int]]:
    """Move the first clips of each video of the child to training, and leave out the clips within the gap after them.

    The tested clips do not depend on ``own_clips``, so that results for different numbers compare.
    """
    table = clips.iloc[fold.test][["subject_id", *_TIMES, "length", "label"]].assign(row=fold.test, trainable=trainable)
    if missing := int(table[_TIMES].isna().any(axis=1).sum()):
        raise DataError(
            f"protocol.mode=personalised: {missing} clips of fold {fold.name} do not say when they were filmed "
            f"({', '.join(_TIMES)})"
        )
    table = table.sort_values(["t0_s", "video_id", "row"], kind="stable")
    by_video = [table["subject_id"], table["video_id"]]  # two children may share a video
    place, size = table.groupby(by_video).cumcount(), table.groupby(by_video)["row"].transform("size")
    earlier = place < (config.own_fraction * size).astype(int)
    end = (table["t0_s"] + table["length"] / table["fps"]).where(earlier).groupby(by_video).transform("max")
    near = ~earlier & (table["t0_s"] < end + config.gap_s)
    own = table[earlier & table["trainable"] & table["label"].notna()]
    if config.own_clips is not None:
        own = own[own.groupby("subject_id").cumcount() < config.own_clips]
    learned: Rows = np.sort(own["row"].to_numpy(np.int64))
    test: Rows = np.sort(table["row"][~earlier & ~near].to_numpy(np.int64))
    left_out = {EARLIER: int(earlier.sum()) - len(own), IN_THE_GAP: int(near.sum())}
    return replace(fold, train=np.concatenate([fold.train, learned]), test=test, own=learned), left_out
