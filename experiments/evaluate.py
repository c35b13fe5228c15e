"""``fer-id evaluate`` and ``fer-id report``: a run's numbers and page again, from its predictions, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_id.runs import RunDir
from fer_id.settings import setting


@dataclass
class EvaluateConfig:
    """Which run."""

    run: str = setting("", required=True, help="folder of a finished run")
    risk: float = setting(0.2, above=0, below=1, help="share of wrong among the answered that flagging is to keep")
    level: float = setting(0.9, above=0, below=1, help="how often a prediction set is to hold the true class")


def evaluate(config: EvaluateConfig) -> str:
    """Computes ``metrics.json``, the figures and the page again, and says the main numbers.

    Raises:
        RunError: no finished run, or damaged.
    """
    from fer_id.reporting.report import evaluate_run
    from fer_id.reporting.words import counted

    run = RunDir.open(config.run)
    metrics = evaluate_run(run, risk=config.risk, level=config.level)
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auc", "specificity", "coverage")
    said = [f"  {name:<16} {'undefined' if metrics[name] is None else format(metrics[name], '.4f')}" for name in names]
    size = f"{counted(metrics['n_clips'], 'clip')}, {counted(metrics['n_subjects'], 'subject')}"
    title = f"{run.path}: {size}, provenance {metrics['provenance']}"
    return "\n".join([title, *said, str(run.path / "report.html")])


def report(config: EvaluateConfig) -> Path:
    """Writes the page ``report.html`` again from what the run has; gives its path.

    Raises:
        RunError: no finished run, or damaged.
    """
    from fer_id.reporting.report import write_report

    return write_report(RunDir.open(config.run))
