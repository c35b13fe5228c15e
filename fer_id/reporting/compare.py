"""Many runs on one page, for people without W&B: ``index.html`` and ``comparison.csv``.

The first run given is the reference of the paired differences. The rows start sorted by the inner-validation score,
which is the one a run may be chosen by; a click sorts by another column.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_id.errors import FerIdError, Problems, RunError
from fer_id.evaluation.paired import Comparison, compare_runs, holm, why_not_paired
from fer_id.evaluation.predictions import Judged, judge
from fer_id.files import atomic_write_text
from fer_id.labels import LabelSpace
from fer_id.reporting import comparison_figures, words
from fer_id.reporting.jobs import described, read_metrics
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.reporting.verdicts import p_words
from fer_id.runs import RunDir

_NAMED_ELSEWHERE = ("name",)  # configuration keys that differ between any two runs and say nothing
_INTERVALS = ("accuracy", "accuracy_with_missing", "macro_f1", "macro_recall", "macro_precision", "auc", "specificity")


@dataclass
class Entry:
    """One run of a comparison."""

    name: str
    run: RunDir
    metrics: dict[str, Any]
    job: dict[str, Any]
    config: dict[str, Any]  # dotted keys
    curves: list[pd.Series]  # inner-validation macro-F1 by epoch, one per fold
    judged: Judged
    paired: Comparison | None = None  # with the first run
    p_holm: float | None = None  # of its p, corrected for the number of runs beside the first
    unpaired: str | None = None

    @property
    def validation(self) -> float | None:
        """Best inner-validation macro-F1, the mean over folds; None where it was not logged."""
        return sum(float(curve.max()) for curve in self.curves) / len(self.curves) if self.curves else None


def write_comparison(runs: Sequence[RunDir], out: Path) -> Path:
    """Compares finished runs of one label space.

    Args:
        runs: the first is the reference of the paired differences.
        out: folder; its ``index.html`` and ``comparison.csv`` are replaced.

    Returns:
        the path of ``index.html``.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    entries = load_entries(runs)
    _pair(entries)
    keys = _differing_keys(entries)
    reference = entries[0]
    entries = sorted(entries, key=lambda entry: -1.0 if entry.validation is None else entry.validation, reverse=True)
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([_csv_row(entry, keys) for entry in entries])
    atomic_write_text(out / "comparison.csv", table.to_csv(index=False))
    provenances = sorted({entry.metrics["provenance"] for entry in entries})
    curves = comparison_figures.learning_curves({entry.name: entry.curves for entry in entries}, provenances)
    return write_page(
        out / "index.html",
        "compare.html.j2",
        entries=entries,
        reference=reference,
        p_words=p_words,
        n_paired=sum(entry.p_holm is not None for entry in entries),
        reports={entry.name: _report_link(entry.run, out) for entry in entries},
        labels=reference.metrics["labels"],
        provenances=provenances,
        modes=sorted({str(entry.job["mode"]) for entry in entries}),
        baselines=words.baselines(reference.metrics),
        keys=keys,
        worst_classes=words.worst_classes,
        listed=words.listed,
        curves=data_uri(svg(curves)) if curves is not None else None,
    )


