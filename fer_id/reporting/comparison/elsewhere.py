"""Results of compared runs on other stores (``fer-id evaluate RUN on=STORE``): a table of runs by stores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_id.reporting.comparison.compared_run import Compared, Result
from fer_id.reporting.words import counted, percent, within
from fer_id.runs.metrics import Metrics


class Cell(NamedTuple):
    """Cell of the table: texts, and the link to the report; empty where the run was not judged on that store."""

    text: str = "–"
    small: str = ""
    report: str = ""


class Table(NamedTuple):
    """Columns, with what their stores hold, and a row for each run: its name, its cells."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[Cell]]]


def columns_of(compared: Sequence[Compared]) -> dict[str, str]:
    """Return fingerprint -> name of every other store, the names made distinct where two stores share one."""
    stores = {str(result.store.fingerprint): result.path.name for run in compared for result in run.elsewhere}
    names = list(stores.values())
    return {
        fingerprint: name if names.count(name) == 1 else f"{name} ({fingerprint[:8]})"
        for fingerprint, name in stores.items()
    }


def table_elsewhere(compared: Sequence[Compared], out: Path) -> Table | None:
    """Return the table of runs by stores, each run's own test clips first; None where no run was judged elsewhere."""
    columns = columns_of(compared)
    if not columns:
        return None
    stores = {str(result.store.fingerprint): result for run in compared for result in run.elsewhere}
    about = [(name, _about(stores[fingerprint])) for fingerprint, name in columns.items()]
    rows = []
    for run in compared:
        judged = {str(result.store.fingerprint): result for result in run.elsewhere}
        own = _cell(run.metrics, run.path, out)._replace(report="")
        of_run = own._replace(small=f"{run.job.store.name}; {own.small}")
        others = [judged.get(fingerprint) for fingerprint in columns]
        rows.append((run.name, [of_run, *(_cell(each.metrics, each.path, out) if each else Cell() for each in others)]))
    return Table([("its own test clips", ""), *about], rows)


def _about(result: Result) -> str:
    metrics = result.metrics
    return (
        f"{metrics.provenance}, {counted(metrics.n_subjects, 'image group' if result.store.of_images else 'subject')}"
    )


def _cell(metrics: Metrics, path: Path, out: Path) -> Cell:
    report = path.resolve() / "report.html"
    small = f"{within(metrics.interval('accuracy'))}; macro-F1 {percent(metrics.macro_f1)}"
    link = Path(os.path.relpath(report, out.resolve())).as_posix() if report.is_file() else ""
    return Cell(percent(metrics.accuracy), small, link)
