"""Comparison of many runs on one page, for users without W&B: ``index.html`` and ``comparison.csv``.

The first run is the reference of the paired differences. The rows start sorted by the inner-validation score, the only
score a run may be chosen by; a click sorts by another column. The page fetches nothing. Groups of columns
are shown and hidden without JavaScript; sorting and filtering need it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_id.csv_text import table_csv
from fer_id.errors import Problems
from fer_id.evaluation.choice import BETTER_SE
from fer_id.evaluation.groups.gaps import ALPHA
from fer_id.files import atomic_write_text
from fer_id.objectives import OBJECTIVES, lower_is_better
from fer_id.reporting import words
from fer_id.reporting.comparison.columns import MOST_SETTINGS, alike, strip_bounds, table_groups
from fer_id.reporting.comparison.compared_run import (
    Compared,
    better_first,
    compare_with_first,
    differing_keys,
    monitor_of,
)
from fer_id.reporting.comparison.csv_table import COLUMNS, comparison_table
from fer_id.reporting.comparison.elsewhere import table_elsewhere
from fer_id.reporting.comparison.figures import learning_curves, settings_figure
from fer_id.reporting.page import write_page
from fer_id.reporting.style import embedded
from fer_id.reporting.words import counted, p_words, percent, too_few, within
from fer_id.runs.run_dir import RunDir

ACROSS_FOLDS = (
    "Of cross-validations that is the mean over folds, in which each test child validates other folds: a choice "
    "between them has seen the children it is judged on. A sweep chooses within each fold."
)


@dataclass(frozen=True)
class LeftOut:
    """A named run that is not compared, as it is ``stopped``, ``failed``, ``unfinished`` or ``quarantined``."""

    name: str
    status: str
    reason: str


def write_comparison(
    runs: Sequence[RunDir],
    out: Path,
    *,
    names: Mapping[Path, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    swept: Sequence[str] = (),
    problems: Problems | None = None,
) -> Path:
    """Write the comparison of finished runs of one label space into ``index.html``, whose path is returned, and
    ``comparison.csv`` of the folder ``out``. The first run is the reference of the paired differences. ``left_out`` are
    runs to list as not compared, ``swept`` dotted keys of the configuration that a sweep varied. The other arguments
    and the errors are those of :func:`fer_id.reporting.comparison.compared_run.read_entries`."""
    compared = compare_with_first(runs, names, problems)
    reference = compared[0]
    store = reference.job.store.fingerprint  # equal clip names on another store need not mean equal pictures
    monitor = monitor_of(compared)
    compared = better_first(compared, monitor)
    marked = {"reference": reference, "chosen": _choice(compared, reference, monitor)}
    keys = differing_keys(compared, swept)
    judged = [result.store for run in compared for result in run.elsewhere]
    children = any(run.people and run.provenance == "real" for run in compared) or any(s.of_people for s in judged)
    baselines = words.baselines(reference.metrics)
    low, high = bounds = strip_bounds(compared, baselines[1] if baselines else None)
    groups = table_groups(compared, reference, monitor, keys, swept, bounds)
    permissions = 0o600 if children else 0o644
    table = comparison_table(compared, reference, keys)
    atomic_write_text(out / "comparison.csv", table_csv(table), mode=permissions)
    return write_page(
        out / "index.html",
        "compare.html.j2",
        mode=permissions,
        rows=[
            (run, [word for word, other in marked.items() if other is run], _text(run, keys), _report_link(run, out))
            for run in compared
        ],
        groups=groups,
        reference=reference,
        units=words.units(reference.people),
        summary=summary(compared, reference, monitor),
        score=OBJECTIVES[monitor],
        labels=reference.metrics.labels,
        provenances=sorted({run.provenance for run in compared}),
        modes=sorted({run.job.mode for run in compared}),
        children=children,
        baselines=baselines,
        mark=(baselines[1] - low) / (high - low) if baselines else None,
        alike=alike(compared) if len(compared) > 1 else [],
        n_tested=sum(run.p_holm is not None for run in compared),
        other_store=sum(run.paired is not None and run.job.store.fingerprint != store for run in compared),
        unrecorded=sum(monitor not in run.reached for run in compared),
        same_keys=len({key for run in compared for key in run.config}) - len(keys),
        left_out=left_out,
        elsewhere=table_elsewhere(compared, out),
        explained=COLUMNS,
        pictures=_pictures(compared, reference, monitor, [key for key in keys if key in swept] or keys[:MOST_SETTINGS]),
    )


def _text(run: Compared, keys: Sequence[str]) -> str:
    """Return the text in which the filter of the page searches."""
    settings = [f"{key}={run.config[key]}" for key in keys if key in run.config]
    return " ".join([run.name, run.path.name, run.provenance, run.job.mode, *settings]).lower()


def _pictures(compared: Sequence[Compared], reference: Compared, monitor: str, keys: Sequence[str]) -> dict[str, str]:
    provenances = sorted({run.provenance for run in compared})
    recorded = [run for run in compared if monitor in run.reached]
    reached = {run.name: run.reached[monitor] for run in recorded}
    curves = {run.name: [run.curves[monitor]] for run in recorded}
    settings = {key: [run.config.get(key) for run in recorded] for key in keys}
    score, scores = OBJECTIVES[monitor], [run.reached[monitor] for run in recorded]
    learning = learning_curves(curves, provenances, reached=reached, score=score, reference=reference.name)
    return embedded({"learning": learning, "settings": settings_figure(settings, scores, provenances, score)})


def _report_link(run: Compared, out: Path) -> str | None:
    report = run.path.resolve() / "report.html"
    return Path(os.path.relpath(report, out.resolve())).as_posix() if report.is_file() else None


def _candidates(compared: Sequence[Compared], reference: Compared) -> list[Compared]:
    """Return the runs that one may choose between, in their order: those tested on the clips of the reference, or, of
    one that is not tested, those validated on its clips.

    The others are judged on other children, as the trials of two folds are: their scores are not comparable.
    """
    tested = reference.metrics.n_clips > 0
    return [run for run in compared if run is reference or (run.unpaired is None if tested else run.choice is not None)]


def _choice(compared: Sequence[Compared], reference: Compared, monitor: str) -> Compared | None:
    """Return the best candidate on inner validation; None where there is nothing to choose."""
    among = _candidates(compared, reference)
    return among[0] if len(among) > 1 and monitor in among[0].reached else None


def summary(compared: Sequence[Compared], reference: Compared, monitor: str) -> list[str]:
    """Return a comparison in a few sentences; the runs are in the order of ``monitor``, the best first."""
    if len(compared) < 2:
        return []
    among, best = _candidates(compared, reference), _choice(compared, reference, monitor)
    if len(among) == 1:
        return [
            f"No other run was tested on the clips of {reference.name}, so none is chosen here: scores on other "
            f"{words.units(reference.people)} say nothing of one another.",
            *_differences(compared, reference),
            *_numerics(compared),
        ]
    if best is None:
        sentences = ["No run has a record of its inner validation, so none can be chosen here."]
    else:
        clips = "test" if reference.metrics.n_clips else "inner-validation"
        of = "" if len(among) == len(compared) else f", of {len(among)} on the same {clips} clips,"
        sentences = _chosen(best, reference, monitor, of)
    leak = [ACROSS_FOLDS] if any(run.folds > 1 for run in among) else []
    return [
        *sentences,
        *_by_loss(compared, reference),
        *leak,
        *_flattering(among, best),
        *_differences(compared, reference),
        *_numerics(compared),
    ]


def _chosen(best: Compared, reference: Compared, monitor: str, of: str) -> list[str]:
    value = f"{best.reached[monitor]:.3f}" if lower_is_better(monitor) else percent(best.reached[monitor])
    judged, accuracy = "it is not judged on test clips", best.metrics.accuracy
    if best.metrics.n_clips:
        judged = f"on the test clips it is right on {percent(accuracy)} ({within(best.metrics.interval('accuracy'))})"
    sentences = [f"Inner validation chooses{of} {best.name} ({OBJECTIVES[monitor]} {value}); {judged}."]
    if best is not reference and best.paired:
        difference = best.paired.differences["accuracy_with_missing"]
        gained = words.difference_words(difference.value, difference.interval.low, difference.interval.high)
        sentences.append(f"Beside {reference.name}, the reference, that is {gained}, {p_words(best.p_holm)}.")
    return sentences


def _by_loss(compared: Sequence[Compared], reference: Compared) -> list[str]:
    """Return a sentence on the runs that are better or worse than the reference by their paired NLL on inner
    validation, where any is."""
    parts = [
        f"{run.name} is {run.choice.verdict} ({run.choice.value:+.4f}, SE {run.choice.error:.4f})"
        for run in compared
        if run.choice and run.choice.verdict != "not shown"
    ]
    number = max((run.choice.clips for run in compared if run.choice), default=0)
    if not number:
        return []
    differences = ", ".join(parts) or f"no run differs by {BETTER_SE:.0f} standard errors"
    of = counted(number, "inner-validation clip")
    return [f"Beside {reference.name}, by the negative log-likelihood of {of}, pair by pair: {differences}."]


def _flattering(among: Sequence[Compared], best: Compared | None) -> list[str]:
    judged = [run for run in among if run.metrics.accuracy is not None]
    highest = max(judged, key=lambda run: run.metrics.accuracy, default=best)
    if best is None or highest is None or highest is best:
        return []
    return [
        f"The highest test accuracy, {percent(highest.metrics.accuracy)}, is that of {highest.name}; as the best of "
        f"{len(judged)} on the test clips it flatters itself, and is no reason to choose it."
    ]


def _differences(compared: Sequence[Compared], reference: Compared) -> list[str]:
    tested = [(run.p_holm, run.paired) for run in compared if run.p_holm is not None and run.paired]
    # Inner validation alone pairs a run that was not judged on test clips.
    judged = [run for run in compared if run.choice is None or run.metrics.accuracy is not None]
    unpaired = sum(run.unpaired is not None for run in judged)
    sentences = []
    if tested:
        values = [paired.differences["accuracy_with_missing"].value for p, paired in tested if p < ALPHA]
        more, less = sum(value > 0 for value in values), sum(value < 0 for value in values)
        sentences.append(_tested([run.name for run in compared if run.p_holm is not None], reference.name, more, less))
        if values:
            sentences.append("That is of these trainings: what another seed would change is in no interval and no p.")
        if hopeless := too_few(reference.metrics.n_subjects, len(tested), words.units(reference.people)):
            sentences.append(hopeless)
    if unpaired:
        sentences.append(f"{counted(unpaired, 'run')} cannot be paired with {reference.name}; the table says why.")
    return sentences


def _tested(names: Sequence[str], reference: str, more: int, less: int) -> str:
    """Return a sentence on the runs tested against the reference, of which so many are more and less accurate."""
    if len(names) == 1 and not more + less:
        return f"It is not shown that {names[0]} is more or less accurate than {reference} (p is not below .05)."
    if len(names) == 1:
        return f"{names[0]} is shown to be {'more' if more else 'less'} accurate than {reference} (p below .05)."
    level = "(p below .05, corrected for the number of tests)."
    if not more + less:
        return f"Of {len(names)} runs tested against {reference}, none is shown to be more or less accurate {level}"
    above, below = (f"{count or 'none'} {'are' if count > 1 else 'is'} shown to be" for count in (more, less))
    return f"Of {len(names)} runs tested against {reference}, {above} more accurate and {below} less accurate {level}"


def _numerics(compared: Sequence[Compared]) -> list[str]:
    """Return a sentence where runs were trained in different precisions or memory formats; none otherwise."""
    names: dict[str, list[str]] = {}
    for run in compared:
        if run.job.precision:
            numerics = ", ".join(filter(None, (run.job.precision, run.job.memory_format)))
            names.setdefault(numerics, []).append(run.name)
    if len(names) < 2:
        return []
    groups = "; ".join(f"{numerics}: {words.listed(members)}" for numerics, members in names.items())
    return [
        f"The runs were trained in different numerics ({groups}), so a part of their differences may be rounding; "
        "trainer.precision and trainer.memory_format set the same for all."
    ]
