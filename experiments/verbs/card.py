"""``fer-id card RUN``: the model card of a run, with the sources, licences and consent of its data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.verbs.evaluate import RunConfig
from fer_id.files import atomic_write_text
from fer_id.runs.ancestry import recorded_ancestry
from fer_id.runs.configs import ModelSection
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import is_shipped
from fer_id.settings import setting
from fer_id.store.card import StoreCard, readable_cards

UNKNOWN = "unknown"


@dataclass
class CardConfig(RunConfig):
    """Configuration of a model card."""

    evidence: str | None = setting(None, help="the cross-validation whose numbers count, where RUN judged too few")


def card(config: CardConfig) -> Path:
    """Write ``card.md`` into a run; return its path. A shipped run has its card already."""
    from fer_id.release.evidence import read_record
    from fer_id.release.model_card import model_card
    from fer_id.reporting.jobs import read_metrics

    run = RunDir.open(config.run)
    if is_shipped(config.run):  # written when it left through the gate
        return run.path / "card.md"
    evidence = RunDir.open(config.evidence, changing=True) if config.evidence else None
    for judged in filter(None, (run, evidence)):
        if (judged.path / "metrics.json").is_file():
            read_metrics(judged)  # raises RunError for damaged metrics
    text = model_card(read_record(run), sources_of(run), evidence=read_record(evidence) if evidence else None)
    atomic_write_text(run.path / "card.md", text)
    return run.path / "card.md"


def sources_of(run: RunDir) -> list[Any]:
    """Return the data sources of a run and of its parent runs, the nearest first; missing facts are ``unknown``."""
    from fer_id.release.model_card import Source

    sources: dict[tuple[str, str], Source] = {}
    for number, ancestor in enumerate(recorded_ancestry(run)):
        job, config = ancestor.job(), ancestor.config()
        dataset, provenance = job.dataset or UNKNOWN, job.store.provenance or UNKNOWN
        cards = readable_cards((config.get("data") or {}).get("store") or ())
        source = Source(
            dataset=dataset,
            provenance=provenance,
            role="started from" if number else "learned from and judged on",
            licence=_licence("synthetic" if provenance == "synthetic" else dataset, cards),
            consent=_consent(cards),
        )
        sources.setdefault((dataset, provenance), source)
        if job.parents:  # whose encoder replaced the published one
            continue
        if (weights := _weights(config.get("model") or {}, job.weights_file)) is not None:
            sources.setdefault((weights[0], UNKNOWN), Source(weights[0], UNKNOWN, "published weights", weights[1]))
    return list(sources.values())


def _licence(dataset: str, cards: list[StoreCard]) -> str:
    """Return the licence that the cards state, else that of the dataset; for simulated clips also of their stills."""
    from data_modules.registry import known_datasets, load_dataset

    def of(name: str) -> str:
        return load_dataset(name).licence if name in known_datasets() else UNKNOWN

    stated = dict.fromkeys(filter(None, (card.settings.licence for card in cards)))
    licence = "; ".join(stated) or of(dataset)
    stills = {str(card.parameters["from"]) for card in cards if card.parameters.get("from")}
    if dataset == "simulated" and not stills:
        return f"{licence} ({UNKNOWN})"
    return "; ".join([licence, *(f"{name}: {of(name)}" for name in sorted(stills))])


def _consent(cards: list[StoreCard]) -> dict[str, int] | None:
    """Return the number of children with consent, in all and by purpose; None where no store holds consent."""
    consents = {subject: consent for card in cards for subject, consent in card.consent.items()}
    if not consents:
        return None
    purposes = Counter(purpose for consent in consents.values() for purpose in consent["purposes"])
    return {"children": len(consents), **dict(sorted(purposes.items()))}


def _weights(model: ModelSection, digest: str | None) -> tuple[str, str] | None:
    """Return the published weights of an encoder, with their licence; None for random weights. ``digest`` is the
    SHA-256 of their file."""
    if model.get("weights"):
        return f"a file of weights{f' (SHA-256 {digest})' if digest else ''}", UNKNOWN
    if not model.get("pretrained"):
        return None
    import timm

    name = str(model["encoder"]).removeprefix("timm:")
    known = timm.get_pretrained_cfg(name)
    return f"timm {name}", (known.license if known else None) or UNKNOWN
