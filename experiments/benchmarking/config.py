"""Configuration of a benchmark of encoders and readers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from data_modules.config import DataConfig
from data_modules.registry import known_datasets
from experiments.config import LoggingConfig, RunsConfig, TrainConfig, TrainerConfig
from experiments.settings.loading import chosen_by_name
from experiments.verbs.models import model_file
from fer_id.errors import ConfigError
from fer_id.evaluation.config import SPLITS, ProtocolConfig
from fer_id.explain.config import ExplainConfig
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.readers.config import MODES, OF_OTHER_CLIPS, READERS, UPDATES, ReaderContrast
from fer_id.settings import PATH, SELECTOR, Clash, setting
from fer_id.tasks.config import LossConfig, OptimConfig

ENCODERS = ["conv4", "shallow_cnn", "resnet50", "efficientnet_b0", "compact_vit"]
CONTRASTS = [
    "more frames = conv4/mean - conv4/frame",
    "peak and contrast = conv4/set - conv4/mean",
    "own baseline = conv4/both_sets - conv4/set",
    "order = conv4/lstm - conv4/shuffled_lstm",
    "LSTM = conv4/lstm - conv4/set",
]


@dataclass
class PretrainConfig:
    """Training of every encoder on stills."""

    store: str | None = setting(None, help="store of stills, the one that the clips were simulated from")
    data: str = setting("ferplus", help="its dataset, as in data=")
    at_most: list[int] = setting(
        [], min=1, max=100_000_000, help="[train, validation, test]: so many stills of each; empty: all"
    )
    balanced: float = setting(0.5, min=0, max=1, help="class-balanced sampling, as data.balanced; rare classes count")
    max_epochs: int = setting(10, min=1, max=100_000, help="passes over them, where there is no budget")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of an unknown dataset, no store, and of a part that is not three numbers."""
        if self.data not in known_datasets():
            yield Clash(("data",), f"{self.data} is unknown. Known: {', '.join(known_datasets())}")
        if not self.store:
            yield Clash(("store",), "is empty; say pretrain.store=FOLDER, the stills that the encoders learn")
        if self.at_most and len(self.at_most) != len(SPLITS):
            yield Clash(("at_most",), f"{self.at_most}: expected three numbers, of train, validation and test stills")


@dataclass
class FinetuneConfig:
    """Training of the reference's encoder end to end on clips: whether frozen features decide.

    The heads mean and lstm begin as the readers of these names, fitted on the same clips.
    """

    heads: list[str] = setting(["lstm", "mean"], help="a training with each of these heads; empty: none")
    at_most: list[int] = setting([], min=1, max=100_000_000, help="[train, validation, test] clips; empty: all")
    max_epochs: int = setting(10, min=1, max=100_000, help="passes over them")
    lr: float = setting(3e-4, above=0, max=10, help="peak of the rate of the head")
    encoder_lr: float = setting(0.3, above=0, max=1, help="factor on it for the encoder, as optim.encoder_lr")
    batch_size: int = setting(16, min=1, max=65_536, help="clips in a step")


@dataclass
class LowResourceConfig:
    """Leave-one-child-out in cohorts of a few test children, on the reference's cached features."""

    sizes: list[int] = setting([6, 12, 24], min=3, max=100_000, help="children of a cohort; empty: none")
    draws: int = setting(
        2, min=1, max=1000, help="cohorts of the largest size; sizes that divide their children judge the same ones"
    )
    readers: list[str] = setting(["frame", "set", "both_sets", "lstm"], help="those of readers= that are fitted so")

    def clashes(self) -> Iterator[Clash]:
        """Yield unknown readers, and those that would look at other clips of the child left out."""
        known = [name for name in READERS if name not in OF_OTHER_CLIPS]
        if wrong := [name for name in self.readers if name not in known]:
            yield Clash(("readers",), f"{', '.join(wrong)}: none of {', '.join(known)}")


