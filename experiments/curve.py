"""``fer-id curve``: what each further child, or each earlier clip of the same child, is worth: the adaptation curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd

from experiments.adapt import AdaptConfig, adapt
from experiments.parts import open_data
from fer_id.files import atomic_write_bytes, atomic_write_text
from fer_id.progress import say
from fer_id.reporting.comparison_figures import adaptation_curve
from fer_id.reporting.report import human_ceiling
from fer_id.reporting.style import svg
from fer_id.runs import RunDir
from fer_id.settings import Clash, setting

CHILDREN, CLIPS = "children", "clips"


@dataclass
class CurveConfig(AdaptConfig):
    """One adaptation at several sizes; every other key is that of ``fer-id adapt``."""

    over: str = setting(
        CHILDREN,
        choices=(CHILDREN, CLIPS),
        help="children: learn from so many (0: the source model as it is); clips: from so many earlier clips of the "
        "tested child beside all other children (protocol.mode=personalised)",
    )
    sizes: list[int] = setting([0, 1, 2, 4, 8], help="the numbers, each a run of its own")

    def clashes(self) -> Iterator[Clash]:
        """Sizes that are none, and a mode that the curve sets itself."""
        yield from super().clashes()
        if not self.sizes or min(self.sizes) < 0 or len(set(self.sizes)) < len(self.sizes):
            yield Clash(("sizes",), f"{self.sizes}: expected different numbers, 0 or more, such as [0,1,2,4,8]")
        if self.protocol.train_groups is not None or self.protocol.own_clips is not None:
            yield Clash(
                ("protocol.train_groups", "protocol.own_clips"), "are what the curve varies; say over= and sizes="
            )
        if self.over == CLIPS and self.protocol.mode == "transductive":
            yield Clash(("over", "protocol.mode"), "earlier clips come with their labels: over=clips is personalised")


def curve(config: CurveConfig) -> str:
    """Adapts at every size, finished ones taken as they are, and writes ``curve.csv`` and ``curve.svg`` beside them.

    Returns:
        the table, with the path of the figure.

    Raises:
        FerIdError: as ``experiments.train.train``; a size that the cohort does not have, before anything is trained.
    """
    folder = Path(config.runs.root) / (config.name or f"{config.data.name}/curve")
    points = {size: _at(config, size, folder) for size in sorted(config.sizes)}
    for point in points.values():
        open_data(point, None)
    runs = {}
    for size, point in points.items():
        say(f"{size} {config.over}")
        adapt(point)
        runs[size] = RunDir.open(folder / f"{config.over}-{size:03d}")
    table = pd.DataFrame([_row(size, run) for size, run in runs.items()])
    job = next(iter(runs.values())).job()
    atomic_write_text(folder / "curve.csv", table.to_csv(index=False))
    figure = adaptation_curve(table, config.over, job["store"]["provenance"], human_ceiling(job))
    atomic_write_bytes(folder / "curve.svg", svg(figure))
    return f"{table.to_string(index=False, float_format='{:.3f}'.format)}\n{folder / 'curve.svg'}"


def _at(config: CurveConfig, size: int, folder: Path) -> AdaptConfig:
    """The adaptation at one size."""
    kept = {field.name: getattr(config, field.name) for field in fields(AdaptConfig)}
    name = f"{folder.relative_to(config.runs.root).as_posix()}/{config.over}-{size:03d}"
    adapt, protocol = config.adapt, config.protocol
    if config.over == CLIPS:
        protocol = replace(protocol, mode="personalised", own_clips=size)
    elif size:
        protocol = replace(protocol, train_groups=size)
    else:
        adapt = replace(adapt, strategy="source_only")
    return AdaptConfig(**{**kept, "name": name, "adapt": adapt, "protocol": protocol})


def _row(size: int, run: RunDir) -> dict[str, float | int | None]:
    metrics = run.metrics()
    interval = metrics["intervals"].get("accuracy") or {"low": None, "high": None}
    accuracies = [row["accuracy"] for row in metrics["per_subject"].values() if row["accuracy"] is not None]
    return {
        "size": size,
        "accuracy": metrics["accuracy"],
        "low": interval["low"],
        "high": interval["high"],
        "macro_f1": metrics["macro_f1"],
        "worst_subject": min(accuracies, default=None),
        "subjects": metrics["n_subjects"],
        "clips": metrics["n_clips"],
    }
