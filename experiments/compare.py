"""``fer-id compare``: runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_id.runs import RunDir
from fer_id.settings import setting


@dataclass
class CompareConfig:
    """Which runs, and where the page goes."""

    runs: list[str] = setting([], required=True, help="folders of finished runs")
    out: str = setting("compare", help="folder of the page and the table")


def compare(config: CompareConfig) -> Path:
    """Writes the page and the table; gives the page's path.

    Raises:
        RunError: one of the folders is no finished run.
    """
    from fer_id.reporting.compare import write_comparison

    return write_comparison([RunDir.open(path) for path in config.runs], Path(config.out))
