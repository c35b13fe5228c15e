"""``fer-id compare``: runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_id.errors import Problems, RunError
from fer_id.settings import setting


@dataclass
class CompareConfig:
    """Configuration of a comparison of runs."""

    runs: list[str] = setting(
        [],
        required=True,
        help="finished runs; a folder stands for the runs in it, the study folder of a sweep for its finished trials "
        "(stopped and failed ones are listed)",
    )
    reference: str | None = setting(
        None, help="the run that the others are paired with; null: the first (of a sweep, its first finished trial)"
    )
    unfinished: str = setting(
        "refuse", choices=("refuse", "skip"), help="runs that are unfinished or quarantined; skip: leave out and say so"
    )
    out: str = setting("compare", help="folder of the page and the table")


def compare(config: CompareConfig) -> Path:
    """Write the page and the table; return the page's path. Raise RunError for a path without a finished run, missing
    or damaged files of a run (all are listed), or where ``out`` holds another page."""
    from experiments.run_paths import find_runs
    from fer_id.reporting.comparison.page import write_comparison

    out = Path(config.out)
    if (out / "index.html").exists() and not (out / "comparison.csv").exists():
        raise RunError(f"out={out}: its index.html is of something else and would be lost; choose another folder")
    problems = Problems("compare")
    selection = find_runs(config.runs, problems, config.reference, config.unfinished)
    return write_comparison(
        selection.runs,
        out,
        names=selection.names,
        left_out=selection.left_out,
        swept=selection.swept,
        problems=problems,
    )
