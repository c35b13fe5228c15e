"""Configuration of a training as one tree of dataclasses.

Sections of a part of the program (model, loss, augmentation) are defined beside that part; the sections here are about
running a training. ``experiments.settings.loading`` fills the tree from files and arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_modules.config import OWN_PROTOCOLS, DataConfig
from data_modules.registry import known_datasets, unknown_dataset
from experiments.settings.loading import chosen_by_name
from fer_id.callbacks.registry import callback_problems, known_callbacks, unknown_callback
from fer_id.evaluation.config import ProtocolConfig
from fer_id.explain.config import ExplainConfig
from fer_id.labels import SPACES
from fer_id.loggers.server import ENTITY, ENTITY_RULE, PROJECT, PROJECT_RULE
from fer_id.models.config import TIMM, ModelConfig, file_problems, least_side, setting_problems
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.progress import say
from fer_id.settings import PATH, SELECTOR, WORD, Clash, setting
from fer_id.tasks.config import ALIGNING, BY_PICTURES, VIEWS, AdaptationConfig, LossConfig, OptimConfig
from fer_id.types import CROP


@dataclass
class TrainerConfig:
    """Settings of the Trainer: length of the training, hardware, precision, early stopping and callbacks."""

    max_epochs: int = setting(100, min=1, max=100_000, help="epochs at most")
    budget: float | None = setting(
        None,
        above=0,
        max=1e24,
        help="multiply-adds of training, from which the epochs follow, at most max_epochs (a backward pass counts as "
        "two forward ones; inner validation does not count); null: no limit",
    )
    max_time_min: float | None = setting(
        None, above=0, max=1_000_000, help="minutes at most; the run ends properly after them"
    )
    validate_every: int = setting(1, min=1, max=100_000, help="epochs from one inner validation to the next")
    patience: int = setting(
        10, min=0, max=100_000, help="validations without a better `monitor` before stopping; 0: never stop early"
    )
    monitor: str = setting(
        "val/macro_f1", choices=("val/macro_f1", "val/accuracy", "val/loss"), help="chooses the best epoch"
    )
    accelerator: str = setting("auto", choices=("auto", "cpu", "gpu"), help="what to compute on")
    devices: int = setting(1, min=1, max=64, help="processes on a machine that share each batch, a device each")
    num_nodes: int = setting(1, min=1, max=1024, help="machines that train together, see docs/CLUSTER.md")
    precision: str = setting("auto", choices=("auto", "32", "bf16"), help="auto: the faster one over a few steps")
    memory_format: str = setting(
        "auto", choices=("auto", "contiguous", "channels_last"), help="auto: the faster one over a few steps"
    )
    test_views: str = setting(
        "one",
        choices=tuple(VIEWS),
        help="judge the mean logits of: the clip; it and its mirror image; both, each in place and 3 pixels aside",
    )
    gradient_clip: float = setting(0.0, min=0, max=1_000_000, help="largest norm of the gradient; 0: no limit")
    callbacks: list[str] = setting(
        [],
        help="further callbacks by name: grad_cam_panel, or one that an installed package or register_callback offers",
    )
    resolution: list[tuple[float, int]] = setting(
        [],
        min=0,
        max=CROP,
        help="[[share of the training, side in pixels], ...]: train on smaller crops first; empty: whole crops",
    )

    @property
    def processes(self) -> int:
        """Number of processes that train together, over all machines."""
        return self.devices * self.num_nodes

    def clashes(self) -> Iterator[Clash]:
        """Yield unknown callbacks, and shares and sides of ``resolution`` that are out of range or out of order."""
        known = known_callbacks()
        yield from (Clash(("callbacks",), unknown_callback(name)) for name in self.callbacks if name not in known)
        yield from self._bad_resolution()

    def costly_clashes(self) -> Iterator[Clash]:
        """Yield somebody's own callbacks that cannot be made; their packages import torch and Lightning."""
        for line in callback_problems(self.callbacks):
            yield Clash(("callbacks",), line.removeprefix("trainer.callbacks: "))

    def _bad_resolution(self) -> Iterator[Clash]:
        shares = [share for share, _ in self.resolution]
        if any(not 0 <= share < 1 for share in shares) or shares != sorted(set(shares)):
            yield Clash(("resolution",), f"shares {shares}: expected rising ones, at least 0 and below 1")
        if wrong := [side for _, side in self.resolution if not 16 <= side <= CROP]:
            yield Clash(("resolution",), f"sides {wrong}: expected 16 to {CROP} pixels")


def unfit_names(project: str, entity: str | None) -> Iterator[Clash]:
    """Yield a clash for each of ``project`` and ``entity`` that is no valid name in W&B."""
    if not PROJECT.fullmatch(project):
        yield Clash(("project",), f"{project[:60]!r}: expected {PROJECT_RULE}")
    if entity is not None and not ENTITY.fullmatch(entity):
        yield Clash(("entity",), f"{entity[:60]!r}: expected {ENTITY_RULE}")


