"""``fer-id card RUN``: the model card of a run, and what its data are and who agreed to their use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_id.errors import FerIdError
from fer_id.files import atomic_write_text
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting
from fer_id.store.card import StoreCard

UNKNOWN = "unknown"


@dataclass
class CardConfig:
    """Which run."""

    run: str = setting("", required=True, help="folder of a finished run")
    evidence: str | None = setting(None, help="the cross-validation whose numbers count, where RUN judged too few")


def card(config: CardConfig) -> Path:
    """Writes ``card.md`` into a run; gives its path.

    Raises:
        RunError: no finished run, or damaged.
    """
    from fer_id.release.evidence import read_record
    from fer_id.release.model_card import model_card
    from fer_id.reporting.jobs import read_metrics, run_name

    run = RunDir.open(config.run)
    evidence = RunDir.open(config.evidence) if config.evidence else None
    for judged in filter(None, (run, evidence)):
        if (judged.path / "metrics.json").is_file():
            read_metrics(judged)  # whole, or a clear refusal
    told = model_card(
        read_record(run, run_name(run)),
        sources_of(run),
        evidence=read_record(evidence, run_name(evidence)) if evidence else None,
    )
    atomic_write_text(run.path / "card.md", told)
    return run.path / "card.md"


def sources_of(run: RunDir) -> list[Any]:
    """The data of a run and of the runs that it started from, the nearest first; what cannot be found is unknown."""
    from fer_id.release.model_card import Source

    found: dict[tuple[str, str], Source] = {}
    for number, one in enumerate(_line(run)):
        job, config = one.job(), one.config()
        dataset, provenance = str(job.get("dataset") or UNKNOWN), (job.get("store") or {}).get("provenance") or UNKNOWN
        cards = _cards(config)
        source = Source(
            dataset=dataset,
            provenance=provenance,
            role="started from" if number else "learned from and judged on",
            licence=_licence("synthetic" if provenance == "synthetic" else dataset, cards),
            consent=_consent(cards),
        )
        found.setdefault((dataset, provenance), source)
        if (weights := _weights(config.get("model") or {})) is not None:
            found.setdefault((weights[0], UNKNOWN), Source(weights[0], UNKNOWN, "published weights", weights[1]))
    return list(found.values())


def _line(run: RunDir) -> Iterator[RunDir]:
    """A run and those that it started from, nearest first, as far as they are still there."""
    todo, seen = [run], set[Path]()
    while todo:
        one = todo.pop(0)
        if one.path.resolve() in seen or not (one.path / "job.json").is_file():
            continue
        seen.add(one.path.resolve())
        yield one
        todo += [RunDir(parent) for parent in one.job().get("parents") or ()]


def _cards(config: dict[str, Any]) -> list[StoreCard]:
    """The cards of a run's stores, as far as they are still there."""
    cards = []
    for path in (config.get("data") or {}).get("store") or ():
        try:
            cards.append(StoreCard.read(Path(path) / "card.json"))
        except FerIdError:
            continue
    return cards


def _licence(dataset: str, cards: list[StoreCard]) -> str:
    """Of a dataset; of simulated clips that of the stills they were made of as well."""
    from experiments.settings.registry import DATASETS

    licence = DATASETS[dataset].licence if dataset in DATASETS else UNKNOWN
    stills = {str(card.parameters["from"]) for card in cards if card.parameters.get("from")}
    if dataset == "simulated" and not stills:
        return f"{licence} ({UNKNOWN})"
    of_stills = [f"{name}: {DATASETS[name].licence if name in DATASETS else UNKNOWN}" for name in sorted(stills)]
    return "; ".join([licence, *of_stills])


def _consent(cards: list[StoreCard]) -> dict[str, int] | None:
    """How many children agreed to each purpose; None where no store holds consent."""
    kept = {subject: one for card in cards for subject, one in card.consent.items()}
    if not kept:
        return None
    purposes = Counter(purpose for one in kept.values() for purpose in one["purposes"])
    return {"children": len(kept), **dict(sorted(purposes.items()))}


def _weights(model: dict[str, Any]) -> tuple[str, str] | None:
    """Published weights that an encoder started from, with their licence; None where there are none."""
    if model.get("weights"):
        return "a file of weights", UNKNOWN
    if not model.get("pretrained"):
        return None
    import timm

    name = str(model["encoder"]).removeprefix("timm:")
    known = timm.get_pretrained_cfg(name)
    return f"timm {name}", (known.license if known else None) or UNKNOWN
