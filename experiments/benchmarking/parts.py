"""Trainings and features of a benchmark: every encoder once on stills, then the features of every frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.base import FerDataModule
from data_modules.config import DataConfig
from experiments.benchmarking import budget, low_resource
from experiments.benchmarking.config import BenchmarkConfig
from experiments.config import InitConfig, TrainConfig
from experiments.training.parents import require_left_out_stills
from experiments.training.setup import open_data
from experiments.training.trained_model import TrainedModel
from experiments.verbs.controls import require_one_length
from experiments.verbs.models import model_file
from fer_id.errors import ConfigError
from fer_id.evaluation.config import SPLITS, ProtocolConfig, Rows
from fer_id.files import sha256
from fer_id.models.build import ModelCost, model_cost
from fer_id.models.checkpoint import write_tensors
from fer_id.models.config import ModelConfig
from fer_id.progress import say, track
from fer_id.readers.config import SEEDED
from fer_id.readers.frame_features import FrameFeatures, Origin
from fer_id.readers.kinds import FOLDED
from fer_id.readers.networks import HIDDEN
from fer_id.readers.results import FEWEST_PASSES, LEAST_SHARE, STILL_FALLING
from fer_id.readers.study import DIM, ReaderStudy, no_baseline
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard


def encoder_models(config: BenchmarkConfig) -> dict[str, ModelConfig]:
    """Return the configured encoders by name, each with a mean head: models of stills."""
    models = [model_file(choice).model for choice in config.encoders]
    return {model.name: replace(model, head="mean", landmarks=0) for model in models}


def on_stills(config: BenchmarkConfig, model: ModelConfig, plan: budget.Passes) -> TrainConfig:
    """Return the training of an encoder on stills, without those that judged clips were made of."""
    pretrain, common = config.pretrain, _common(config)
    stills = DataConfig(name=pretrain.data, store=[str(pretrain.store)], frames="frame", balanced=pretrain.balanced)
    most = [plan.stills, *(pretrain.at_most[1:] or [100_000_000] * 2)] if plan.stills else pretrain.at_most
    clips = Path(config.data.store[0])
    simulated = StoreCard.read(clips / "card.json").provenance == "simulated"  # drawn faces are in no benchmark
    return replace(
        common,
        name=f"{study_name(config)}/encoders/{model.name}",
        data=replace(stills, excluding=str(clips) if simulated else None),
        model=model,
        protocol=ProtocolConfig(at_most=most),
        trainer=replace(config.trainer, max_epochs=plan.epochs, validate_every=plan.epochs),
    )


def finetunings(config: BenchmarkConfig, encoder: RunDir) -> dict[str, TrainConfig]:
    """Return the trainings end to end on clips, from the reference's encoder, by head."""
    model, tuning = encoder_models(config)[config.reference], config.finetune
    return {
        head: replace(
            _common(config),
            name=f"{study_name(config)}/finetuned/{head}",
            data=replace(config.data, frames="clip"),
            model=replace(model, head=head, hidden=HIDDEN if head in SEEDED else model.hidden),
            protocol=replace(config.protocol, at_most=tuning.at_most),
            init=InitConfig(encoder_from=str(encoder.path)),
            optim=replace(config.optim, lr=tuning.lr, encoder_lr=tuning.encoder_lr),
            batch_size=tuning.batch_size,
            trainer=replace(
                config.trainer, max_epochs=tuning.max_epochs, validate_every=tuning.max_epochs, resolution=[]
            ),
        )
        for head in tuning.heads
    }


def open_clips(config: BenchmarkConfig, at_most: list[int]) -> FerDataModule:
    """Return the data module of the clips, at most so many of each split."""
    protocol = replace(config.protocol, at_most=at_most or config.protocol.at_most)
    data = replace(config.data, frames="clip")
    return open_data(replace(_common(config), data=data, protocol=protocol), None)


def study_name(config: BenchmarkConfig) -> str:
    """Return the folder of the benchmark's runs under ``runs.root``."""
    return config.name or f"benchmark-{Path(config.benchmark).stem}"