@dataclass
class LoggingConfig:
    """The mirror of the run in Weights & Biases; the run's own folder is the record."""

    wandb: str = setting(
        "auto", choices=("auto", "online", "offline", "disabled"), help="auto: online with an API key, else offline"
    )
    project: str = setting("fer-id", help="W&B project", kind=WORD)
    entity: str | None = setting(None, help="W&B team or user", kind=WORD)
    group: str | None = setting(
        None, help="runs that belong together; null: the study, the first part of name", kind=PATH
    )
    tags: list[str] = setting([], help="further tags; dataset, provenance and model are always there", kind=PATH)

    faces: bool = setting(
        False, help="send film strips of children whose consent names media_sharing; drawn faces are always sent"
    )

    def clashes(self) -> Iterator[Clash]:
        """Yield names of project, entity and group that no W&B server accepts, before a connection is opened."""
        yield from unfit_names(self.project, self.entity)
        if self.group is not None and not (self.group.isprintable() and 0 < len(self.group) <= 128):
            yield Clash(("group",), "expected 1 to 128 printable characters")


@dataclass
class InitConfig:
    """Weights to start from; null: drawn anew from the seed."""

    run: str | None = setting(None, help="a run of the same model, or shipped:fer2013: all weights")
    encoder_from: str | None = setting(
        None, help="a run whose frame encoder is the same, or shipped:fer2013: its encoder alone"
    )
    head_from: str | None = setting(
        None,
        kind=PATH,
        help="beside encoder_from: a file of head and classifier, as a benchmark makes of its readers",
    )
    transfer: bool = setting(False, help="of `run` what fits: the encoder, the same head, the classes both name")

    def clashes(self) -> Iterator[Clash]:
        """Yield two sources for the same weights, and a transfer without a run."""
        if self.run and self.encoder_from:
            yield Clash(("run", "encoder_from"), "both give the encoder; choose one")
        if self.head_from and not self.encoder_from:
            yield Clash(("head_from",), "has no encoder whose features it reads; say init.encoder_from=FOLDER")
        if self.transfer and not self.run:
            yield Clash(("transfer",), "has no run to transfer from; say init.run=FOLDER")


@dataclass
class RunsConfig:
    """Folder of the runs."""

    root: str = setting("runs", help="folder of all runs")


def at_the_end() -> ExplainConfig:
    """Return the settings of the short explanation at the end of a training; ``fer-id explain RUN`` the full one."""
    return ExplainConfig(clips=40, checks=0)


def timm_model(choice: str, typed: Mapping[str, object]) -> dict[str, str] | None:
    """Return the settings behind ``model=timm:<name>``: this encoder on single frames, as in ``model=resnet50``.

    Another ``model.head=`` makes the model temporal; it then learns from whole clips.
    """
    if not choice.startswith(TIMM):
        return None
    settings = {"model.name": choice, "model.encoder": choice, "model.head": "mean"}
    return settings | ({"data.frames": "frame"} if typed.get("model.head", "mean") == "mean" else {})


def _clash(line: str) -> Clash:
    """Return a problem of a part, ``key: what is wrong``, as a clash."""
    key, _, message = line.partition(": ")
    return Clash((key,), message)


