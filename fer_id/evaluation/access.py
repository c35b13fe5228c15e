"""What a fold may see of a tested child: nothing, its clips without their labels, or its earlier clips with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.evaluation.config import Fold, ProtocolConfig, Rows

EARLIER, IN_THE_GAP = "earlier clips of the tested, not learned from", "clips of the tested within protocol.gap_s"


def give_access(clips: pd.DataFrame, fold: Fold, config: ProtocolConfig) -> tuple[Fold, dict[str, int]]:
    """The fold under ``config.mode``, and how many of its clips that leaves out, by reason.

    ``transductive`` adds the test clips without their labels; ``personalised`` moves the earlier ones to training. Both
    use only clips of children who consented to training.
    """
    if config.mode == "inductive":
        return fold, {}
    if config.mode == "personalised" and not clips["video_id"].duplicated().any():
        raise DataError("protocol.mode=personalised: no video has two clips, so none is earlier than another")
    may = clips["for_training"].to_numpy(bool)[fold.test] if "for_training" in clips else np.ones(len(fold.test), bool)
    if config.mode == "transductive":
        return replace(fold, unlabelled=fold.test[may]), {}
    return _personalised(clips, fold, config, may)


def _personalised(
    clips: pd.DataFrame, fold: Fold, config: ProtocolConfig, may: NDArray[np.bool_]
) -> tuple[Fold, dict[str, int]]:
    """In each video of the child the first clips are its earlier ones; what follows within the gap is left out.

    Which clips are tested does not depend on ``own_clips``, so that results for different numbers compare.
    """
    table = clips.iloc[fold.test][["subject_id", "video_id", "t0_s", "length", "fps", "label"]].assign(row=fold.test)
    if missing := int(table["t0_s"].isna().sum()):
        raise DataError(f"protocol.mode=personalised: {missing} clips do not say when they were filmed (t0_s)")
    table = table.sort_values(["t0_s", "video_id", "row"], kind="stable")
    videos = table.groupby("video_id", sort=False)
    place, size = videos.cumcount(), videos["row"].transform("size")
    earlier = place < (config.own_fraction * size).astype(int)
    end = (table["t0_s"] + table["length"] / table["fps"]).where(earlier)
    last = end.groupby(table["video_id"]).transform("max")
    near = ~earlier & (table["t0_s"] < last + config.gap_s)
    own = table[earlier & pd.Series(may, index=clips.index[fold.test]).reindex(table.index) & table["label"].notna()]
    if config.own_clips is not None:
        own = own[own.groupby("subject_id").cumcount() < config.own_clips]
    train: Rows = np.concatenate([fold.train, np.sort(own["row"].to_numpy(np.int64))])
    test: Rows = np.sort(table["row"][~earlier & ~near].to_numpy(np.int64))
    left_out = {EARLIER: int(earlier.sum()) - len(own), IN_THE_GAP: int(near.sum())}
    return replace(fold, train=train, test=test), left_out
