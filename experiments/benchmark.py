"""``fer-id benchmark``: the paper's five models on one store, under one protocol and one budget, on one page.

Every training is an ordinary run, ``runs/<name>/<model>[-s<seed>]``: finished ones are taken as they are, interrupted
ones resume. What is fair about it is :func:`rule`, which the page prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from data_modules.config import DataConfig
from experiments.config import InitConfig, LoggingConfig, RunsConfig, TrainConfig, TrainerConfig
from experiments.loading import chosen_by_name, read
from experiments.models import ModelFile
from experiments.registry import data_config
from experiments.sources import GROUPS, group_names
from fer_id.errors import ConfigError, RunError
from fer_id.evaluation.config import ProtocolConfig
from fer_id.files import read_json
from fer_id.models.config import TIMM, ModelConfig
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.progress import say
from fer_id.runs import RunDir
from fer_id.settings import Clash, setting
from fer_id.tasks.config import LossConfig, OptimConfig

PAPER = ["shallow_cnn", "resnet50", "efficientnet_b0", "compact_vit", "cnn_lstm"]
OTHER_HEADS = ("mean", "gru", "bilstm", "attention", "transformer")
LANDMARKS = 64


@dataclass
class BenchmarkConfig:
    """Several models, trained and judged alike."""

    data: DataConfig = field(default_factory=DataConfig, metadata=chosen_by_name(variant=data_config))
    recipe: str = setting("paper", selector=True, help="how to train: optim, loss, augment, trainer, batch_size")
    # After the recipe, so that a benchmark's own budget wins over it.
    benchmark: str = setting("small", selector=True, help="how much: seeds, part of the store, and the budget")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("official"))
    models: list[str] = setting(PAPER, help="shipped models by name, or your own by the path of their .yaml file")
    reference: str = setting("cnn_lstm", help="the temporal one of `models` that the others are tested against")
    heads: bool = setting(
        False, help=f"beside them the reference's encoder with other heads ({', '.join(OTHER_HEADS)}) and landmarks"
    )
    start: str = setting(
        "encoder",
        choices=("encoder", "new"),
        help="temporal models with the reference's encoder start from: that encoder trained on the same clips' single "
        "frames first (a model of its own in the tables); new weights",
    )
    seeds: list[int] = setting([0], min=0, max=2**32 - 1, help="every model is trained with each")
    name: str | None = setting(None, help="folder of the runs under runs.root; null: benchmark-<benchmark>")
    out: str = setting("compare/benchmark", help="folder of the page and the tables")
    batch_size: int = setting(32, min=1, help="clips in a step")
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)

    def clashes(self) -> Iterator[Clash]:
        """Models that are none, two of one name, no temporal reference; and what each training clashes in."""
        files, problems = [], 0
        for choice in self.models:
            try:
                files.append(_model_file(choice))
            except ConfigError as error:
                problems += 1
                yield Clash(("models",), f"{choice}: {error}")
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
            told: set[Clash] = set()
            for training in trainings(self, self.seeds[0] if self.seeds else 0):
                found = {clash for clash in training.clashes() if clash not in told}
                told |= found
                yield from found


def benchmark(config: BenchmarkConfig) -> str:
    """Trains what is not trained yet, asks the temporal models what time is worth to them, and writes the page.

    Returns:
        the table of scores, with the path of the page.

    Raises:
        FerIdError: as ``experiments.train.train``.
    """
    from experiments.train import train
    from fer_id.reporting.benchmark import write_benchmark

    runs: dict[str, list[RunDir]] = {}
    for seed in config.seeds:
        for one in trainings(config, seed):
            path = Path(config.runs.root) / str(one.name)
            say(f"{one.model.name}, seed {seed}: {path}")
            train(one)
            runs.setdefault(one.model.name, []).append(RunDir.open(path))
    stills = _lineup(config)[0]
    if stills is not None:  # trained first, but no model of the paper: it stands after those that were asked for
        runs = _moved(runs, stills.model.name, len(config.models))
    asked = {name: _controls(each) for name, each in runs.items() if each[0].config()["model"]["head"] != "mean"}
    return write_benchmark(runs, config.reference, Path(config.out), rule=rule(config), controls=asked)


def trainings(config: BenchmarkConfig, seed: int) -> list[TrainConfig]:
    """The trainings of one seed, each after what it starts from."""
    shared = {one.name for one in fields(BenchmarkConfig)} & {one.name for one in fields(TrainConfig)}
    common: dict[str, Any] = {name: getattr(config, name) for name in shared}
    study, suffix = config.name or f"benchmark-{Path(config.benchmark).stem}", f"-s{seed}" if seed else ""
    stills, files = _lineup(config)
    made = []
    for file in [*([stills] if stills else []), *files]:
        takes = stills is not None and file is not stills and _same_encoder(file, stills)
        start = f"{config.runs.root}/{study}/{stills.model.name}{suffix}" if takes and stills else None
        own: dict[str, Any] = {
            "data": replace(config.data, frames=file.data.frames),
            "model": file.model,
            "name": f"{study}/{file.model.name}{suffix}",
            "seed": seed,
            "init": InitConfig(encoder_from=start),
        }
        made.append(TrainConfig(**{**common, **own}))
    return made


def rule(config: BenchmarkConfig) -> list[str]:
    """What is the same for all, and what is not, in sentences."""
    epochs, patience = config.trainer.max_epochs, config.trainer.patience
    stop = f", stopped early after {patience} validations without a better one" if patience else ", none stopped early"
    stills, files = _lineup(config)
    foreign = [file.model.name for file in files if file.model.pretrained or file.model.weights]
    elsewhere = (
        f"{', '.join(foreign)} began with weights from elsewhere" if foreign else "none has weights from elsewhere"
    )
    rate = "a constant rate" if config.optim.schedule == "constant" else "one cycle of the rate"
    said = [
        "Every model learns from the same training clips with the same augmentations, is chosen by the same inner "
        "validation and judged on the same test clips.",
        f"Every model gets the same budget of updates: at most {epochs} passes over the training clips in batches of "
        f"{config.batch_size}{stop}, {config.optim.name} at {config.optim.lr:g} with {rate}. No model was tuned, "
        f"and {elsewhere}.",
        "In a pass a model of stills learns from one frame of each clip, drawn anew in every pass, a temporal one from "
        "all frames: the updates are equal, the pictures seen are not. At test a model of stills averages the features "
        "of all frames of a clip.",
    ]
    if stills is not None:
        said.append(
            f"Temporal models with the encoder of {config.reference} take it over from {stills.model.name}, that "
            "encoder trained on single frames with the same budget, and then spend their own: twice the updates in "
            f"all. What the start alone is worth stands in the row {stills.model.name}; start=new leaves it out."
        )
    if config.protocol.at_most:
        parts = zip(config.protocol.at_most, ("training", "validation", "test"), strict=True)
        most = ", ".join(f"{count:,} {split}" for count, split in parts)
        said.append(f"A part of the store is used, whole subjects drawn once: at most {most} clips.")
    return said


def _lineup(config: BenchmarkConfig) -> tuple[ModelFile | None, list[ModelFile]]:
    """The model of stills whose encoder temporal ones start from (None: none does), and all others in their order."""
    files = [_model_file(choice) for choice in config.models]
    reference = next(file for file in files if file.model.name == config.reference)
    base = reference.model.encoder.removeprefix(TIMM)
    if config.heads:
        files += [_variant(reference, f"{base}_{head}", head=head) for head in OTHER_HEADS]
        files.append(_variant(reference, f"{config.reference}_landmarks", landmarks=LANDMARKS))
    if config.start == "new":
        return None, files
    stills = _variant(reference, f"{base}_stills", head="mean", landmarks=0)
    return replace(stills, data=replace(stills.data, frames="frame")), files


def _variant(file: ModelFile, name: str, **change: Any) -> ModelFile:
    return replace(file, model=replace(file.model, name=name, **change))


def _same_encoder(file: ModelFile, stills: ModelFile) -> bool:
    """Whether a temporal model's encoder is that of the stills, weight for weight."""

    def encoder(model: ModelConfig) -> tuple[Any, ...]:
        return model.encoder, model.widths, model.convs, model.residual, model.pretrained, model.weights

    return file.data.frames == "clip" and encoder(file.model) == encoder(stills.model)