def _common(config: BenchmarkConfig) -> TrainConfig:
    """Return a training with the settings that the benchmark shares with it."""
    shared = {field.name for field in fields(config)} & {field.name for field in fields(TrainConfig)}
    return replace(TrainConfig(), **{name: getattr(config, name) for name in shared})


def plan(
    config: BenchmarkConfig, clips: Mapping[str, FerDataModule]
) -> tuple[dict[str, budget.Passes], list[budget.Cost]]:
    """Print what the parts of the benchmark cost; return the passes of each encoder over the stills, and the costs.

    ``clips`` has the data module of the clips of each encoder. Raise ConfigError where the budget leaves nothing to the
    encoders.
    """
    models = encoder_models(config)
    every = budget.Passes(None, config.pretrain.max_epochs)
    stills = open_data(on_stills(config, models[config.reference], every), None)
    if stills.crop != clips[config.reference].crop:
        raise ConfigError(
            f"pretrain.store has crops of {stills.crop}x{stills.crop} pixels, data.store of another size: prepare the "
            "stills without data.crop"
        )
    cost = {name: model_cost(model) for name, model in models.items()}
    spent = _on_clips(config, clips, cost, len(stills.clips))
    number, judged = len(stills.fold.train), len(stills.fold.validation) + len(stills.fold.test)
    if config.budget is None:
        plans = dict.fromkeys(models, every)
        seen = every.epochs * number
        costs = [budget.of_training(f"{name} on stills", cost[name], seen, judged) for name in models]
    else:
        seconds = budget.shares(config.budget, spent, list(models), config.reference)
        resolution = config.trainer.resolution
        planned = [budget.passes(seconds[name], models[name], number, judged, resolution) for name in models]
        plans = dict(zip(models, (plan for plan, _ in planned), strict=True))
        costs = [each for _, each in planned]
    costs = [*spent, *costs]
    for line in budget.table(costs, plans):
        say(line)
    listed = int((stills.clips["split"] == "train").sum())  # before repeats and judged stills are left out
    learned = {name: part.stills and part.stills * listed // number for name, part in plans.items()}
    return {name: replace(part, stills=learned[name]) for name, part in plans.items()}, costs


def _on_clips(
    config: BenchmarkConfig, clips: Mapping[str, FerDataModule], cost: Mapping[str, ModelCost], stills: int
) -> list[budget.Cost]:
    """Return the cost of everything but the encoders: preparation, features, readers and fine-tunings."""
    reference = clips[config.reference]
    frames = int(reference.clips["length"].max())
    sizes = {name: [len(getattr(data.fold, split)) for split in SPLITS] for name, data in clips.items()}
    costs = budget.preparation(stills, len(reference.clips))
    costs += [budget.of_features(cost[name], sum(size), frames) for name, size in sizes.items()]
    costs.append(budget.of_readers(config.readers, len(config.seeds), [size[0] for size in sizes.values()]))
    if cohorts := low_resource.sizes(config, reference):
        children = [config.low_resource.draws * max(cohorts)] * len(cohorts)
        costs.append(budget.of_low_resource(low_resource.readers(config), children))
    for head in config.finetune.heads:
        learned, *judged = config.finetune.at_most or sizes[config.reference]
        seen = config.finetune.max_epochs * learned
        what = f"{config.reference} with {head}, end to end"
        costs.append(budget.of_training(what, cost[config.reference], frames * seen, frames * sum(judged)))
    return costs


def rule(config: BenchmarkConfig, reference: RunDir, study: ReaderStudy) -> list[str]:
    """Return sentences on the conditions of encoders and readers, of the reference's training and readers."""
    stills = reference.job().clips
    foreign = [model.name for model in encoder_models(config).values() if model.pretrained or model.weights]
    begun = f"{', '.join(foreign)} began with weights from elsewhere" if foreign else "none has weights from elsewhere"
    sentences = [
        f"Every encoder learns once, {config.reference} on {stills['train']:,} stills of {config.pretrain.data}; "
        f"{begun}. Stills that validation and test clips were made of, and pictures near-identical to them, are left "
        "out.",
        f"Every reader then sees the same features of every frame (on {DIM} principal components of the training "
        "frames) and learns from the same training clips; its penalty, or its epoch, is chosen on inner validation. "
        "The true course of an expression is used for the apex frames of training clips alone.",
        f"Readers that are networks are fitted with {len(config.seeds)} seeds; the others depend on none. Contrasts of "
        "readers are conditional on one training of the encoder: they say what is in the features of this encoder.",
        "The contrasts were fixed before: nothing else is tested. Encoders that are not trained to their end are not "
        f"ranked. The end is at least {FEWEST_PASSES} passes, of which the last fifth lowers the training loss by less "
        f"than {STILL_FALLING:.0%}, and {LEAST_SHARE:.0%} of the best encoder's accuracy on stills.",
    ]
    if lacking := study.without_baseline(config.readers):
        sentences.append(no_baseline(lacking))
    if config.budget is not None:
        sentences.append(
            f"All parts share the time of {config.budget:.3g} multiply-adds at {budget.RATE:.0e} a second, "
            f"{config.budget / budget.RATE / 60:.0f} minutes of two cores without bf16 arithmetic, which not every "
            "part reaches: the encoders see what preparation, features and readers leave."
        )
    if config.others_at_most:
        most = ", ".join(f"{number:,}" for number in config.others_at_most)
        sentences.append(f"Encoders but {config.reference} read at most {most} clips of training, validation and test.")
    return sentences


def encode(trained: TrainedModel, data: FerDataModule, rows: Rows, folder: Path, origin: Origin) -> None:
    """Write the frame features of these clips of a data module, all of one length, into a folder."""
    shape = (len(rows), int(data.clips["length"].iloc[rows].max()))
    name = f"features by {trained.run.path.name}"
    batches = track(data.plain_batches(rows), name, -(-len(rows) // data.batch_size))
    with trained.autocast():
        FrameFeatures.write(folder, trained.model, batches, shape, origin)


def reader_study(config: BenchmarkConfig, run: RunDir, data: FerDataModule) -> ReaderStudy:
    """Return the readers of an encoder, after encoding its clips where their features are not cached.

    Raise LeakageError where the encoder learned stills that judged clips were made of: the simulation was made again.
    """
    require_left_out_stills(run, data.stores)
    fold = data.fold
    rows = np.unique(np.concatenate([getattr(fold, split) for split in SPLITS]))
    clips = data.clips.iloc[rows].reset_index(drop=True)
    require_one_length(run, clips["length"])
    origin = Origin.of(sha256(run.checkpoint()), data.fingerprint, clips["clip_id"].astype(str).tolist())
    folder = run.path / "features" / f"{origin.store[:8]}-{origin.clips[:8]}"
    if not folder.exists():
        encode(TrainedModel.open(run), data, rows, folder, origin)
    moved = {split: np.searchsorted(rows, getattr(fold, split)) for split in (*SPLITS, "unlabelled", "own")}
    return ReaderStudy(
        root=run.path.parents[1] / "readers" / run.path.name,
        features=FrameFeatures.open(folder, origin),
        origin=origin,
        clips=clips,
        fold=replace(fold, **moved),
        labels=data.labels,
        updates=config.reader_updates,
        groups=data.groups,
    )


def from_frozen(study: ReaderStudy, training: TrainConfig, seed: int) -> tuple[ReaderStudy, TrainConfig]:
    """Return the readers on the clips that a fine-tuning of their encoder learns from and is judged on, and that
    fine-tuning with the reader of its head's name, fitted on these clips, to begin with (linear probing, then
    fine-tuning: Kumar et al., 2022); where a reader cannot be folded into a head, with a head drawn anew."""
    data = open_data(training, None)
    names = data.clips["clip_id"].astype(str)
    rows = pd.Series(np.arange(len(study.clips)), index=study.clips["clip_id"].astype(str))
    chosen = {split: rows.loc[names.iloc[getattr(data.fold, split)]].to_numpy() for split in SPLITS}
    few, head = replace(study, fold=replace(study.fold, **chosen)), training.model.head
    if head not in FOLDED:
        return few, training
    path = few.folder / f"{head}-s{seed}-head.pt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(few.folded(head, seed), path)
    return few, replace(training, init=replace(training.init, head_from=str(path)))