@dataclass
class BenchmarkConfig:
    """Configuration of a benchmark of encoders and readers."""

    data: DataConfig = field(default_factory=DataConfig, metadata=chosen_by_name())
    recipe: str = setting("paper", kind=SELECTOR, help="how encoders train: optim, loss, augment, trainer, batch_size")
    # After the recipe, so that a benchmark's own budget wins over it.
    benchmark: str = setting("small", kind=SELECTOR, help="how much: encoders, seeds, part of the stores, budget")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("official"))
    encoders: list[str] = setting(ENCODERS, help="shipped models by name, or your own by the path of their .yaml file")
    reference: str = setting("conv4", help="the encoder with most of the budget, all clips, and the fine-tunings")
    readers: list[str] = setting(
        [name for name in READERS if name not in OF_OTHER_CLIPS],
        help="; ".join(f"{name}: {what.partition(':')[0]}" for name, what in READERS.items()),
    )
    contrasts: list[str] = setting(
        CONTRASTS, help="NAME = ENCODER/READER - ENCODER/READER, corrected together (Holm); nothing else is tested"
    )
    relevant: float = setting(
        0.03, above=0, max=1, help="difference in macro recall that matters; a contrast shown to be below is 'smaller'"
    )
    seeds: list[int] = setting([0, 1, 2, 3, 4], min=0, max=2**32 - 1, help="of the readers that are networks")
    reader_updates: int = setting(
        UPDATES, min=1, max=1_000_000, help="updates of a network, in batches of 128 clips and whole passes"
    )
    workers: int = setting(2, min=1, max=256, help="processes that fit readers, one thread each")
    others_at_most: list[int] = setting(
        [], min=1, max=100_000_000, help="[train, validation, test] clips of encoders but the reference; empty: all"
    )
    budget: float | None = setting(
        None,
        above=0,
        max=1e21,
        help="multiply-adds of all parts from the CSV on; the encoders get what is left",
    )
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    low_resource: LowResourceConfig = field(default_factory=LowResourceConfig)
    seed: int = setting(0, min=0, max=2**32 - 1, help="of the encoders")
    name: str | None = setting(None, help="folder of the runs under runs.root; null: benchmark-<benchmark>", kind=PATH)
    out: str = setting("compare/benchmark", help="folder of the page and the tables")
    batch_size: int = setting(32, min=1, max=65_536, help="stills in a step")
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    explain: ExplainConfig = field(default_factory=lambda: ExplainConfig(clips=0))
    runs: RunsConfig = field(default_factory=RunsConfig)

    def clashes(self) -> Iterator[Clash]:
        """Yield unknown or repeated encoders and readers, wrong parts of the stores, and impossible contrasts."""
        if len(self.data.store) != 1:
            yield Clash(("data.store",), f"{self.data.store}: expected one store of clips, as fer-id simulate makes it")
        names, unknown = [], False
        for choice in self.encoders:
            try:
                names.append(model_file(choice).model.name)
            except ConfigError as error:
                unknown = True
                yield Clash(("encoders",), f"{choice}: {error}")
        for key, values in (("encoders", names), ("readers", self.readers), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                yield Clash((key,), f"{values}: expected different ones, at least one")
        if wrong := [name for name in self.readers if name not in READERS]:
            yield Clash(("readers",), f"{', '.join(wrong)}: unknown. Known: {', '.join(READERS)}")
        if not unknown and self.reference not in names:
            yield Clash(("reference", "encoders"), f"{self.reference} is none of {', '.join(names)}")
        if self.protocol.name in ("kfold", "loso"):
            yield Clash(("protocol",), "the readers of a benchmark have one test set: say official or holdout")
        if (other := set(self.readers) & set(OF_OTHER_CLIPS)) and self.protocol.mode == "inductive":
            yield Clash(("readers", "protocol.mode"), f"{', '.join(other)} {MODES}")
        for key, most in (("others_at_most", self.others_at_most), ("finetune.at_most", self.finetune.at_most)):
            if most and len(most) != len(SPLITS):
                yield Clash((key,), f"{most}: expected three numbers, of train, validation and test clips")
        if not unknown:
            yield from self._absent(names)

    def costly_clashes(self) -> Iterator[Clash]:
        """Yield encoders that timm has not, or that take no crop."""
        for choice in self.encoders:
            yield from (
                Clash(("encoders",), f"{choice}: {clash.message}")
                for clash in TrainConfig(model=model_file(choice).model).costly_clashes()
            )

    def _absent(self, encoders: list[str]) -> Iterator[Clash]:
        """Yield contrasts that cannot be read, or name an encoder or a reader that is not in the run."""
        seen: set[str] = set()
        for text in self.contrasts:
            try:
                contrast = ReaderContrast.parse(text)
            except ConfigError as error:
                yield Clash(("contrasts",), str(error))
                continue
            for encoder, reader in (contrast.first, contrast.second):
                if encoder not in encoders:
                    yield Clash(
                        ("contrasts", "encoders"), f"{contrast.name}: {encoder} is none of {', '.join(encoders)}"
                    )
                if reader not in self.readers:
                    yield Clash(
                        ("contrasts", "readers"), f"{contrast.name}: {reader} is none of {', '.join(self.readers)}"
                    )
            if contrast.name in seen:
                yield Clash(("contrasts",), f"two contrasts are named {contrast.name}")
            seen.add(contrast.name)
