"""``fer-id benchmark``: the paper's five models on one store, under one protocol and one budget, on one page.

Every training is an ordinary run, ``runs/<name>/<model>[-s<seed>]``: finished ones are not repeated, interrupted ones
are resumed. :func:`rule` describes the conditions, which the page prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.config import DataConfig
from data_modules.registry import known_datasets
from experiments.config import InitConfig, LoggingConfig, RunsConfig, TrainConfig, TrainerConfig, at_the_end
from experiments.settings.loading import chosen_by_name
from experiments.verbs.models import ModelFile, model_file
from fer_id.errors import ConfigError, RunError
from fer_id.evaluation.config import SPLITS, ProtocolConfig
from fer_id.explain.config import ExplainConfig
from fer_id.models.config import TIMM, ModelConfig
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir
from fer_id.settings import PATH, SELECTOR, Clash, setting
from fer_id.tasks.config import LossConfig, OptimConfig

if TYPE_CHECKING:
    from fer_id.reporting.result_shapes import Controls

PAPER = ["shallow_cnn", "resnet50", "efficientnet_b0", "compact_vit", "cnn_lstm"]
OTHER_HEADS = ("gru", "bilstm", "attention", "transformer")
LANDMARKS = 64


@dataclass
class PretrainConfig:
    """Pretraining of every encoder on stills; its other settings are those of the clips."""

    store: str | None = setting(
        None, help="store of stills: the one the clips were simulated from, or another; null: encoders begin anew"
    )
    data: str = setting("ferplus", help="its dataset, as in data=")
    at_most: list[int] = setting(
        [], min=1, max=100_000_000, help="[train, validation, test]: so many stills of each; empty: all"
    )
    max_epochs: int = setting(10, min=1, max=100_000, help="passes over them")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of an unknown dataset, and of a part that is not three numbers."""
        if self.data not in known_datasets():
            yield Clash(("data",), f"{self.data} is unknown. Known: {', '.join(known_datasets())}")
        if self.at_most and len(self.at_most) != len(SPLITS):
            yield Clash(("at_most",), f"{self.at_most}: expected three numbers, of train, validation and test stills")


