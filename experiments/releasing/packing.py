"""Contents of a bundle: weights and ONNX, compared with each other and with the run's predictions; contract; card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from safetensors.torch import save

from experiments.training.parents import mappings_of
from experiments.training.trained_model import TrainedModel
from experiments.verbs.card import sources_of
from fer_id import __version__
from fer_id.errors import RunError
from fer_id.files import plain
from fer_id.labels import LabelSpace, get_space
from fer_id.models import export
from fer_id.models.config import UNTRAINED
from fer_id.progress import say
from fer_id.release import bundle
from fer_id.release.evidence import Record, disclosed
from fer_id.release.model_card import Release, limits, limits_file, model_card
from fer_id.release.policy import Policy
from fer_id.runs.description import machine
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.types import CROP

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from fer_id.models.network import ClipClassifier

CLIPS = 32
"""Clips on which a bundle is compared with torch and with the run's own predictions."""

MOST_APART = 0.02
"""Mean difference of a probability from the run's predictions above which the weights are not those of the run.
Evaluation in bfloat16 causes a few thousandths."""

LOGITS_APART = {"32": 0.01, "bf16": 0.1}
"""Tolerance of the mean difference of a logit from the run's predictions, relative to their mean size (at least 1), by
the precision of the run's evaluation. A bundle computes in float32; bfloat16 rounds products to 1/256."""


class Packed(NamedTuple):
    """Contents of a bundle by name, the reasons against the release, and a line on parity and latency."""

    files: dict[str, bytes]
    reasons: list[str]
    summary: str


class Reproduced(TypedDict):
    """Differences of the weights in float32 from the run's predictions, on the test clips of both: mean and largest of
    a probability (None without a clip), mean of a logit with its tolerance, see :data:`LOGITS_APART`."""

    clips: int
    mean_difference: float | None
    max_difference: float | None
    precision: str
    judged_in: str
    mean_logit_difference: NotRequired[float]
    logit_tolerance: NotRequired[float]


def pack(
    run: RunDir,
    record: Record,
    evidence: Record | None,
    data: FerDataModule | None,
    policy: Policy,
    unfit: Sequence[bundle.Unfit],
    fingerprint: str,
) -> Packed:
    """Make and check the contents of the bundle of a run that passed the gate. ``evidence`` is the cross-validation
    whose metrics count. Without ``data`` (the store is missing) noise replaces its clips. ``policy`` and the excluded
    groups ``unfit`` are those of the gate, ``fingerprint`` that of the signing key."""
    geometry = record.job.store.geometry
    if geometry and geometry.size != CROP:
        raise RunError(
            f"{run.path} learned from crops of {geometry.size}x{geometry.size} pixels, and a bundle takes "
            f"{CROP}x{CROP}: train on a store prepared without data.crop"
        )
    model, judged = TrainedModel.portable(run).model, (evidence or record).metrics
    if record.config["trainer"]["precision"] == "bf16":
        say("the run was judged in bf16; its bundle, and every check of it, computes in float32")
    frames = record.job.cost.frames or 1
    clips = list(_clips(data, frames))
    if model.affect is not None:
        say(f"{bundle.ONNX} gives the logits alone; valence and arousal need {bundle.WEIGHTS}, whose head has them")
    exported = export.export_onnx(model, frames)
    onnx = export.OnnxModel(exported)
    same: export.Parity = {
        **export.parity(model, onnx, [clip for _, clip in clips]),
        "of": "noise" if data is None else "clips of the store",
    }
    apart, took = _reproduced(model, run, record, clips) if data else None, export.latency(onnx)
    labels = get_space(str(record.job.store.label_space))
    contract = _facts(record, judged, policy, unfit, labels) | {
        "input": _input(record, model, data),
        "onnx": _onnx_contract(exported, same, took),
        "reproduced": apart,
    }
    marks = {  # inside the weights too, for weights taken out of their bundle
        "format": "pt",
        **{name: str(contract[name]) for name in ("kind", "name", "provenance", "setting")},
        "labels": ", ".join(labels.names),
        "never for": ", ".join(policy.forbidden_uses),
        "not for use with": "; ".join(f"{group.column} {group.group}" for group in unfit),
    }
    sources = sources_of(run)
    sentences = limits(record, evidence=evidence, pretrained_elsewhere=len(sources) > 1)
    card = model_card(record, sources, evidence=evidence, release=Release(policy, contract, fingerprint))
    files = {
        bundle.WEIGHTS: save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, marks),
        bundle.ONNX: export.marked(exported.content, marks),
        bundle.CONTRACT: _json(contract),
        bundle.METRICS: _json({"kind": policy.kind, **disclosed(judged)}),
        bundle.POLICY: policy.as_yaml().encode(),
        bundle.CARD: card.encode(),
        bundle.LIMITS: limits_file(record.name, policy, judged.provenance, unfit, sentences).encode(),
    }
    reasons = list(_faults(same, apart))
    summary = (
        f"ONNX ({exported.kind}): within {same['max_difference']:.1e} of torch on {same['clips']} {same['of']}, "
        f"{same['frames_without_face']} frames without a face among them; {took['median']:.2f} ms a {took['per']}, "
        f"95 % below {took['p95']:.2f} ms, on one thread"
    )
    return Packed(files, reasons, "" if reasons else summary)


