"""Data module, model and task of a training, built from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from data_modules.base import FerDataModule
from data_modules.registry import load_dataset
from experiments.config import TrainConfig
from experiments.settings.loading import read
from experiments.training.parents import require_one_mapping
from experiments.training.trainer import device
from fer_id.errors import CheckpointError, ConfigError, DataError, FerIdError, RunError
from fer_id.evaluation.config import SPLITS
from fer_id.models.build import build_model
from fer_id.models.checkpoint import load_encoder, load_into, load_model
from fer_id.models.config import UNTRAINED
from fer_id.models.transfer import transfer
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import ALIGNING
from fer_id.tasks.numerics import FORMATS, usable
from fer_id.tasks.strategies import STRATEGIES
from fer_id.types import AFFECT, CROP

if TYPE_CHECKING:
    from torch import Tensor

    from fer_id.models.network import ClipClassifier
    from fer_id.tasks.features import FeatureBank


def open_data(config: TrainConfig, fold: str | None, part: int | None = None) -> FerDataModule:
    """Return the data module of the dataset for one fold (None: the first), or for one part of its cross-fitting."""
    data = load_dataset(config.data.name)(
        config.data, config.protocol, augment=config.augment, batch_size=config.batch_size, seed=config.seed, fold=fold
    )
    data.affect = config.model.affect
    data.setup()
    _require_side(config, data.crop)
    require_one_mapping(data.mesh_mappings, landmarks=config.model.landmarks > 0)
    if part is not None:
        data.fold = data.parts(data.fold)[part]
    return data


def _require_side(config: TrainConfig, side: int) -> None:
    """Raise ConfigError where the encoder takes crops of 64x64 pixels alone, as some of timm's transformers, and the
    store's are others."""
    if side == CROP:
        return
    if not takes_any_size(config):
        raise ConfigError(
            f"{config.model.encoder} takes {CROP}x{CROP} pixels only, and the crops of {config.data.store[0]} are "
            f"{side}x{side}: choose a convolutional model.encoder, or prepare the store with data.crop={CROP}"
        )


def takes_any_size(config: TrainConfig) -> bool:
    """Return whether the encoder takes crops of other sizes than 64x64 pixels."""
    with torch.device("meta"):
        return build_model(replace(config.model, **UNTRAINED), 2).encoder.any_size


def open_run_data(run: RunDir) -> tuple[TrainConfig, FerDataModule]:
    """Return the configuration of a finished training, and the data module of its training and test data; raise
    RunError where the store was made again since, or the configuration was edited and now tests other children."""
    config = read(TrainConfig, run.path / "config.yaml")
    of = run.path if run.part is None else run.path.parent.parent
    fold = run.job().fold or of.name  # older runs do not record the fold; their folder bears its name
    data = open_data(config, fold if config.protocol.name in ("kfold", "loso") else None, run.part)
    run.require_store(data.fingerprint)
    run.require_split({split: data.subjects(getattr(data.fold, split)) for split in SPLITS})
    return config, data


def open_sources(config: TrainConfig, parents: Sequence[RunDir | None]) -> list[FerDataModule]:
    """Return the data of each parent run once, where the adaptation strategy learns from them again; else none. Raise
    RunError where a store of a parent run is missing or was changed."""
    if config.adapt.strategy not in ALIGNING:
        return []
    sources = []
    for run in {run.path: run for run in parents if run is not None}.values():
        try:
            sources.append(open_run_data(run)[1])
        except FerIdError as problem:
            raise RunError(
                f"adapt.strategy={config.adapt.strategy} learns again from what {run.path} learned from, which cannot "
                f"be read: {problem}"
            ) from None
    return sources


def make_model(
    config: TrainConfig, data: FerDataModule, parent: RunDir | None
) -> tuple[ClipClassifier, dict[str, Tensor]]:
    """Build a model, with new weights or those of ``parent``, from ``experiments.training.parents.open_parent``; return
    it with copies of the weights transferred to it, for the adaptation strategy. Weights that do not fit are a
    CheckpointError."""
    model = build_model(config.model, len(data.labels))
    if parent is None:
        _require_affect(config, data, learned=False)
        return model, {}
    usable(parent.config()["trainer"]["precision"], device(config))  # says where this machine lacks it
    if not config.init.transfer:
        load = load_model if config.init.run else load_encoder
        load(model, parent.checkpoint())
        if config.init.head_from:
            load_into(torch.nn.ModuleDict({"head": model.head, "classifier": model.classifier}), config.init.head_from)
        _require_affect(config, data, learned=bool(config.init.run))
        return model, {}
    taken = transfer(model, parent.checkpoint(), parent.label_space(), data.labels)
    new = [name for name in data.labels.names if name not in taken.classes]
    if not taken.head and config.adapt.strategy == "linear_probe":
        raise CheckpointError(
            f"{parent.path} has another temporal head than model.head={config.model.head}, and a linear probe would "
            "leave the new one as it was drawn; choose another adapt.strategy, or the head of that run"
        )
    if new and config.adapt.strategy in ("source_only", "adabn"):
        raise CheckpointError(
            f"{parent.path} has nothing to tell {', '.join(new)} by, and adapt.strategy={config.adapt.strategy} learns "
            "nothing: " + ("its classes are others" if taken.head else "its temporal head is another than model.head")
        )
    _require_affect(config, data, learned="affect.1.weight" in taken.weights)
    return model, taken.weights


def _require_affect(config: TrainConfig, data: FerDataModule, *, learned: bool) -> None:
    """Raise DataError where the head of valence and arousal is neither ``learned`` by the run whose weights the model
    has, nor would be by this training."""
    if not config.model.affect or learned:
        return
    if not STRATEGIES[config.adapt.strategy](config.adapt, {}).learns:
        raise CheckpointError(
            f"model.affect=true: {config.init.run} has no such head, and adapt.strategy={config.adapt.strategy} learns "
            "nothing; say model.affect=false"
        )
    if data.clips.iloc[data.fold.train][[*AFFECT]].isna().all(axis=None):
        raise DataError(
            "model.affect=true, and no training clip has valence or arousal: of the shipped datasets AffectNet and "
            "Aff-Wild2 have them, once their store is prepared anew; or say model.affect=false"
        )


def make_task(
    config: TrainConfig,
    model: ClipClassifier,
    data: FerDataModule,
    start: dict[str, Tensor],
    bank: FeatureBank | None = None,
) -> ClipClassification:
    """Return the task that trains the model, after moving the model to the memory format of the configuration."""
    resolution = config.trainer.resolution
    if resolution and not model.encoder.any_size:
        say(f"{config.model.encoder} takes {CROP}x{CROP} pixels only: trainer.resolution is left out")
        resolution = []
    if resolution and resolution[-1][1] < data.crop:
        say(
            f"trainer.resolution ends at {resolution[-1][1]} pixels, and the model is judged on {data.crop}: that "
            f"costs a convolutional encoder many points; end with [0.7, {data.crop}]"
        )
    return ClipClassification(
        model.to(memory_format=FORMATS[config.trainer.memory_format]),
        data.labels,
        config.optim,
        config.loss,
        test_views=config.trainer.test_views,
        resolution=resolution,
        strategy=STRATEGIES[config.adapt.strategy](config.adapt, start),
        bank=bank,
    )