@dataclass
class TrainConfig:
    """Configuration of one training, which ``fer-id train`` makes a run of."""

    data: DataConfig = field(default_factory=DataConfig, metadata=chosen_by_name())
    model: ModelConfig = field(default_factory=ModelConfig, metadata=chosen_by_name("cnn_lstm", shorthand=timm_model))
    recipe: str = setting("paper", kind=SELECTOR, help="how to train: optim, loss, augment, trainer, batch_size")
    protocol: ProtocolConfig = field(
        default_factory=ProtocolConfig, metadata=chosen_by_name("official", of_data=OWN_PROTOCOLS)
    )
    name: str | None = setting(
        None, help="folder of the run under runs.root; null: made from data, model and recipe", kind=PATH
    )
    seed: int = setting(0, min=0, max=2**32 - 1, help="of weights, folds, order and augmentation")
    batch_size: int = setting(32, min=1, max=65_536, help="clips in a step, of all devices together")
    resume: bool = setting(True, help="take an unfinished run of the same name and settings up where it stopped")
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    init: InitConfig = field(default_factory=InitConfig)
    adapt: AdaptationConfig = field(default_factory=AdaptationConfig)
    explain: ExplainConfig = field(default_factory=at_the_end)
    runs: RunsConfig = field(default_factory=RunsConfig)

    def clashes(self) -> Iterator[Clash]:
        """Yield settings that do not fit together: data, model, adaptation, protocol and processes."""
        if self.data.name and self.data.name not in known_datasets():
            yield Clash(("data.name",), unknown_dataset(self.data.name))
        if not self.data.store:
            yield Clash(("data.store",), "is empty; say data.store=FOLDER, made by fer-id prepare or fer-id synth")
        if self.data.label_space and self.data.label_space not in SPACES:
            yield Clash(("data.label_space",), f"{self.data.label_space} is unknown. Known: {', '.join(SPACES)}")
        if self.data.frames == "frame" and self.model.head != "mean":
            yield Clash(
                ("data.frames", "model.head"), "single frames teach a temporal head nothing; say data.frames=clip"
            )
        strategy, frozen = self.adapt.strategy, self.adapt.strategy == "head"
        if strategy != "full" and not (self.init.transfer or (frozen and self.init.encoder_from)):
            other = ", or init.encoder_from=FOLDER" if frozen else ""
            needs = f"{strategy} needs a model to start from; use fer-id adapt init.run=FOLDER{other}"
            yield Clash(("adapt.strategy",), needs)
        if self.protocol.mode == "transductive" and self.adapt.strategy not in BY_PICTURES:
            yield Clash(
                ("protocol.mode", "adapt.strategy"),
                f"clips without labels tell {self.adapt.strategy} nothing; choose {', '.join(BY_PICTURES)}",
            )
        if self.protocol.mode != "inductive" and self.adapt.strategy == "source_only":
            yield Clash(("protocol.mode", "adapt.strategy"), "source_only looks at nothing: protocol.mode=inductive")
        if self.data.balanced and self.adapt.strategy in ALIGNING:
            yield Clash(
                ("data.balanced", "adapt.strategy"),
                f"{self.adapt.strategy} draws as many clips of the source as of the cohort: say data.balanced=0",
            )
        least = least_side(self.model)
        if small := [side for _, side in self.trainer.resolution if side < least]:
            yield Clash(
                ("trainer.resolution", "model.space_to_depth"),
                f"crops of {small} pixels are too small for the blocks of {self.model.encoder}: {least} at least",
            )
        if self.trainer.processes > 1:
            yield from self._not_together()
        yield from map(_clash, setting_problems(self.model))

    def missing_files(self) -> Iterator[Clash]:
        """Yield published weights that are not there, or that a run's would replace; a finished run has its own, and no
        need of them."""
        clashes = [*map(_clash, file_problems(self.model))]
        if self.model.weights and (self.init.run or self.init.encoder_from):
            key = "init.run" if self.init.run else "init.encoder_from"
            clashes.append(Clash(("model.weights", key), "both give the encoder; choose one"))
        if clashes:
            from fer_id.runs.run_dir import RunDir  # imports pandas

            yield from () if RunDir(self.folder).done else clashes

    @property
    def folder(self) -> Path:
        """Folder of the run: its name, or ``dataset/model-recipe``, of a recipe file the name alone, since W&B gets the
        run's name and no paths."""
        model = self.model.name.replace(":", "-").replace("/", "-")
        return Path(self.runs.root) / (self.name or f"{self.data.name}/{model}-{Path(self.recipe).stem}")

    def costly_clashes(self) -> Iterator[Clash]:
        """Yield an encoder that timm has not, or that takes no crop; timm imports torch."""
        if self.model.encoder.startswith(TIMM):
            if "timm" not in sys.modules:
                say(f"model.encoder={self.model.encoder}: asking timm, whose import takes some seconds")
            from fer_id.models.backbones import backbone_problems

            yield from map(_clash, backbone_problems(self.model.encoder, self.model.stride))

    def _not_together(self) -> Iterator[Clash]:
        """Yield settings that one training on several devices does not support."""
        several = ("trainer.devices", "trainer.num_nodes")
        if self.protocol.name in ("kfold", "loso") or self.protocol.cross_fit:
            yield Clash(
                (*several, "protocol"), "many small trainings: give each one device, side by side, as fer-id sweep does"
            )
        if self.adapt.strategy != "full":
            yield Clash((*several, "adapt.strategy"), f"{self.adapt.strategy} trains on one device")
        processes, measured = self.trainer.processes, "auto would be measured by each process for itself; say which"
        if self.batch_size % processes:
            yield Clash((*several, "batch_size"), f"{self.batch_size} clips in a step are not shared by {processes}")
        for key in ("precision", "memory_format"):
            if getattr(self.trainer, key) == "auto":
                yield Clash((*several, f"trainer.{key}"), measured)


@dataclass
class AdaptConfig(TrainConfig):
    """Configuration of an adaptation: the keys of a training, with other defaults."""

    recipe: str = setting("adapt", kind=SELECTOR, help="how to train: optim, loss, augment, trainer, batch_size")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("loso"))
    init: InitConfig = field(default_factory=lambda: InitConfig(transfer=True))

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of an adaptation without a run to start from."""
        yield from (clash for clash in super().clashes() if clash.keys != ("transfer",))
        if not self.init.run:
            yield Clash(("init.run",), "is empty; say init.run=FOLDER, the run whose model is to be adapted")