def _model_file(choice: str) -> ModelFile:
    """A shipped model, or one of the user's own.

    Raises:
        ConfigError: there is no such model, or its file has mistakes.
    """
    if not choice.endswith(".yaml") and choice not in group_names("model"):
        known = ", ".join(group_names("model"))
        raise ConfigError(f"no shipped model of that name. Known: {known}; or the path of a .yaml file")
    return read(ModelFile, Path(choice) if choice.endswith(".yaml") else GROUPS / "model" / f"{choice}.yaml")


def _moved(runs: dict[str, list[RunDir]], name: str, place: int) -> dict[str, list[RunDir]]:
    names = [one for one in runs if one != name]
    return {one: runs[one] for one in [*names[:place], name, *names[place:]]}


def _controls(runs: list[RunDir]) -> list[dict[str, Any]] | str:
    """``controls.json`` of each training, made where it is missing or of another version; or why there is none."""
    from experiments.controls import judge_controls
    from fer_id.evaluation.controls import CONTROLS

    found = []
    for run in runs:
        path = run.path / "controls.json"
        try:
            known = read_json(path, RunError) if path.is_file() else {"accuracy": {}}
            found.append(known if set(known["accuracy"]) == set(CONTROLS) else judge_controls(run))
        except RunError as problem:
            return str(problem)
    return found
