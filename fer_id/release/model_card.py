"""Model card: intended use, training data, performance and forbidden uses of a model.

In the Hugging Face format (Mitchell et al., 2019, arXiv:1810.03993; metadata of ``huggingface_hub``), offline. The
metrics of real children pass disclosure control (:mod:`fer_id.release.disclosed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_id.release.bundle import DEMONSTRATION
from fer_id.release.disclosed import disclosed
from fer_id.release.evidence import Record
from fer_id.release.limits import limits, title
from fer_id.release.policy import FORBIDDEN, Policy
from fer_id.reporting.group_words import points
from fer_id.reporting.words import counted, interval_words, percent, provenance_caveat
from fer_id.runs.metrics import ClassScores, Metrics

TASK = "video-classification"
HEADLINE = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_recall": ("recall", "Macro recall"),
    "macro_f1": ("f1", "Macro-F1"),
    "auc": ("roc_auc", "AUC, one against rest"),
}
"""Score in ``metrics.json`` -> its type at Hugging Face, and its name."""


@dataclass(frozen=True)
class Source:
    """Data that a model was trained or tested on.

    Attributes:
        provenance: ``real``, ``simulated`` or ``synthetic``; ``unknown``.
        licence: of the data; ``unknown`` where none is stated.
        consent: purpose -> number of children who agreed, and ``children``; None for data without consent records.
    """

    dataset: str
    provenance: str
    role: str
    licence: str
    consent: dict[str, int] | None = None


@dataclass(frozen=True)
class Release:
    """Content of a card's part on the release; ``fingerprint`` is that of the signing key."""

    policy: Policy
    contract: dict[str, Any]
    fingerprint: str


def model_card(
    run: Record, sources: Sequence[Source], *, evidence: Record | None = None, release: Release | None = None
) -> str:
    """Return the card: Markdown under YAML metadata.

    Args:
        run: with the weights.
        sources: of the run's data, the nearest first.
        evidence: the cross-validation whose numbers count; None: the run's own numbers.
        release: of a bundle; None: the run was not released.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    judged = evidence or run
    metrics = disclosed(judged.metrics)
    environment = Environment(
        loader=PackageLoader("fer_id.release"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # no automatic escaping: the filter ``cell`` escapes text that would break a table
    environment.filters |= {
        "percent": percent,
        "cell": cell,
        "number": number,
        "points": points,
        "thousands": lambda n: f"{n:,}",
    }
    text = environment.get_template("card.md.j2").render(
        run=run,
        judged=judged,
        metrics=metrics,
        evidence=evidence,
        release=release,
        demonstration=release is not None and release.policy.kind == DEMONSTRATION,
        sources=sources,
        title=title(run.name, judged.metrics.provenance, release.policy if release else None),
        caveat=provenance_caveat(judged.metrics.provenance),
        limits=limits(run, evidence=evidence, pretrained_elsewhere=len(sources) > 1),
        forbidden=release.policy.forbidden_uses if release else list(FORBIDDEN),
        headline=_headline(judged.metrics),
        per_class=_per_class(judged.metrics),
        columns=((metrics.get("subgroups") or {}).get("columns") or {}),
        temperature=run.metrics.temperature,
        threshold=run.metrics.threshold,
        answers_nothing=run.metrics.answers_nothing,
        subjects=_subjects(judged),
        counted=counted,
    )
    metadata = _metadata(run, judged)
    return f"---\n{metadata}\n---\n\n{text.strip()}\n"


def cell(value: object) -> str:
    """Return the text on one line, escaped for a cell of a Markdown table."""
    text = " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def number(value: float | None, digits: int = 3) -> str:
    """Return the formatted number, or an en dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def _metadata(run: Record, judged: Record) -> str:
    """Return the YAML metadata as ``huggingface_hub`` writes it."""
    from huggingface_hub import EvalResult, ModelCardData

    metrics, provenance = judged.metrics, judged.metrics.provenance
    dataset = judged.job.dataset or "unknown"
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Facial emotion recognition",
            dataset_type=dataset,
            dataset_name=f"{dataset} ({provenance})",
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{name} ({provenance})",
            metric_value=round(float(metrics[score]), 4),
        )
        for score, (kind, name) in HEADLINE.items()
        if metrics[score] is not None
    ]
    data = ModelCardData(
        license="other",
        license_name="as-its-training-data",
        library_name="fer_id",
        pipeline_tag=TASK,
        tags=["facial-emotion-recognition", "children", "assistive", f"provenance-{provenance}"],
        model_name=run.name,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _headline(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each main score."""
    if not metrics.intervals:
        return []
    return [(name, percent(metrics[score]), interval_words(metrics, score)) for score, (_, name) in HEADLINE.items()]


def _per_class(metrics: Metrics) -> list[tuple[str, ClassScores, str]]:
    """Return each class, its metrics, and the interval of its recall."""
    if not metrics.intervals:
        return []
    return [
        (label, row, interval_words(metrics, f"per_class.{label}.recall")) for label, row in metrics.per_class.items()
    ]


def _subjects(judged: Record) -> dict[str, int]:
    """Return the number of subjects of each split."""
    return {split: len(members or ()) for split, members in judged.job.subjects.items()}
