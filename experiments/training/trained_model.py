"""TrainedModel: the best model of a finished run, opened for inference, with its configuration and data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.settings.loading import read
from experiments.training.setup import open_run_data
from experiments.training.trainer import device
from fer_id.errors import RunError
from fer_id.labels import LabelSpace, get_space
from fer_id.models.build import build_model
from fer_id.models.checkpoint import load_model
from fer_id.models.config import OWN_MODULE
from fer_id.models.network import ClipClassifier
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.numerics import FORMATS, autocast, usable


@dataclass(frozen=True)
class TrainedModel:
    """The best model of a run in evaluation mode, on the device and in the precision of its evaluation.

    Attributes:
        run: the run.
        config: its configuration.
        labels: classes of its logits.
        model: on ``device``, in the memory format of the training.
        device: device of the model.
        precision: ``32`` or ``bf16``: that of the training where ``device`` supports it, else ``32``; in another
            precision some predictions would differ.
    """

    run: RunDir
    config: TrainConfig
    labels: LabelSpace
    model: ClipClassifier
    device: torch.device
    precision: str

    @classmethod
    def open(cls, run: RunDir) -> TrainedModel:
        """Open a run on a GPU if there is one and the configuration does not exclude it, else on the CPU.

        Raises:
            RunError: a cross-validation, which has a model for each fold; a run without its checkpoint.
            CheckpointError: weights that cannot be read or do not fit.
        """
        config = _config(run)
        where = device(config)
        model = _model(config, run, FORMATS.get(config.trainer.memory_format, torch.contiguous_format))
        return cls(run, config, _labels(run), model.to(where), where, usable(config.trainer.precision, where))

    @classmethod
    def portable(cls, run: RunDir) -> TrainedModel:
        """Open a run as a bundle holds it: on the CPU, float32, contiguous; raises as :meth:`open`."""
        config = _config(run)
        model = _model(config, run, torch.contiguous_format).float()
        return cls(run, config, _labels(run), model, torch.device("cpu"), "32")

    @cached_property
    def data(self) -> FerDataModule:
        """Data module of the run, with the folds of its protocol; opened at the first use.

        Raises:
            RunError: the store was made again since.
            StoreError: the store is missing or damaged.
        """
        return open_run_data(self.run)[1]

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes in :attr:`precision`."""
        return autocast(self.precision, self.device)

    def with_random_weights(self) -> ClipClassifier:
        """Return a randomly initialised copy, seeded unlike the weights that the training began with."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed + 1)
            model = _untrained(self.config, len(self.labels))
        return model.to(memory_format=FORMATS.get(self.config.trainer.memory_format, torch.contiguous_format)).to(
            self.device
        )


def require_own_kind(run: RunDir) -> None:
    """Check that fer_id can build the model of a run.

    Raises:
        RunError: the model is a custom ``nn.Module``.
    """
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


def _labels(run: RunDir) -> LabelSpace:
    store: dict[str, Any] = run.job()["store"]
    return get_space(store["label_space"])


def _untrained(config: TrainConfig, classes: int) -> ClipClassifier:
    """Build a model in evaluation mode without downloading weights, since those of the checkpoint replace them."""
    return build_model(replace(config.model, pretrained=False, weights=None), classes).eval()


def _model(config: TrainConfig, run: RunDir, memory_format: torch.memory_format) -> ClipClassifier:
    model = _untrained(config, len(_labels(run)))
    load_model(model, run.checkpoint())
    return model.to(memory_format=memory_format)
