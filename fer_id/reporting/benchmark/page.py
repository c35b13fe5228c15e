"""Page and tables of a benchmark: ``index.html``, ``table4.csv``, ``table5.csv``.

The models are each trained with one or more seeds on the same clips. A model's score is the mean over its seeds, its
interval is over subjects, and its difference from the reference is paired by subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_id.csv_text import table_csv
from fer_id.errors import Problems, RunError
from fer_id.evaluation import controls as control
from fer_id.evaluation.paired import holm, why_not_paired
from fer_id.evaluation.seeds import Contrast, Estimate, contrast, mean_scores
from fer_id.files import atomic_write_text, plain
from fer_id.objectives import MONITOR
from fer_id.reporting import words
from fer_id.reporting.benchmark import paper, verdicts
from fer_id.reporting.comparison.compared_run import Entry, read_entries
from fer_id.reporting.comparison.csv_table import Row, extent
from fer_id.reporting.comparison.figures import learning_curves
from fer_id.reporting.control_figures import accuracy_figure, control_figure, intensity_figure
from fer_id.reporting.figures import curves_by_epoch
from fer_id.reporting.page import write_page
from fer_id.reporting.result_shapes import ControlScores
from fer_id.reporting.style import embedded
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.shapes import record

SCORES = {
    "accuracy": "Accuracy",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro-F1",
    "auc": "AUC",
}


@dataclass
class Model:
    """A model of a benchmark: its trainings, one per seed, scores by the names of
    :func:`fer_id.evaluation.seeds.mean_scores`, and the confusion matrix of all seeds together. ``against`` is its
    accuracy minus the reference's (None for the reference), ``p_holm`` corrected for the number of models."""

    name: str
    entries: list[Entry]
    scores: dict[str, Estimate]
    confused: Metrics
    against: Contrast | None = None
    p_holm: float | None = None

    @property
    def temporal(self) -> bool:
        """True where the model learned from whole clips."""
        return self.entries[0].config.get("data.frames") != "frame"

    @property
    def seconds(self) -> float | None:
        """Mean training time of a seed in seconds, without its pretraining."""
        return _mean([entry.job.seconds for entry in self.entries])

    @property
    def memory(self) -> float | None:
        """Highest peak memory of its trainings in bytes; None where it was not measured."""
        peaks = [entry.job.peak_memory_bytes for entry in self.entries]
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def passes(self) -> float | None:
        """Mean number of trained epochs over the seeds."""
        return _mean([len(entry.run.learning_curve()) or None for entry in self.entries])


def write_benchmark(
    runs: Mapping[str, Sequence[RunDir]],
    reference: str,
    out: Path,
    *,
    rule: Sequence[str],
    controls: Mapping[str, Sequence[Mapping[str, Any]] | str],
) -> str:
    """Write ``index.html``, ``table4.csv`` and ``table5.csv`` into the folder ``out``; return the scores as text, and
    the path of the page.

    ``runs`` has the finished trainings of each model, one per seed, all tested on the same clips; the models are tested
    against ``reference``. ``rule`` are sentences on the protocol common to all; ``controls`` has ``controls.json`` of
    each training of a temporal model, or the reason why there is none. Raises RunError where the runs cannot be
    compared, or some of their files are missing or damaged.
    """
    models = _models(runs, reference)
    results = {
        name: record(ControlScores, plain(control.pooled(parts)), f"controls of {name}", RunError)
        for name, parts in controls.items()
        if not isinstance(parts, str)
    }
    base = models[reference].entries[0]
    out.mkdir(parents=True, exist_ok=True)
    table4, table5 = table_4(models.values()), table_5(models.values())
    atomic_write_text(out / "table4.csv", table_csv(table4))
    atomic_write_text(out / "table5.csv", table_csv(table5))
    contrasts = {
        name: (model.against, model.p_holm)
        for name, model in models.items()
        if model.against and model.p_holm is not None
    }
    accuracy = {name: model.scores["accuracy_with_missing"].value for name, model in models.items()}
    index = write_page(
        out / "index.html",
        "benchmark.html.j2",
        models=list(models.values()),
        reference=models[reference],
        provenance=base.metrics.provenance,
        job=base.job,
        metrics=base.metrics,
        rule=rule,
        scores=SCORES,
        paper=paper,
        winner=verdicts.winner(reference, accuracy, contrasts, len(models[reference].entries)),
        too_few=words.too_few(base.metrics.n_subjects, len(contrasts)),
        verdicts={name: verdicts.time_verdict(result) for name, result in results.items()},
        controls=results,
        absent={name: reason for name, reason in controls.items() if isinstance(reason, str)},
        control_names=control.CONTROLS,
        tested=control.TESTED,
        p_words=words.p_words,
        pictures=_pictures(models, results.get(reference)),
    )
    columns = table4[["model", "provenance", *SCORES, "accuracy_difference", "p_holm"]]
    return f"{columns.to_string(index=False, float_format='{:.3f}'.format, na_rep='–')}\n{index}"


