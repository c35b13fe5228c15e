"""What a study came to: a table, a picture, and words."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Trial
from experiments.sweeping.parameters import CHOICE, Value, shown, text
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LOG
from fer_id.csv_text import table_csv
from fer_id.errors import RunError
from fer_id.files import atomic_write_bytes, atomic_write_text
from fer_id.reporting.sweep_figures import Axis, draw_sweep
from fer_id.runs.run_dir import RunDir

SHOWN = 5
MOST_FOLDS = 40


def table(study: Study, provenance: str) -> pd.DataFrame:
    """One row for every trial: number, fold, status, the objective under its name, cost, parameters, job and folder."""
    rows = [
        {
            "number": one.number,
            "fold": one.fold,
            "status": one.status,
            study.plan.sweep.metric: one.objective,
            "epochs": one.epochs,
            "seconds": one.seconds,
            **{f"param:{key}": shown(value) for key, value in one.parameters.items()},
            "provenance": provenance,
            "job": one.job,
            "run": str(study.plan.path(one.fold, one.job)) if one.job else None,
            "reason": one.reason,
        }
        for fold in study.folds
        for one in study.ledger.of(fold)
    ]
    return pd.DataFrame(rows)


def write_results(study: Study, provenance: str) -> None:
    """``sweep.csv`` and ``sweep.png`` in the folder of the study."""
    atomic_write_text(study.plan.folder / "sweep.csv", table_csv(table(study, provenance)))
    sweep = study.plan.sweep
    axes = [Axis(one.key, one.log, one.kind == CHOICE) for one in sweep.parameters if len(one.probes) > 1]
    trials = [one for fold in study.folds for one in study.ledger.of(fold)]
    picture = draw_sweep(
        study.plan.study,
        pd.DataFrame(
            [
                {
                    "number": one.number,
                    "fold": one.fold,
                    "status": one.status,
                    "objective": one.objective,
                    **{axis.key: _on_axis(one, axis) for axis in axes},
                }
                for one in trials
            ]
        ),
        axes,
        metric=sweep.metric,
        goal=sweep.goal,
        provenance=provenance,
    )
    atomic_write_bytes(study.plan.folder / "sweep.png", picture)


def _on_axis(trial: Trial, axis: Axis) -> object:
    value = trial.parameters[axis.key]
    return shown(value) if axis.choice else value


def told(study: Study, selected: RunDir | None, provenance: str) -> str:
    """What came out, for the person at the terminal."""
    counts = Counter(one.status for one in study.ledger.trials.values())
    words = {FINISHED: "done", STOPPED: "stopped early", FAILED: "failed"}
    said = ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status])
    sweep, folder = study.plan.sweep, study.plan.folder
    lines = [
        f"{folder}: {said}; {sweep.metric} on inner validation, {provenance} data",
        *(_by_fold(study) if study.folds != [None] else _by_rank(study)),
        f"{folder / 'sweep.csv'}  {folder / 'sweep.png'}",
    ]
    if selected is not None:
        metrics = selected.metrics()
        numbers = ", ".join(
            f"{name} {'undefined' if metrics[key] is None else format(metrics[key], '.3f')}"
            for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"))
        )
        lines += [
            f"selected in every fold by its own inner validation: {numbers} on {metrics['n_clips']} {provenance} "
            "test clips",
            str(selected.path / "report.html"),
        ]
    return "\n".join(lines)


def _by_rank(study: Study) -> list[str]:
    """The best trials, and how to go on with the first."""
    ranked = study.ranked(None)
    if not ranked:
        return ["no trial finished"]
    best = ranked[0]
    path = study.plan.path(None, best.job)
    return [
        *_rows(ranked[:SHOWN], study),
        f"best: {path}  (its page: {path / 'report.html'})",
        f"  to look into it:          fer-id explain {path}",
        f"  the same in other trainings: {shlex.join(text(key, value) for key, value in best.parameters.items())}",
    ]


def _by_fold(study: Study) -> list[str]:
    """The winner of every fold, and how often each value won."""
    winners = [leader for fold in study.folds if (leader := study.leader(fold)) is not None]
    lines = _rows(winners[:MOST_FOLDS], study)
    for one in study.plan.sweep.parameters:
        if one.kind == CHOICE and len(one.choices) > 1:
            won = Counter(text(one.key, trial.parameters[one.key]) for trial in winners)
            lines.append("  chosen: " + ", ".join(f"{value} in {count} folds" for value, count in won.most_common()))
    return lines


def _rows(trials: Sequence[Trial], study: Study) -> list[str]:
    keys = [one.key for one in study.plan.sweep.parameters]
    cells = [["trial", study.plan.sweep.metric, *keys, "run"]]
    for one in trials:
        name = str(one.number) if one.fold is None else f"{one.fold}: {one.number}"
        values = [_number(one.parameters[key]) for key in keys]
        cells.append([name, f"{one.objective:.4f}", *values, study.plan.name(one.fold, one.job)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def _number(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


def require_whole(study: Study, text: str) -> None:
    """Raises where trials failed, with what came out all the same.

    Raises:
        RunError: each failed trial with its reason and its log.
    """
    failed = [one for one in study.ledger.trials.values() if one.status == FAILED]
    if not failed:
        return
    lines = []
    for one in failed[:20]:
        first = ((one.reason or "").strip().splitlines() or ["no reason"])[0]
        log = f" ({study.plan.path(one.fold, one.job) / LOG})" if one.job else ""
        lines.append(f"  - {one.title}: {first}{log}")
    if len(failed) > 20:
        lines.append(f"  ... and {len(failed) - 20} more")
    raise RunError(
        f"{len(failed)} of {len(study.ledger.trials)} trials failed, the others are whole:\n"
        + "\n".join(lines)
        + f"\n{text}\nWhat failed is tried again by: fer-id sweep resume {study.plan.folder}"
    )