@dataclass
class BenchmarkConfig:
    """Configuration of a benchmark of several models under equal conditions."""

    data: DataConfig = field(default_factory=DataConfig, metadata=chosen_by_name())
    recipe: str = setting("paper", kind=SELECTOR, help="how to train: optim, loss, augment, trainer, batch_size")
    # After the recipe, so that a benchmark's own budget wins over it.
    benchmark: str = setting("small", kind=SELECTOR, help="how much: seeds, part of the store, and the budget")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("official"))
    models: list[str] = setting(PAPER, help="shipped models by name, or your own by the path of their .yaml file")
    reference: str = setting("cnn_lstm", help="the temporal one of `models` that the others are tested against")
    heads: bool = setting(
        False, help=f"beside them the reference's encoder with more heads ({', '.join(OTHER_HEADS)}) and landmarks"
    )
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    seeds: list[int] = setting([0], min=0, max=2**32 - 1, help="every model is trained with each")
    name: str | None = setting(None, help="folder of the runs under runs.root; null: benchmark-<benchmark>", kind=PATH)
    out: str = setting("compare/benchmark", help="folder of the page and the tables")
    batch_size: int = setting(32, min=1, max=65_536, help="clips in a step")
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    explain: ExplainConfig = field(default_factory=at_the_end)
    runs: RunsConfig = field(default_factory=RunsConfig)

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of unknown models, repeated names, a reference without time, and of each training."""
        files = []
        for choice in self.models:
            try:
                files.append(model_file(choice))
            except ConfigError as error:
                yield Clash(("models",), f"{choice}: {error}")
        problems = len(files) < len(self.models)
        names = [file.model.name for file in files]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield Clash(("models",), f"two models are named {', '.join(twice)}; give each a model.name of its own")
        references = [file for file in files if file.model.name == self.reference]
        if not references and not problems:
            yield Clash(("reference", "models"), f"{self.reference} is none of {', '.join(names)}")
        elif references and references[0].model.head == "mean":
            yield Clash(
                ("reference",), f"{self.reference} has no temporal head, and what time is worth is the question"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            yield Clash(("seeds",), f"{self.seeds}: expected different numbers, one at least")
        if self.protocol.name == "holdout" and len(self.seeds) > 1:
            yield Clash(
                ("protocol", "seeds"), "holdout tests others with every seed; say protocol=official, or one seed"
            )
        if references and not problems:
            planned = trainings(self, self.seeds[0] if self.seeds else 0)
            yield from dict.fromkeys(clash for training in planned for clash in training.clashes())

    def costly_clashes(self) -> Iterator[Clash]:
        """Yield the costly clashes of each training."""
        planned = trainings(self, self.seeds[0])
        yield from dict.fromkeys(clash for training in planned for clash in training.costly_clashes())


def benchmark(config: BenchmarkConfig) -> str:
    """Train the missing runs, control the temporal models, write the page; return the table with its path."""
    from experiments.verbs.train import train
    from fer_id.reporting.benchmark.page import write_benchmark

    runs: dict[str, list[RunDir]] = {}
    for seed in config.seeds:
        for training in trainings(config, seed):
            path = Path(config.runs.root) / str(training.name)
            say(f"{training.model.name}, seed {seed}: {path}")
            train(training)
            if training.data.store == config.data.store:
                runs.setdefault(training.model.name, []).append(RunDir.open(path))
    temporal = {name: members for name, members in runs.items() if members[0].config()["model"]["head"] != "mean"}
    controls = {name: _controls(members) for name, members in temporal.items()}
    return write_benchmark(runs, config.reference, Path(config.out), rule=rule(config), controls=controls)


def trainings(config: BenchmarkConfig, seed: int) -> list[TrainConfig]:
    """Return the trainings of one seed, each after the training that it starts from."""
    shared = {field.name for field in fields(BenchmarkConfig)} & {field.name for field in fields(TrainConfig)}
    common = replace(TrainConfig(), seed=seed, **{name: getattr(config, name) for name in shared})
    study, suffix = config.name or f"benchmark-{Path(config.benchmark).stem}", f"-s{seed}" if seed else ""
    made, starts = [], {}
    for file in _lineup(config):
        encoder = _encoder(file.model)
        if config.pretrain.store and encoder not in starts:
            name = f"{study}/pretrained/{file.model.name}{suffix}"
            starts[encoder] = f"{config.runs.root}/{name}"
            made.append(_on_stills(replace(common, name=name, model=file.model), config.pretrain))
        training = replace(
            common,
            data=replace(config.data, frames=file.data.frames),
            model=file.model,
            name=f"{study}/{file.model.name}{suffix}",
            init=InitConfig(encoder_from=starts.get(encoder)),
        )
        made.append(training)
    return made


def _on_stills(training: TrainConfig, pretrain: PretrainConfig) -> TrainConfig:
    """Return a training as pretraining on stills: without a temporal head, on the stills' own splits."""
    epochs = pretrain.max_epochs
    return replace(
        training,
        data=DataConfig(name=pretrain.data, store=[str(pretrain.store)], frames="frame"),
        model=replace(training.model, head="mean", landmarks=0),
        protocol=ProtocolConfig(at_most=pretrain.at_most),
        trainer=replace(training.trainer, max_epochs=epochs, validate_every=epochs),
    )