def table_4(models: Iterable[Model]) -> pd.DataFrame:
    """Return our Table 4, a row per model: scores, intervals, spread over seeds, difference, the paper's scores."""
    rows = []
    for model in models:
        job, gap = model.entries[0].job, model.against
        row: Row = {"model": model.name, "provenance": model.entries[0].metrics.provenance}
        row |= {"learns_from": "clips" if model.temporal else "single frames", "seeds": len(model.entries)}
        for name in SCORES:
            score = model.scores[name]
            row |= extent(name, score.value, score.interval) | {f"{name}_sd_of_seeds": score.spread}
        row |= extent("accuracy_difference", gap.value if gap else None, gap.interval if gap else None)
        row |= {"p": gap.p if gap else None, "p_holm": model.p_holm}
        row |= {f"paper_{name}": paper.TABLE4.get(model.name, {}).get(name) for name in SCORES}
        row |= {"parameters": job.cost.parameters, "multiply_adds_per_clip": job.cost.multiply_adds_per_clip}
        rows.append(row | {"seconds": model.seconds, "peak_memory_bytes": model.memory})
    return pd.DataFrame(rows)


def table_5(models: Iterable[Model]) -> pd.DataFrame:
    """Return our Table 5, a row per model and class: recall, interval, most common error, the paper's value."""
    rows = []
    for model in models:
        metrics = model.entries[0].metrics
        for index, label in enumerate(metrics.labels):
            score = model.scores[f"recall.{index}"]
            rows.append(
                {
                    "model": model.name,
                    "provenance": metrics.provenance,
                    "class": label,
                    "clips": metrics.per_class[label].support,
                    "class_wise_accuracy": score.value,
                    "low": score.interval.low,
                    "high": score.interval.high,
                    "most_common_error": words.error_pattern(model.confused, label),
                    "paper_cnn_lstm": paper.TABLE5.get(label) if model.name == "cnn_lstm" else None,
                }
            )
    return pd.DataFrame(rows)


def _models(runs: Mapping[str, Sequence[RunDir]], reference: str) -> dict[str, Model]:
    """Return the models in their order, with scores and differences; raise RunError where their test clips or their
    numbers of seeds differ."""
    entries = read_entries([run for seeds in runs.values() for run in seeds], lambda entry: entry)
    problems, first = Problems("benchmark"), entries[0]
    if len({len(seeds) for seeds in runs.values()}) > 1:
        problems.add("the models have different numbers of trainings")
    for entry in entries:
        if why := why_not_paired(entry.judged, first.judged):
            problems.add(f"{entry.name} beside {first.name}: {why}")
    problems.raise_if_any(RunError, "Scores of other clips do not compare.")
    classes = len(first.metrics.labels)
    seeds = len(runs[reference])
    grouped = {name: entries[seeds * place : seeds * (place + 1)] for place, name in enumerate(runs)}
    models = {name: _model(name, members, classes) for name, members in grouped.items()}
    base = [entry.judged for entry in grouped[reference]]
    for name, model in models.items():
        if name != reference:
            model.against = contrast([entry.judged for entry in model.entries], base, classes)
    adjusted = holm({name: model.against.p for name, model in models.items() if model.against})
    for name, p in adjusted.items():
        models[name].p_holm = p
    return models


def _model(name: str, entries: list[Entry], classes: int) -> Model:
    confusion = np.sum([entry.metrics.confusion_matrix for entry in entries], axis=0).tolist()
    scores = mean_scores([entry.judged for entry in entries], classes)
    return Model(name, entries, scores, Metrics(labels=entries[0].metrics.labels, confusion_matrix=confusion))


def _pictures(models: Mapping[str, Model], controls: ControlScores | None) -> dict[str, str]:
    """Return the figures of the page that have content."""
    base = next(iter(models.values())).entries[0].metrics
    compared = words.baselines(base)
    scores = {name: model.scores["accuracy"] for name, model in models.items()}
    records = {name: [table for entry in model.entries for table in entry.records] for name, model in models.items()}
    curves = {name: curves_by_epoch(tables, MONITOR) for name, tables in records.items()}
    drawn = {
        "accuracy": accuracy_figure(scores, compared[1] if compared else None, base.provenance),
        "learning": learning_curves(curves, [base.provenance]),
    }
    if controls is not None:
        drawn |= {"controls": control_figure(controls), "intensity": intensity_figure(controls)}
    return embedded(drawn)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
