"""A benchmark as one page and two tables: ``index.html``, ``table4.csv``, ``table5.csv``.

Several models, each trained with one or more seeds on the same clips. A model's score is the mean over its seeds, its
interval is over subjects, and it is paired by subject with the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from fer_id.files import atomic_write_text
from fer_id.reporting import words
from fer_id.reporting.benchmark import verdicts
from fer_id.reporting.benchmark.figures import accuracy_figure
from fer_id.reporting.benchmark.paper import CONTRADICTIONS, REPORTED, TABLE4, TABLE5
from fer_id.reporting.comparison.entries import Entry, load_entries
from fer_id.reporting.comparison.figures import learning_curves
from fer_id.reporting.control_figures import control_figure, intensity_figure
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.runs.run_dir import RunDir

SCORES = {
    "accuracy": "Accuracy",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro-F1",
    "auc": "AUC",
}
Controls = Mapping[str, Sequence[Mapping[str, Any]] | str]


@dataclass
class Model:
    """One model of a benchmark.

    Attributes:
        name: of its row.
        entries: its trainings, one per seed.
        scores: as :func:`fer_id.evaluation.seeds.mean_scores` names them.
        confused: class labels and the confusion matrix, the seeds added up.
        against: accuracy minus the reference's; None for the reference.
        p_holm: of that difference, corrected for the number of models.
    """

    name: str
    entries: list[Entry]
    scores: dict[str, Estimate]
    confused: dict[str, Any]
    against: Contrast | None = None
    p_holm: float | None = None

    @property
    def temporal(self) -> bool:
        """Whether it learned from whole clips."""
        return bool(self.entries[0].config.get("data.frames") != "frame")

    @property
    def paper(self) -> dict[str, float] | None:
        """What the paper's Table 4 gives it."""
        return TABLE4.get(self.name)

    @property
    def seconds(self) -> float | None:
        """Training time of one seed, the mean; without what it started from."""
        return _mean([entry.job["seconds"] for entry in self.entries])

    @property
    def memory(self) -> float | None:
        """Peak memory in bytes, the highest of its trainings; None where it was not measured."""
        found = [peak for entry in self.entries if (peak := entry.job["peak_memory_bytes"]) is not None]
        return max(found, default=None)

    @property
    def passes(self) -> float | None:
        """Epochs trained, the mean over seeds."""
        return _mean([len(entry.run.learning_curve()) or None for entry in self.entries])


def write_benchmark(
    runs: Mapping[str, Sequence[RunDir]], reference: str, out: Path, *, rule: Sequence[str], controls: Controls
) -> str:
    """Writes the page and the tables.

    Args:
        runs: model -> its finished trainings, one per seed, all judged on the same clips.
        reference: the model the others are tested against.
        out: folder; its ``index.html``, ``table4.csv`` and ``table5.csv`` are replaced.
        rule: what is the same for all models, in sentences.
        controls: temporal model -> ``controls.json`` of each training, or why there is none.

    Returns:
        the scores as text, and the path of the page.

    Raises:
        RunError: runs that cannot be compared, or files of them that are missing or damaged.
    """
    models = _models(runs, reference)
    pooled = {name: each if isinstance(each, str) else control.pooled(each) for name, each in controls.items()}
    base = models[reference].entries[0]
    out.mkdir(parents=True, exist_ok=True)
    table4, table5 = table_4(models.values()), table_5(models.values())
    atomic_write_text(out / "table4.csv", table_csv(table4))
    atomic_write_text(out / "table5.csv", table_csv(table5))
    contrasts = {
        name: (one.against, one.p_holm) for name, one in models.items() if one.against and one.p_holm is not None
    }
    accuracy = {name: one.scores["accuracy_with_missing"].value for name, one in models.items()}
    index = write_page(
        out / "index.html",
        "benchmark.html.j2",
        models=list(models.values()),
        reference=models[reference],
        provenance=base.metrics["provenance"],
        job=base.job,
        seeds=[entry.job["seed"] for entry in models[reference].entries],
        labels=base.metrics["labels"],
        metrics=base.metrics,
        rule=list(rule),
        scores=SCORES,
        reported=REPORTED,
        contradictions=CONTRADICTIONS,
        table5=TABLE5,
        winner=verdicts.winner(reference, accuracy, contrasts),
        too_few=verdicts.too_few(base.metrics["n_subjects"], len(contrasts)),
        verdicts={name: verdicts.time_verdict(one) for name, one in pooled.items() if not isinstance(one, str)},
        controls={name: one for name, one in pooled.items() if not isinstance(one, str)},
        absent={name: one for name, one in pooled.items() if isinstance(one, str)},
        control_names=control.CONTROLS,
        tested=control.TESTED,
        pattern=words.error_pattern,
        p_words=verdicts.p_words,
        pictures=_pictures(models, pooled.get(reference)),
    )
    shown = table4[["model", "provenance", *SCORES, "accuracy_difference", "p_holm"]]
    return f"{shown.to_string(index=False, float_format='{:.3f}'.format, na_rep='–')}\n{index}"


