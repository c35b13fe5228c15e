"""Configuration of a response surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from experiments.config import RunsConfig
from fer_id.errors import ConfigError
from fer_id.evaluation.config import SPLITS
from fer_id.readers.config import OF_OTHER_CLIPS, READERS, UPDATES, ReaderContrast
from fer_id.settings import PATH, Clash, setting


@dataclass
class SurfaceConfig:
    """Configuration of a response surface: the contrasts of a benchmark's readers on a grid of simulations."""

    run: str = setting("", required=True, help="trained encoder of a benchmark: runs/benchmark-small/encoders/conv4")
    source: str | None = setting(None, help="store of stills that it learned; null: where its configuration says")
    clips: str | None = setting(
        None, help="simulated store whose judged stills it left out; null: data.excluding of its configuration"
    )
    peak: list[float] = setting([0.3, 0.6, 1.0], above=0, max=3, help="factors on e(t), as peak= of simulate")
    resting: list[float] = setting([0.5, 1.0, 2.0], min=0, max=3, help="strengths of the resting face")
    strays: list[float] = setting([0.0, 1.0, 3.0], min=0, max=10, help="factors on movements that are no emotion")
    subjects: list[int] = setting(
        [40, 6, 36],
        min=1,
        max=100_000,
        help="the first children of the store in train, validation and test, at every point; 27 points: half an hour",
    )
    contrasts: list[str] = setting(
        ["set - frame", "both_sets - set", "lstm - set"],
        help="READER - READER, each corrected for all points (Holm); nothing else is tested",
    )
    relevant: float = setting(0.03, above=0, max=1, help="difference in macro recall that matters")
    seeds: list[int] = setting([0, 1, 2], min=0, max=2**32 - 1, help="of the readers that are networks")
    reader_updates: int = setting(UPDATES, min=1, max=1_000_000, help="updates of a network, in batches of 128 clips")
    workers: int = setting(2, min=1, max=256, help="processes that simulate, and that fit readers")
    name: str = setting("surface", help="folder of features and predictions under runs.root", kind=PATH)
    out: str = setting("compare/surface", help="folder of the page and the tables")
    runs: RunsConfig = field(default_factory=RunsConfig)

    def clashes(self) -> Iterator[Clash]:
        """Yield empty or repeated settings of the grid, wrong numbers of children, and contrasts of unknown readers."""
        for key in ("peak", "resting", "strays", "seeds", "contrasts"):
            values: list[object] = getattr(self, key)
            if not values or len(set(values)) < len(values):
                yield Clash((key,), f"{values}: expected different ones, at least one")
        if len(self.subjects) != len(SPLITS):
            yield Clash(("subjects",), f"{self.subjects}: expected three numbers, of {', '.join(SPLITS)} children")
        for text in self.contrasts:
            try:
                contrast = contrast_of(text, "encoder")
            except ConfigError:
                yield Clash(("contrasts",), f"{text!r}: expected READER - READER, as set - frame")
                continue
            for _, reader in (contrast.first, contrast.second):
                if reader not in READERS or reader in OF_OTHER_CLIPS:
                    usable = ", ".join(name for name in READERS if name not in OF_OTHER_CLIPS)
                    yield Clash(("contrasts",), f"{text}: {reader} is none of {usable}")

    def grid(self) -> list[tuple[float, float, float]]:
        """Return peak, resting and strays of every point."""
        return list(product(sorted(self.peak), sorted(self.resting), sorted(self.strays)))


def contrast_of(text: str, encoder: str) -> ReaderContrast:
    """Return the contrast of two readers of one encoder, ``READER - READER``; raise ConfigError for another text."""
    first, _, second = (part.strip() for part in text.partition(" - "))
    return ReaderContrast.parse(f"{text} = {encoder}/{first} - {encoder}/{second}")
