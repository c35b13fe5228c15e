"""The team's dashboard: a W&B report with sections for studies, folds and sweeps, made with W&B's library.

Saving the report needs the network, building it does not. Its panels use the keys that ``fer_id.callbacks`` logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.sweeping.parameters import recorded_key
from experiments.sweeping.spec import SWEEPS, Sweep, read_sweep
from fer_id.extras import require_extra
from fer_id.labels import TARGET
from fer_id.loggers.server import asking, require_server
from fer_id.objectives import MONITOR, OBJECTIVES

TITLE = "fer_id: studies, folds and sweeps"
SCORES = ("test/accuracy", "test/macro_f1", "test/macro_recall", "test/auc")
INTERVALS = ("test/accuracy", "test/macro_f1")
NOTE = (
    "Runs tagged synthetic or simulated learned from drawn or simulated children and are no evidence about real ones. "
    "Test scores of a study are pooled over its folds; intervals resample subjects. Of fewer than five real children "
    "nothing is told, and of a sweep's trials no test score: they are chosen by inner validation."
)
WHOLE, HALF = 24, 12
"""Widths of panels; W&B's grid has 24 columns."""


def publish(project: str, entity: str | None, url: str | None) -> str:
    """Save the dashboard on the server and return its address; raise OnlineError where there is none, or it refuses.
    Without ``entity`` it goes to the account's default team; ``url`` is the address of a report to replace."""
    require_server()
    import wandb

    wr = _library()
    with asking():
        report = build(project, entity or wandb.Api().default_entity or "")
        if url is not None:
            made, report = report, wr.Report.from_url(url)
            report.title, report.description, report.blocks = made.title, made.description, made.blocks
        report.save()
        return f"dashboard: {report.url}"


def _library() -> Any:
    """Return W&B's module of reports, untyped; raise MissingExtraError where it is not installed."""
    require_extra("workspaces", "the W&B dashboard")
    import wandb_workspaces.reports.v2 as library

    return library


def build(project: str, entity: str, sweeps: Path = SWEEPS) -> Any:
    """Build the report on the runs of a project without saving it; each sweep file in ``sweeps`` has a section."""
    wr = _library()
    blocks: list[Any] = [wr.P(NOTE), *_studies(wr), *_folds(wr)]
    for path in sorted(sweeps.glob("*.yaml")):
        blocks += _sweep(wr, read_sweep(path))
    return wr.Report(project=project, entity=entity, title=TITLE, description=NOTE, width="fluid", blocks=blocks)


def _studies(wr: Any) -> list[Any]:
    """Return the section of studies and single trainings: scores with intervals, recall by class, curves, settings."""
    bounds = [f"{score}{side}" for score in INTERVALS for side in ("", "_low", "_high")]
    runs = wr.Runset(
        name="Studies and single trainings",
        filters='Metric("JobType") in ["study", "train"]',
        order=[wr.OrderBy(name=wr.SummaryMetric("test/macro_f1"))],
        pinned_columns=_columns("provenance", "test/n_subjects", *bounds),
    )
    recalls = [f"test/{label}/recall" for label in TARGET.names]
    panels = [
        _curve(wr, "Inner validation by study", [MONITOR], groupby="study.group"),
        _curve(wr, "Inner validation of each", [MONITOR]),
        _curve(wr, "Loss", ["train/loss", "val/loss"]),
        *(
            wr.BarPlot(title=title, metrics=[*map(wr.SummaryMetric, names)], layout=wr.Layout(w=HALF, h=8))
            for title, names in (("Test scores", SCORES), ("Recall by class", recalls))
        ),
        wr.RunComparer(diff_only="split", layout=wr.Layout(w=WHOLE, h=9)),
    ]
    return [wr.H1("Studies"), wr.PanelGrid(runsets=[runs], panels=panels)]


def _folds(wr: Any) -> list[Any]:
    """Return the section of the folds of studies, and their spread."""
    runs = wr.Runset(
        name="Folds, by study",
        filters='Metric("JobType") == "fold"',
        groupby=["config.study.name"],
        pinned_columns=_columns("provenance", MONITOR, "val/best_epoch"),
    )
    panels = [_curve(wr, f"{name}, folds of a study", [name], groupby="study.name") for name in OBJECTIVES]
    return [wr.H1("Folds"), wr.PanelGrid(runsets=[runs], panels=panels)]


def _sweep(wr: Any, sweep: Sweep) -> list[Any]:
    """Return the section of a sweep's trials: inner validation by parameter values."""
    runs = wr.Runset(
        name=f"Trials of {sweep.name}",
        filters=f'Metric("JobType") == "trial" and Metric("Group") == "{sweep.name}"',
        order=[wr.OrderBy(name=wr.SummaryMetric(sweep.metric), ascending=sweep.goal == "minimize")],
        pinned_columns=_columns("provenance", sweep.metric, "val/best_epoch"),
    )
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(recorded_key(parameter.key)), log=parameter.log or None)
        for parameter in sweep.parameters
    ]
    columns.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(sweep.metric)))
    title = f"{sweep.name}: parameters, and {sweep.metric} of the best epoch"
    panels = [
        wr.ParallelCoordinatesPlot(title=title, columns=columns, layout=wr.Layout(w=WHOLE, h=9)),
        wr.ParameterImportancePlot(with_respect_to=sweep.metric, layout=wr.Layout(w=HALF, h=8)),
        _curve(wr, sweep.metric, [sweep.metric], width=HALF),
    ]
    return [wr.H1(f"Sweep {sweep.name}"), wr.PanelGrid(runsets=[runs], panels=panels)]


def _curve(wr: Any, title: str, names: Sequence[str], *, groupby: str | None = None, width: int = 8) -> Any:
    """Return a plot over epochs; for groups of runs the mean, with the range from lowest to highest."""
    mean = {"groupby": wr.Config(groupby), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"} if groupby else {}
    layout = wr.Layout(w=width, h=8)
    return wr.LinePlot(title=title, x="epoch", y=list(names), title_x="epoch", layout=layout, **mean)


def _columns(*names: str) -> list[str]:
    return ["run:displayName", "tags:__ALL__", *(f"summary:{name}" for name in names)]
