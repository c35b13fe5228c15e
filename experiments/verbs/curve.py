"""``fer-id curve``: the adaptation curve, accuracy by the number of children, or of earlier clips of the same child."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from experiments.config import AdaptConfig
from experiments.settings.loading import part_of
from fer_id.csv_text import table_csv
from fer_id.errors import ConfigError
from fer_id.files import atomic_write_bytes, atomic_write_text
from fer_id.progress import say
from fer_id.reporting.comparison.figures import adaptation_curve
from fer_id.reporting.style import svg
from fer_id.runs.run_dir import RunDir
from fer_id.settings import Clash, setting

CHILDREN, CLIPS = "children", "clips"


@dataclass
class CurveConfig(AdaptConfig):
    """Configuration of an adaptation at several sizes; the other keys are those of ``fer-id adapt``."""

    over: str = setting(
        CHILDREN,
        choices=(CHILDREN, CLIPS),
        help="children: learn from so many (0: the source model as it is); clips: from so many earlier clips of the "
        "tested child beside all other children, or from all it has where it has fewer (protocol.mode=personalised)",
    )
    sizes: list[int] = setting(
        [], min=0, max=1_000_000, help="the numbers, each a run of its own; empty: 0, 1, 2, 4, ... to all there are"
    )

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of bad sizes, and of keys that the curve sets itself."""
        yield from super().clashes()
        if any(size < 0 for size in self.sizes) or len(set(self.sizes)) < len(self.sizes):
            yield Clash(("sizes",), f"{self.sizes}: expected different numbers, 0 or more, such as [0,1,2,4,8]")
        if self.protocol.train_groups is not None or self.protocol.own_clips is not None:
            yield Clash(("protocol.train_groups", "protocol.own_clips"), "are what the curve varies; say sizes=")
        if self.over == CLIPS and self.protocol.mode != "personalised":
            yield Clash(("over", "protocol.mode"), "over=clips is about earlier clips: say protocol.mode=personalised")
        if self.over == CHILDREN and self.protocol.mode == "personalised":
            yield Clash(("over", "protocol.mode"), "with its own clips every child is learned from; say over=clips")
        if self.over == CHILDREN and self.protocol.group != "subject_id":
            yield Clash(("over", "protocol.group"), f"would count values of {self.protocol.group}, not children")
        if self.adapt.strategy == "source_only":
            yield Clash(("adapt.strategy",), "source_only learns nothing: its curve is flat")


def curve(config: CurveConfig) -> str:
    """Adapt at every size without a finished run; write ``curve-<over>.csv`` and ``.svg``; return the table. A size
    beyond the cohort's is a ConfigError before anything is trained."""
    from experiments.verbs.train import train

    folder = Path(config.runs.root) / (config.name or f"{config.data.name}/curve")
    runs = {}
    for size in _sizes(config):
        say(f"{size} {config.over}")
        train(_at(config, size, folder))
        runs[size] = RunDir.open(folder / f"{config.over}-{size:03d}")
    rows = [_row(size, run) for size, run in runs.items()]
    store = next(iter(runs.values())).job().store
    provenance, file = store.provenance, folder / f"curve-{config.over}"
    table = pd.DataFrame(rows).assign(mode=config.protocol.mode, provenance=provenance)
    atomic_write_text(file.with_suffix(".csv"), table_csv(table))
    figure = adaptation_curve(table, config.over, store.agreement.ceiling if store.agreement else None)
    atomic_write_bytes(file.with_suffix(".svg"), svg(figure))
    return f"{table.to_string(index=False, float_format='{:.3f}'.format)}\n{file.with_suffix('.svg')}"


def _sizes(config: CurveConfig) -> list[int]:
    """Return the sizes, rising; all folds have as many children (or one fold as many earlier clips)."""
    from experiments.training.setup import open_data

    data = open_data(config, None)
    if config.over == CHILDREN:
        most = min(len(data.subjects(fold.train)) for fold in data.folds)
    else:
        own = [data.clips["subject_id"].iloc[fold.own].value_counts() for fold in data.folds]
        most = max((int(count.max()) for count in own if len(count)), default=0)
    if too_many := [size for size in config.sizes if size > most]:
        raise ConfigError(f"sizes={config.sizes}: {max(too_many)} is more than the {most} {config.over} there are")
    doubling = [0, *(2**power for power in range(most.bit_length())), most]
    return sorted(set(config.sizes or doubling))


def _at(config: CurveConfig, size: int, folder: Path) -> AdaptConfig:
    """Return the configuration of the adaptation at one size."""
    name = f"{folder.relative_to(config.runs.root).as_posix()}/{config.over}-{size:03d}"
    made = replace(part_of(AdaptConfig, config), name=name)
    if config.over == CLIPS:
        return replace(made, protocol=replace(config.protocol, own_clips=size))
    if size:
        return replace(made, protocol=replace(config.protocol, train_groups=size))
    protocol = replace(config.protocol, mode="inductive")
    return replace(made, protocol=protocol, adapt=replace(config.adapt, strategy="source_only"))


def _row(size: int, run: RunDir) -> dict[str, float | int | None]:
    metrics = run.metrics()
    interval = metrics.interval("accuracy")
    accuracies = [row.accuracy for row in metrics.per_subject.values() if row.accuracy is not None]
    return {
        "size": size,
        "accuracy": metrics.accuracy,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "macro_f1": metrics.macro_f1,
        "worst_subject": min(accuracies, default=None),
        "subjects": metrics.n_subjects,
        "clips": metrics.n_clips,
    }