def table_4(models: Any) -> pd.DataFrame:
    """Our Table 4, a row per model: scores with intervals and spread over seeds, the difference, the paper's scores."""
    rows = []
    for one in models:
        row: dict[str, Any] = {"model": one.name, "provenance": one.entries[0].metrics["provenance"]}
        row |= {"learns_from": "clips" if one.temporal else "single frames", "seeds": len(one.entries)}
        for name in SCORES:
            score = one.scores[name]
            row |= {name: score.value, f"{name}_low": score.interval.low, f"{name}_high": score.interval.high}
            row |= {f"{name}_sd_of_seeds": score.spread}
        gap = one.against
        row |= {"accuracy_difference": gap.value if gap else None}
        row |= {f"accuracy_difference_{side}": getattr(gap.interval, side) if gap else None for side in ("low", "high")}
        row |= {"p": gap.p if gap else None, "p_holm": one.p_holm}
        row |= {f"paper_{name}": (one.paper or {}).get(name) for name in SCORES}
        row |= {name: one.entries[0].job["cost"][name] for name in ("parameters", "multiply_adds_per_clip")}
        rows.append(row | {"seconds": one.seconds, "peak_memory_bytes": one.memory})
    return pd.DataFrame(rows)


def table_5(models: Any) -> pd.DataFrame:
    """Our Table 5, a row per model and class: recall with its interval, the most common error in words, the paper's."""
    rows = []
    for one in models:
        metrics = one.entries[0].metrics
        for index, label in enumerate(metrics["labels"]):
            score = one.scores[f"recall.{index}"]
            rows.append(
                {
                    "model": one.name,
                    "provenance": metrics["provenance"],
                    "class": label,
                    "clips": metrics["per_class"][label]["support"],
                    "class_wise_accuracy": score.value,
                    "low": score.interval.low,
                    "high": score.interval.high,
                    "most_common_error": words.error_pattern(one.confused, label),
                    "paper_cnn_lstm": TABLE5.get(label) if one.name == "cnn_lstm" else None,
                }
            )
    return pd.DataFrame(rows)


def _models(runs: Mapping[str, Sequence[RunDir]], reference: str) -> dict[str, Model]:
    """The models in their order, with scores and differences.

    Raises:
        RunError: their test clips differ, or they have different numbers of seeds.
    """
    entries = load_entries([run for each in runs.values() for run in each])
    problems, first = Problems("benchmark"), entries[0]
    if len({len(each) for each in runs.values()}) > 1:
        problems.add("the models have different numbers of trainings")
    for entry in entries:
        if why := why_not_paired(entry.judged, first.judged):
            problems.add(f"{entry.name} beside {first.name}: {why}")
    problems.raise_if_any(RunError, "Scores of other clips do not compare.")
    classes = len(first.metrics["labels"])
    seeds = len(runs[reference])
    grouped = {name: entries[seeds * place : seeds * (place + 1)] for place, name in enumerate(runs)}
    models = {name: _model(name, each, classes) for name, each in grouped.items()}
    base = [entry.judged for entry in grouped[reference]]
    for name, one in models.items():
        if name != reference:
            one.against = contrast([entry.judged for entry in one.entries], base, classes)
    adjusted = holm({name: one.against.p for name, one in models.items() if one.against})
    for name, p in adjusted.items():
        models[name].p_holm = p
    return models


def _model(name: str, entries: list[Entry], classes: int) -> Model:
    confusion = np.sum([entry.metrics["confusion_matrix"] for entry in entries], axis=0).tolist()
    scores = mean_scores([entry.judged for entry in entries], classes)
    return Model(name, entries, scores, {"labels": entries[0].metrics["labels"], "confusion_matrix": confusion})


def _pictures(models: Mapping[str, Model], found: Mapping[str, Any] | str | None) -> dict[str, str]:
    """The figures of the page that have something to show."""
    base = next(iter(models.values())).entries[0]
    provenance, compared = base.metrics["provenance"], words.baselines(base.metrics)
    scores = {name: one.scores["accuracy"] for name, one in models.items()}
    curves = {name: [curve for entry in one.entries for curve in entry.curves] for name, one in models.items()}
    drawn = {
        "accuracy": accuracy_figure(scores, compared[1] if compared else None, provenance),
        "learning": learning_curves(curves, [provenance]),
    }
    if found is not None and not isinstance(found, str):
        drawn |= {"controls": control_figure(found), "intensity": intensity_figure(found)}
    return {name: data_uri(svg(figure)) for name, figure in drawn.items() if figure is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