def rule(config: BenchmarkConfig) -> list[str]:
    """Return sentences on the equal and unequal conditions of the models."""
    epochs, patience = config.trainer.max_epochs, config.trainer.patience
    stop = f", stopped early after {patience} validations without a better one" if patience else ", none stopped early"
    files = _lineup(config)
    foreign = [file.model.name for file in files if file.model.pretrained or file.model.weights]
    elsewhere = (
        f"{', '.join(foreign)} began with weights from elsewhere" if foreign else "none has weights from elsewhere"
    )
    rate = "a constant rate" if config.optim.schedule == "constant" else "one cycle of the rate"
    sentences = [
        "Every model learns from the same training clips with the same augmentations, is chosen by the same inner "
        "validation and judged on the same test clips.",
        f"Every model gets the same budget of updates: at most {_passes(epochs)} over the training clips in batches of "
        f"{config.batch_size}{stop}, {config.optim.name} at {config.optim.lr:g} with {rate}. No model was tuned, "
        f"and {elsewhere}.",
        "In a pass a model of stills learns from one frame of each clip, drawn anew in every pass, a temporal one from "
        "all frames: the updates are equal, the pictures seen are not. At test a model of stills averages the features "
        "of all frames of a clip.",
    ]
    if config.pretrain.store:
        most = f", at most {config.pretrain.at_most[0]:,} of them" if config.pretrain.at_most else ""
        sentences.append(
            f"Before the clips every encoder learns the training stills of another store "
            f"({config.pretrain.data}{most}) for {_passes(config.pretrain.max_epochs)} with the same settings; its "
            "weights, and no others, go into the model of clips. Models that share an encoder share that start."
        )
    if config.protocol.at_most:
        parts = zip(config.protocol.at_most, ("training", "validation", "test"), strict=True)
        most = ", ".join(f"{count:,} {split}" for count, split in parts)
        sentences.append(f"A part of the store is used, whole subjects drawn once: at most {most} clips.")
    return sentences


def _passes(count: int) -> str:
    return "1 pass" if count == 1 else f"{count} passes"


def _lineup(config: BenchmarkConfig) -> list[ModelFile]:
    """Return the chosen models and the reference's encoder with a mean head; with ``heads`` also with other heads."""
    files = [model_file(choice) for choice in config.models]
    reference = next(file for file in files if file.model.name == config.reference)
    base = reference.model.encoder.removeprefix(TIMM)
    heads = ("mean", *OTHER_HEADS) if config.heads else ("mean",)
    files += [_variant(reference, f"{base}_{head}", head=head, landmarks=0) for head in heads]
    if config.heads:
        files.append(_variant(reference, f"{config.reference}_landmarks", landmarks=LANDMARKS))
    return files


def _variant(file: ModelFile, name: str, **change: Any) -> ModelFile:
    return replace(file, model=replace(file.model, name=name, **change))


def _encoder(model: ModelConfig) -> tuple[object, ...]:
    """Return the settings by which two encoders are the same, weight for weight."""
    return model.encoder, tuple(model.widths), tuple(model.convs), model.residual, model.pretrained, model.weights


def _controls(runs: list[RunDir]) -> list[dict[str, object]] | str:
    """Return ``controls.json`` of each training, computed where missing or of another version; or a reason instead."""
    from experiments.verbs.controls import judge_controls
    from fer_id.evaluation.controls import CONTROLS
    from fer_id.reporting.result_shapes import Controls
    from fer_id.runs.records import read_record

    results = []
    for run in runs:
        path, again = run.path / "controls.json", f"`fer-id controls {run.path}` makes it again"
        try:
            known = read_record(Controls, path, again) if path.is_file() else None
            results.append(known if known and set(known.accuracy) == set(CONTROLS) else judge_controls(run))
        except RunError as problem:
            return str(problem)
    if any(_extent(other) != _extent(results[0]) for other in results):
        return "controls.json of its trainings are not of the same clips; `fer-id controls RUN` makes each again"
    return [each.model_dump(by_alias=True) for each in results]


def _extent(controls: Controls) -> list[object]:
    """Return the subjects, clips, frames and bins of ``controls.json``, equal in trainings that can be pooled."""
    bins = [[[*row.accuracy] for row in part.bins or []] for part in (controls.peak, controls.delay)]
    frames = {reader: len(values) for reader, values in controls.by_frame.items()}
    return [controls.per_subject.subjects, controls.per_subject.clips, frames, bins]
