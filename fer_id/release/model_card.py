"""Model card: intended use, training data, performance, forbidden uses and limits of a model; the file LIMITS.

In the Hugging Face format (Mitchell et al., 2019, arXiv:1810.03993; metadata of ``huggingface_hub``), offline. The
metrics of real children pass disclosure control (:func:`fer_id.release.evidence.disclosed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS
from fer_id.release.bundle import DEMONSTRATION, Unfit
from fer_id.release.evidence import Record, disclosed, disclosed_subgroups
from fer_id.release.policy import FORBIDDEN, PRETRAINED, Policy
from fer_id.reporting.words import MODE_CAVEATS, counted, interval_words, percent, points, provenance_caveat
from fer_id.runs.metrics import ClassScores, Metrics

if TYPE_CHECKING:
    from jinja2 import Template

ASSISTS = (
    "It assists a person who knows the child and decides. It does not diagnose, and an expression is not a feeling."
)
LAW = (
    "In the European Union, inferring emotions in workplaces and education is forbidden except for medical or safety "
    "reasons (AI Act, Art. 5(1)(f)); elsewhere it is a high-risk use (Annex III, 1(c)), and whoever is looked at must "
    "be told (Art. 50(3))."
)

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
    """Data that a model was trained or tested on; what is not known of it is ``unknown``.

    ``consent``: purpose -> number of children who agreed, and ``children``; None for data without consent records.
    """

    dataset: str
    provenance: str
    role: str
    licence: str
    consent: dict[str, int] | None = None


@dataclass(frozen=True)
class Release:
    """Content of a card's part on the release; ``fingerprint`` is that of the signing key. Weights to start from have
    neither contract nor key."""

    policy: Policy
    contract: Mapping[str, object]
    fingerprint: str


def model_card(
    run: Record, sources: Sequence[Source], *, evidence: Record | None = None, release: Release | None = None
) -> str:
    """Return the card of a run, the one with the weights: Markdown under YAML metadata.

    ``sources`` are the run's data, the nearest first. ``evidence`` is the cross-validation whose numbers count; None:
    the run's own numbers. ``release`` is that of a bundle; None: the run was not released.
    """
    judged = evidence or run
    scores = judged.metrics
    text = _template("card.md.j2").render(
        run=run,
        judged=judged,
        metrics=disclosed(scores),
        evidence=evidence,
        release=release,
        demonstration=release is not None and release.policy.kind == DEMONSTRATION,
        words=weights_sentences(release.policy, scores) if release is not None else [],
        who=_who(judged),
        sources=sources,
        title=title(run.name, scores.provenance, release.policy if release else None),
        caveat=provenance_caveat(scores.provenance),
        limits=limits(run, evidence=evidence, pretrained_elsewhere=len(sources) > 1),
        forbidden=release.policy.forbidden_uses if release else list(FORBIDDEN),
        headline=_headline(scores),
        per_class=_per_class(scores),
        elsewhere=[_elsewhere(name, other, run) for name, other in run.elsewhere.items()],
        columns=disclosed_subgroups(scores).get("columns", {}),
        temperature=run.metrics.temperature,
        threshold=run.metrics.threshold,
        answers_nothing=run.metrics.answers_nothing,
        subjects={split: len(members) for split, members in judged.job.subjects.items() if members},
        counted=counted,
    )
    return f"---\n{_metadata(run, judged)}\n---\n\n{text.strip()}\n"


def _template(name: str) -> Template:
    """Return a template without automatic escaping: the filter ``cell`` escapes text that would break a table."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("fer_id.release")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "cell": cell, "number": number, "points": points}
    return environment.get_template(name)


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

    metrics, provenance, dataset = judged.metrics, judged.metrics.provenance, judged.job.dataset or "unknown"
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
    """Return name, value and interval of each main score, where there are intervals."""
    scores = HEADLINE.items() if metrics.intervals else ()
    return [(name, percent(metrics[score]), interval_words(metrics, score)) for score, (_, name) in scores]


