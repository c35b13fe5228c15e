"""The model card: what a model is for, what it learned from, what it can do, and what it must not be used for.

In the Hugging Face format (Mitchell et al., 2019, arXiv:1810.03993; metadata of ``huggingface_hub``), offline. Of real
children it tells only what strangers may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_id.release.bundle import DEMONSTRATION
from fer_id.release.disclosed import disclosed
from fer_id.release.evidence import Record, answers_nothing, only
from fer_id.release.limits import limits, title
from fer_id.release.policy import FORBIDDEN, Policy
from fer_id.reporting.group_words import points
from fer_id.reporting.words import counted, interval_words, percent, provenance_caveat

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
    """Data that a model learned from or was judged on.

    Attributes:
        dataset: its name.
        provenance: ``real``, ``simulated`` or ``synthetic``; ``unknown``.
        role: what it was used for.
        licence: of the data; ``unknown`` where nobody said.
        consent: how many children agreed to each purpose, and ``children``; None where it holds no consent.
    """

    dataset: str
    provenance: str
    role: str
    licence: str
    consent: dict[str, int] | None = None


@dataclass(frozen=True)
class Release:
    """What a card tells of a release.

    Attributes:
        policy: under which it leaves.
        contract: ``contract.json``.
        fingerprint: of the key that signs.
    """

    policy: Policy
    contract: dict[str, Any]
    fingerprint: str


def model_card(
    run: Record, sources: Sequence[Source], *, evidence: Record | None = None, release: Release | None = None
) -> str:
    """The card, Markdown under YAML metadata.

    Args:
        run: whose weights it describes.
        sources: of its data, the nearest first.
        evidence: the cross-validation whose numbers count; None: the run's own.
        release: of a bundle; None: the run was not released.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    judged = evidence or run
    metrics = disclosed(judged.metrics)
    environment = Environment(
        loader=PackageLoader("fer_id.release"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # of Markdown nothing is escaped but what would break a table
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
        title=title(run.name, metrics.get("provenance"), release.policy if release else None),
        caveat=provenance_caveat(str(metrics.get("provenance"))),
        limits=limits(run, evidence=evidence, pretrained_elsewhere=len(sources) > 1),
        forbidden=release.policy.forbidden_uses if release else list(FORBIDDEN),
        headline=_headline(metrics),
        per_class=_per_class(metrics),
        columns=((metrics.get("subgroups") or {}).get("columns") or {}),
        temperature=only(run.metrics, "calibration", "temperatures"),
        threshold=only(run.metrics, "review", "thresholds"),
        answers_nothing=answers_nothing(run.metrics),
        subjects=_subjects(judged),
        counted=counted,
    )
    metadata = _metadata(run, judged, metrics)
    return f"---\n{metadata}\n---\n\n{text.strip()}\n"


def cell(value: object) -> str:
    """Text that stays in its cell of a table, and is no markup."""
    text = " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or an en dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def _metadata(run: Record, judged: Record, metrics: Mapping[str, Any]) -> str:
    """YAML that their own library makes and reads again."""
    from huggingface_hub import EvalResult, ModelCardData

    provenance = str(metrics.get("provenance") or "unknown")
    dataset = str(judged.job.get("dataset") or "unknown")
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
        if metrics.get(score) is not None
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


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and interval of the main scores."""
    if "intervals" not in metrics:
        return []
    return [
        (name, percent(metrics.get(score)), interval_words(dict(metrics), score))
        for score, (_, name) in HEADLINE.items()
    ]


def _per_class(metrics: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Class, its numbers, and the interval of its recall."""
    if "intervals" not in metrics:
        return []
    return [
        (label, row, interval_words(dict(metrics), f"per_class.{label}.recall"))
        for label, row in (metrics.get("per_class") or {}).items()
    ]


def _subjects(judged: Record) -> dict[str, int]:
    """How many subjects each part of the data has."""
    subjects = judged.job.get("subjects") or {}
    return {split: len(members or ()) for split, members in subjects.items()}
