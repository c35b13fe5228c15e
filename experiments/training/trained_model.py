"""TrainedModel: the best model of a finished run, opened for inference, with its configuration and data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.settings.loading import read
from experiments.training.setup import open_run_data
from experiments.training.trainer import device
from fer_id.errors import RunError
from fer_id.evaluation.config import Rows
from fer_id.labels import LabelSpace
from fer_id.models.build import build_model
from fer_id.models.checkpoint import load_model
from fer_id.models.config import OWN_MODULE, UNTRAINED
from fer_id.models.network import ClipClassifier
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.numerics import FORMATS, autocast, usable

CHECKED = 8
"""Test clips on which a run's files are compared with each other."""

MOST_APART = 0.1
"""Mean difference of a logit, over the mean size of the recorded ones (at least 1), that bfloat16 explains."""


@dataclass(frozen=True)
class TrainedModel:
    """The best model of a run in evaluation mode, on a device and in the memory format of the training, with the run's
    configuration and classes.

    ``precision`` is that of the training (``32`` or ``bf16``) where the device supports it, else ``32``; in another one
    some predictions would differ.
    """

    run: RunDir
    config: TrainConfig
    labels: LabelSpace
    model: ClipClassifier
    device: torch.device
    precision: str

    @classmethod
    def open(cls, run: RunDir) -> TrainedModel:
        """Open a run on a GPU if there is one and the configuration does not exclude it, else on the CPU; raise
        RunError for a cross-validation, which has a model for each fold, and CheckpointError for weights that do not
        fit."""
        config = _config(run)
        where = device(config)
        model = _model(config, run, _format(config))
        return cls(run, config, run.label_space(), model.to(where), where, usable(config.trainer.precision, where))

    @classmethod
    def portable(cls, run: RunDir) -> TrainedModel:
        """Open a run as a bundle holds it: on the CPU, float32, contiguous; raises as :meth:`open`."""
        config = _config(run)
        model = _model(config, run, torch.contiguous_format).float()
        return cls(run, config, run.label_space(), model, torch.device("cpu"), "32")

    @cached_property
    def data(self) -> FerDataModule:
        """Data module of the run, with the folds of its protocol; opened at the first use. A RunError where the store
        was made again since, or predictions, checkpoint and configuration are not of one run."""
        data = open_run_data(self.run)[1]
        self._require_own_files(data)
        return data

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes in :attr:`precision`."""
        return autocast(self.precision, self.device)

    def _require_own_files(self, data: FerDataModule) -> None:
        """Raise RunError unless configuration and checkpoint are those whose predictions the run holds: it has tested a
        few test clips, and their logits differ by no more than a precision explains."""
        path, table = self.run.path, self.run.predictions()
        rows = data.fold.test[:: max(1, len(data.fold.test) // CHECKED)][:CHECKED]
        clips = data.clips["clip_id"].iloc[rows].astype(str).tolist()
        recorded = table[table["split"] == "test"].set_index("clip_id")
        if strangers := [clip for clip in clips if clip not in recorded.index]:
            raise RunError(
                f"{path / 'config.yaml'} would test clip {strangers[0]}, which predictions.parquet does not: one of "
                "the two files was edited, or is another run's. Put it back, or train again under another name="
            )
        recorded = recorded.reindex(clips)
        covered = recorded["predicted"].notna().to_numpy(np.bool_)
        if self.config.trainer.test_views != "one" or not covered.any():
            return
        logits = self._logits(data, rows)
        own = recorded[[f"logit_{name}" for name in self.labels.names]].to_numpy(np.float64)[covered]
        apart = float(np.abs(np.stack([logits[clip] for clip in clips])[covered] - own).mean())
        if apart > MOST_APART * max(1.0, float(np.abs(own).mean())):
            raise RunError(
                f"{self.run.checkpoint()} gives logits that are {apart:.2f} from those in predictions.parquet on "
                "average: the checkpoint is another run's, or one of the two files was edited. Put it back, or train "
                "again under another name="
            )

    def _logits(self, data: FerDataModule, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """Return the logits (K,) of a few clips by clip_id, without loader processes."""
        logits, workers = dict[str, NDArray[np.float64]](), data.config.num_workers
        data.config.num_workers = 0
        try:
            with torch.inference_mode(), self.autocast():
                for batch in data.plain_batches(rows):
                    inputs = (batch["frames"], batch["valid"], batch["landmarks"])
                    answers = self.model(*(values.to(self.device) for values in inputs)).double().cpu().numpy()
                    logits |= dict(zip(batch["clip_id"], answers, strict=True))
        finally:
            data.config.num_workers = workers
        return logits

    def with_random_weights(self) -> ClipClassifier:
        """Return a randomly initialised copy, seeded unlike the weights that the training began with."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed + 1)
            model = _untrained(self.config, len(self.labels))
        return model.to(memory_format=_format(self.config)).to(self.device)


def require_own_kind(run: RunDir) -> None:
    """Raise RunError where the model of a run is a custom ``nn.Module``, which fer_id cannot build."""
    model = run.config().get("model") or {}
    if model.get("encoder") == OWN_MODULE:
        raise RunError(
            f"{run.path}: its model is a module of somebody's own ({model.get('name')}), which no configuration "
            "builds: it trains, is evaluated and compared, but is not opened, explained, predicted with or released"
        )


def _config(run: RunDir) -> TrainConfig:
    if run.folds:
        raise RunError(
            f"{run.path} is a cross-validation: it has a model for each fold; open one of those, for instance "
            f"{run.folds[0].path}"
        )
    require_own_kind(run)
    return read(TrainConfig, run.path / "config.yaml")


def _format(config: TrainConfig) -> torch.memory_format:
    return FORMATS.get(config.trainer.memory_format, torch.contiguous_format)


def _untrained(config: TrainConfig, classes: int) -> ClipClassifier:
    """Build a model in evaluation mode without downloading weights, since those of the checkpoint replace them."""
    return build_model(replace(config.model, **UNTRAINED), classes).eval()


def _model(config: TrainConfig, run: RunDir, memory_format: torch.memory_format) -> ClipClassifier:
    model = _untrained(config, len(run.label_space()))
    load_model(model, run.checkpoint())
    return model.to(memory_format=memory_format)