def _per_class(metrics: Metrics) -> list[tuple[str, ClassScores, str]]:
    """Return each class, its metrics, and the interval of its recall, where there are intervals."""
    rows = metrics.per_class.items() if metrics.intervals else ()
    return [(label, row, interval_words(metrics, f"per_class.{label}.recall")) for label, row in rows]


def _elsewhere(name: str, other: Record, run: Record) -> tuple[str, ...]:
    """Return name, data, provenance, size, accuracy with its interval, and macro-F1 of the results on another store;
    of fewer than :data:`FEWEST_SUBJECTS` real people no score."""
    metrics, store = other.metrics, other.job.store
    who = counted(metrics.n_subjects, "image group" if store.of_images else "subject")
    size = f"{counted(metrics.n_clips, 'clip')}, {who}"
    crops = "" if store.geometry == run.job.store.geometry else ", cropped otherwise"
    about = (name, f"{other.job.dataset or 'unknown'}{crops}", str(metrics.provenance), size)
    if store.of_people and metrics.n_subjects < FEWEST_SUBJECTS:
        return *about, "not shown of so few", "", ""
    return *about, percent(metrics.accuracy), interval_words(metrics, "accuracy"), percent(metrics.macro_f1)


def title(name: str, provenance: object, policy: Policy | None) -> str:
    """Return the model's name, marked as a demonstration or by a provenance other than real."""
    words = ["DEMONSTRATION"] if policy is not None and policy.kind == DEMONSTRATION else []
    words += [f"{provenance} data".upper()] if provenance != "real" else []
    return f"{name} ({', '.join(words)})" if words else name


def limits(run: Record, *, evidence: Record | None, pretrained_elsewhere: bool) -> list[str]:
    """Return the limits of a run's model, one sentence or two per line; the numbers are those of any ``evidence``."""
    judged = evidence or run
    metrics, coverage = judged.metrics, judged.metrics.coverage
    lines = (
        ASSISTS,
        provenance_caveat(metrics.provenance),
        MODE_CAVEATS.get(judged.job.mode),
        metrics.labels
        and f"It knows {', '.join(metrics.labels)} and nothing else: whatever a face shows, one of these comes out.",
        f"It was judged on {counted(metrics.n_clips, 'clip')} of {metrics.n_subjects} {_who(judged)}. "
        "Intervals resample these and hold the fitted models fixed; another site or camera may differ by more.",
        evidence
        and f"Its numbers are those of {counted(len(evidence.folds), 'model')} trained alike, each judged on whom it "
        "had not seen. These very weights learned from all of them and were judged on nobody new.",
        coverage is not None
        and f"Without a face in view it gives no answer; it gave one for {percent(coverage)} of the clips.",
        run.metrics.answers_nothing
        and "No threshold on inner validation kept the risk that was asked: it answers nothing by itself, and every "
        "clip goes to a person, with its probabilities.",
        pretrained_elsewhere
        and "It started from other data (see there); public benchmarks show mostly neurotypical adults, and what they "
        "taught it may not hold for these children.",
        run.config.get("trainer", {}).get("precision") == "bf16"
        and "It was judged in bfloat16; a bundle computes in float32, so single answers may differ.",
        LAW,
    )
    return [line for line in lines if line]


def _who(judged: Record) -> str:
    return "groups of pictures" if judged.job.store.of_images else "subjects"


def weights_sentences(policy: Policy, metrics: Metrics) -> list[str]:
    """Return what is said wherever weights to start from are used: the terms of their data, and the recall of each
    class; nothing for another kind of policy."""
    if policy.kind != PRETRAINED:
        return []
    recalls = ", ".join(f"{label} {percent(row.recall, 0)}" for label, row in metrics.per_class.items())
    return [
        policy.legal_basis.strip(),
        f"These weights were judged on {metrics.n_clips} pictures of a benchmark and on no child: a start for a "
        f"training on your own videos, not a model to rely on. Of each class they recognised: {recalls}.",
    ]


def limits_file(name: str, policy: Policy, provenance: object, unfit: Sequence[Unfit], sentences: Sequence[str]) -> str:
    """Return the text of the file LIMITS."""
    content = {"title": title(name, provenance, policy), "policy": policy, "unfit": unfit, "sentences": sentences}
    return _template("limits.txt.j2").render(content)
