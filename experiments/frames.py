"""``fer-id frames RUN``: what single frames of the test clips tell a trained model, beside whole clips.

The control for every claim that time matters: if one fixed frame says as much as the clip, no temporal model is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import RunError
from fer_id.files import write_json
from fer_id.progress import track
from fer_id.runs import RunDir
from fer_id.settings import setting

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import DataLoader

    from data_modules.base import FerDataModule
    from fer_id.models.network import ClipClassifier

Hits = NDArray[np.bool_]


@dataclass
class FramesConfig:
    """Which run."""

    run: str = setting("", required=True, help="folder of a finished run")


@dataclass(frozen=True)
class Judged:
    """What was right about N labelled clips of T frames.

    Attributes:
        frame: bool (N, T), the prediction from that frame alone; False where it shows no face.
        confident: bool (N,), the prediction of the frame with the highest probability.
        clip: bool (N,), the model's own prediction from all frames.
    """

    frame: Hits
    confident: Hits
    clip: Hits


def frames(config: FramesConfig) -> str:
    """Writes ``frames.json`` into the run and says what is in it.

    Raises:
        RunError: no such run, not finished, without its checkpoint, or its store was made again since.
        RunError: its store holds clips of different length.
        StoreError: its store is gone or damaged.
    """
    run = RunDir.open(config.run)
    folds = run.folds or [run]
    parts = [_judge_fold(fold) for fold in track(folds, "folds", len(folds))]
    tests = [test for _, test in parts]
    every = np.concatenate([test.frame for test in tests])
    chosen = np.concatenate([test.frame[:, validation.frame.mean(axis=0).argmax()] for validation, test in parts])
    found = {
        "clips": len(every),
        "whole clip": float(np.concatenate([test.clip for test in tests]).mean()),
        "frame chosen on inner validation": float(chosen.mean()),
        "most confident frame": float(np.concatenate([test.confident for test in tests]).mean()),
        "best frame with hindsight": float(every.mean(axis=0).max()),
        "by frame": every.mean(axis=0).tolist(),
    }
    write_json(run.path / "frames.json", found)
    lines = [f"accuracy on {found['clips']} test clips, from"]
    lines += [f"  {name:<34}{value:.3f}" for name, value in found.items() if isinstance(value, float)]
    lines.append("  frame by frame                    " + " ".join(f"{value:.2f}" for value in every.mean(axis=0)))
    return "\n".join(lines)


def _judge_fold(run: RunDir) -> tuple[Judged, Judged]:
    """Inner validation and test of one training."""
    from experiments.parts import open_run_data
    from fer_id.models.build import build_model
    from fer_id.models.checkpoint import load_model

    config, data = open_run_data(run)
    require_one_length(run, data.clips["length"])
    model = build_model(config.model, len(data.labels)).eval()
    load_model(model, Path(run.checkpoint()))
    return _judge(model, data, data.val_dataloader()), _judge(model, data, data.test_dataloader())


def require_one_length(run: RunDir, lengths: pd.Series) -> None:
    """Raises RunError unless all clips have as many frames: else no frame has a place of its own in every clip."""
    if lengths.min() != lengths.max():
        raise RunError(
            f"{run.path}: the clips of its store have {lengths.min()} to {lengths.max()} frames, expected the same "
            "number in each, as frame 3 must be the same moment everywhere; make a store of clips of one length"
        )


def _judge(model: ClipClassifier, data: FerDataModule, loader: DataLoader[dict[str, Any]]) -> Judged:
    import torch

    parts = []
    with torch.inference_mode():
        for raw in loader:
            batch = data.on_after_batch_transfer(raw, 0)
            known = batch["label"] >= 0
            features = model.encode(batch["frames"][known], landmarks=batch["landmarks"][known])
            valid = batch["valid"][known]
            label = batch["label"][known]
            single = model.classify(model.pool(features.flatten(0, 1).unsqueeze(1), valid.flatten().unsqueeze(1)))
            sure, said = single.softmax(dim=-1).reshape(*valid.shape, -1).max(dim=-1)
            right = (said == label.unsqueeze(1)) & valid
            confident = right.gather(1, sure.masked_fill(~valid, -1).argmax(dim=1, keepdim=True)).squeeze(1)
            whole = model.classify(model.pool(features, valid)).argmax(dim=-1)
            clip = (whole == label) & valid.any(dim=1)
            parts.append([part.numpy() for part in (right, confident, clip)])
    return Judged(*(np.concatenate(one) for one in zip(*parts, strict=True)))