def _clips(data: FerDataModule | None, frames: int) -> Iterator[tuple[str, export.Clip]]:
    """Yield test clips, each a second time with frames without a face; or noise, without data. A clip's name is empty
    where it is not in the run's predictions."""
    if data is None:
        yield from (("", clip) for clip in export.noise_clips(CLIPS, frames, seed=0))
        return
    data.config.num_workers = 0
    rows = data.fold.test[:: max(1, len(data.fold.test) // CLIPS)][:CLIPS]
    generator = torch.Generator().manual_seed(0)
    for batch in islice(data.plain_batches(rows), CLIPS):
        for number, name in enumerate(batch["clip_id"]):
            row = slice(number, number + 1)
            clip = (batch["frames"][row].contiguous(), batch["valid"][row], batch["landmarks"][row])
            yield name, clip
            lost = torch.rand(clip[1].shape, generator=generator) < 1 / 3
            yield "", (clip[0], clip[1] & ~lost, clip[2])


def _reproduced(
    model: ClipClassifier, run: RunDir, record: Record, clips: Sequence[tuple[str, export.Clip]]
) -> Reproduced:
    """Compare the weights in float32 with the run's predictions."""
    table = run.predictions()
    table = table[(table["split"] == "test") & table["predicted"].notna()].set_index("clip_id")
    judged = "bf16" if record.config["trainer"]["precision"] == "bf16" else "32"
    known = [(name, clip) for name, clip in clips if name in table.index]
    apart = Reproduced(clips=len(known), mean_difference=None, max_difference=None, precision="32", judged_in=judged)
    if not known:
        return apart
    with torch.inference_mode():
        logits = torch.cat([model(*clip) for _, clip in known])
    recorded = table.loc[[name for name, _ in known]]
    p, own = (recorded.filter(regex=f"^{kind}_").to_numpy(np.float64) for kind in ("p", "logit"))
    differences = np.abs(logits.softmax(dim=1).numpy() - p)
    apart["mean_difference"], apart["max_difference"] = float(differences.mean()), float(differences.max())
    apart["mean_logit_difference"] = float(np.abs(logits.numpy() - own).mean())
    apart["logit_tolerance"] = LOGITS_APART[judged] * max(1.0, float(np.abs(own).mean()))
    return apart


def _faults(same: export.Parity, apart: Reproduced | None) -> Iterator[str]:
    """Yield the reasons against releasing weights that passed the gate."""
    if same["max_difference"] is None:
        yield "its ONNX could not be compared with torch: no test clip shows a face"
    elif same["max_difference"] > same["tolerance"]:
        yield f"its ONNX is {same['max_difference']:.1e} from torch in a logit, at most {same['tolerance']:.0e} asked"
    if apart and apart["mean_difference"] is not None and apart["mean_difference"] > MOST_APART:
        yield (
            f"its checkpoint gives other probabilities than the run recorded, by {apart['mean_difference']:.3f} on "
            "average: it is not the model that was judged"
        )
    if apart and apart["clips"] and apart["mean_logit_difference"] > apart["logit_tolerance"]:
        yield (
            f"its checkpoint gives other logits than the run recorded in {apart['judged_in']}, by "
            f"{apart['mean_logit_difference']:.3f} on average, at most {apart['logit_tolerance']:.3f} allowed"
        )


def _facts(
    record: Record, judged: Metrics, policy: Policy, unfit: Sequence[bundle.Unfit], labels: LabelSpace
) -> dict[str, object]:
    """Return the contract's facts about the model and its release."""
    return {
        "version": bundle.VERSION,
        "fer_id": __version__,
        "kind": policy.kind,
        "name": record.name,
        "provenance": judged.provenance,
        "released_on": date.today().isoformat(),
        "setting": policy.setting,
        "legal_basis": policy.legal_basis.strip(),
        "forbidden_uses": list(policy.forbidden_uses),
        "not_for_use_with": [asdict(group) for group in unfit],
        "labels": {"space": labels.name, "names": list(labels.names)},
        "temperature": record.metrics.temperature,
        "review": {"risk": judged.review.risk if judged.review else None, "threshold": record.metrics.threshold},
        "model": {**record.config["model"], **UNTRAINED},
    }


def _input(record: Record, model: ClipClassifier, data: FerDataModule | None) -> dict[str, object]:
    """Return the contract's description of crops and clips."""
    store, cards = record.job.store, [] if data is None else [store.card for store in data.stores]
    return {
        "frames": record.job.cost.frames or 1,
        "fps": None if data is None else data.clips["fps"].astype(float).median(),
        "size": CROP,
        "layout": "frames float32 (1, T, 3, 64, 64), RGB in [0, 1]; valid bool (1, T), false where no face was found",
        "geometry": store.geometry.model_dump(exclude_unset=True) if store.geometry else None,
        "min_eye_distance": _agreed(cards, "min_eye_distance"),
        "normalisation": {
            "mean": model.encoder.mean.flatten().tolist(),
            "std": model.encoder.std.flatten().tolist(),
            "where": "inside the model",
        },
        "landmarks": {
            "used": model.landmarks is not None,
            "layout": "float32 (1, T, 68, 2), crop pixels, NaN where no face was found",
            "model_sha256": _agreed(cards, "landmark_model_sha256"),
            "mesh_mappings": mappings_of(store.mesh_mappings, drawn=record.job.drawn),
        },
    }


def _agreed(cards: Sequence[StoreCard], name: str) -> object:
    """Return a parameter common to all stores; None where they differ or lack it."""
    values = {card.parameters.get(name) for card in cards}
    return values.pop() if len(values) == 1 else None


def _onnx_contract(exported: export.Exported, same: export.Parity, took: export.Latency) -> dict[str, object]:
    """Return the interface of the ONNX file, with its parity and latency."""
    return {
        "kind": exported.kind,
        "inputs": exported.inputs,
        "outputs": exported.outputs,
        "state": exported.state,
        "how": "one frame a call; carry next_* into the following call, zeros at first; a frame without a face changes "
        "nothing; logits before the first face mean nothing"
        if exported.kind == export.STEP
        else f"a whole clip of {exported.frames} frames a call, since this head needs all of them at once; fill a "
        "shorter one with frames that are not valid",
        "parity": same,
        "latency_ms": {**took, "machine": machine(), "threads": 1},
    }


def _json(value: object) -> bytes:
    return (json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