def load_entries(runs: Sequence[RunDir]) -> list[Entry]:
    """Finished runs of one label space as they are compared, in their order, each once.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    unique = list({run.path.resolve(): run for run in runs}.values())
    if not unique:
        raise RunError("compare: no run given; name the folders of finished runs")
    problems, entries = Problems("compare"), []
    for run, name in zip(unique, _names([run.path.resolve() for run in unique]), strict=True):
        try:
            entries.append(_entry(run, name))
        except FerIdError as error:
            problems.add(str(error))
    spaces: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        spaces.setdefault(tuple(entry.metrics["labels"]), []).append(entry.name)
    if len(spaces) > 1:
        for names, members in spaces.items():
            problems.add(f"classes {', '.join(names)}: {', '.join(members[:3])}{' ...' if len(members) > 3 else ''}")
    hint = (
        "Scores over different classes cannot be compared; compare each label space on its own."
        if len(spaces) > 1
        else ""
    )
    problems.raise_if_any(RunError, hint)
    return entries


def _entry(run: RunDir, name: str) -> Entry:
    metrics = read_metrics(run)
    judged = judge(run.predictions(), LabelSpace("run", tuple(metrics["labels"])))
    parts = run.folds or [run]
    curves = [curve for part in parts if (curve := _validation_curve(part.learning_curve())) is not None]
    job = described(run.job())
    if job["mode"] in words.MODE_CAVEATS:
        name = f"{name} ({job['mode']})"  # wherever it is named: it must not pass for a result on new children
    return Entry(name, run, metrics, job, flatten(run.config()), curves, judged)


def _validation_curve(curve: pd.DataFrame) -> pd.Series | None:
    if not {"epoch", "val/macro_f1"} <= set(curve):
        return None
    scores = curve.dropna(subset=["epoch", "val/macro_f1"]).groupby("epoch")["val/macro_f1"].mean()
    return scores if len(scores) else None


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest names that tell the folders apart: below their common folder."""
    if len(paths) == 1:
        return [paths[0].name]
    common = os.path.commonpath(paths)
    return [path.relative_to(common).as_posix() for path in paths]


def _pair(entries: Sequence[Entry]) -> None:
    reference = entries[0]
    for entry in entries[1:]:
        entry.unpaired = why_not_paired(entry.judged, reference.judged)
        if entry.unpaired is None:
            entry.paired = compare_runs(entry.judged, reference.judged, len(entry.metrics["labels"]))
    tested = {entry.name: entry.paired.p for entry in entries if entry.paired}
    adjusted = {name: None if np.isnan(p) else p for name, p in holm(tested).items()}
    for entry in entries:
        entry.p_holm = adjusted.get(entry.name)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _differing_keys(entries: Sequence[Entry]) -> list[str]:
    keys = dict.fromkeys(key for entry in entries for key in entry.config)
    absent = object()
    values = {key: {repr(entry.config.get(key, absent)) for entry in entries} for key in keys}
    return [key for key in keys if len(values[key]) > 1 and key not in _NAMED_ELSEWHERE]


def _csv_row(entry: Entry, keys: Sequence[str]) -> dict[str, Any]:
    metrics = entry.metrics
    row: dict[str, Any] = {"run": entry.name, "provenance": metrics["provenance"]}
    row |= {name: metrics[name] for name in ("n_clips", "n_missing", "n_subjects", "coverage")}
    for name in _INTERVALS:
        interval = metrics["intervals"].get(name) or {"low": None, "high": None}
        row |= {name: metrics[name], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    row |= {"ece": metrics["calibration"]["ece"], "validation_macro_f1": entry.validation}
    for label, scores in metrics["per_class"].items():
        row |= {f"{score}_{label}": scores[score] for score in ("recall", "precision", "f1", "auc")}
    row |= _paired_columns(entry.paired) if entry.paired else {}
    row |= {"p_holm": entry.p_holm, "not_paired": entry.unpaired}
    row |= {name: entry.job["cost"][name] for name in ("parameters", "multiply_adds_per_clip")}
    row["seconds"] = entry.job["seconds"]
    return row | {f"config.{key}": entry.config.get(key) for key in keys}


def _paired_columns(paired: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {}
    effect = paired.effect
    measured = {f"{name}_difference": (each.value, each.interval) for name, each in paired.differences.items()}
    measured |= {"g_av": (effect.g, effect.g_interval)}
    measured |= {"superiority": (effect.superiority, effect.superiority_interval)}
    for name, (value, interval) in measured.items():
        row |= {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    row |= {f"subjects_{name}": getattr(effect, name) for name in ("better", "worse", "alike")}
    return row | {"p": paired.p}


def _report_link(run: RunDir, out: Path) -> str | None:
    report = run.path.resolve() / "report.html"
    return Path(os.path.relpath(report, out.resolve())).as_posix() if report.is_file() else None
