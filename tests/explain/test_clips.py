"""Clips of several lengths in one batch: padding is no part of a clip."""

import pytest
import torch

from fer_id.explain.attribution import frame_occlusion
from fer_id.explain.clips import Explained, explain_clips
from fer_id.explain.regions import REGIONS
from fer_id.explain.shares import AREA, SHARE
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch
from tests.explain.models import batch_of, small

LENGTHS = {"long": 4, "short": 2}


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    return small()


def batch(names: list[str], steps: int) -> ClipBatch:
    frames, valid = torch.zeros(len(names), steps, 3, 64, 64), torch.zeros(len(names), steps, dtype=torch.bool)
    made = batch_of(names, frames, valid)
    for place, name in enumerate(names):
        count, draws = LENGTHS[name], torch.Generator().manual_seed(len(name))
        made["frames"][place, :count] = torch.rand(count, 3, 64, 64, generator=draws)
        made["valid"][place, :count] = True
        made["landmarks"][place, :count] = 64 * torch.rand(count, 68, 2, generator=draws)
    return made


def by_clip(explained: Explained) -> dict[str, dict[str, object]]:
    return {row["clip_id"]: row for row in explained.rows.to_dict("records")}


def test_a_clips_explanation_does_not_depend_on_its_batch(model: ClipClassifier) -> None:
    targets = {"long": 1, "short": 2}
    together = explain_clips(model, [batch(["long", "short"], 4)], targets, "blocks.3.map", LENGTHS)
    alone = explain_clips(model, [batch(["long"], 4), batch(["short"], 2)], targets, "blocks.3.map", LENGTHS)
    padded, single = by_clip(together), by_clip(alone)
    for name, length in LENGTHS.items():
        assert len(padded[name]["importance"]) == len(padded[name]["occlusion"]) == length  # type: ignore[arg-type]
        assert together.maps[name].shape == (length, 8, 8)
        assert together.maps[name].max() == 1
        assert padded[name]["importance"] == pytest.approx(single[name]["importance"], abs=1e-5, nan_ok=True)
        for column in [f"{start}{region}" for start in (SHARE, AREA) for region in REGIONS]:
            assert padded[name][column] == pytest.approx(single[name][column], abs=1e-5)


def test_frame_occlusion_needs_no_second_encoding(model: ClipClassifier) -> None:
    clips, calls = batch(["long", "short"], 4), []
    handle = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    rows = by_clip(explain_clips(model, [clips], {"long": 1, "short": 2}, "blocks.3.map"))
    handle.remove()
    assert len(calls) == 1
    expected = frame_occlusion(model, clips, torch.tensor([1, 2])).numpy()
    for row, values in zip(("long", "short"), expected, strict=True):
        assert rows[row]["occlusion"] == pytest.approx(values.tolist(), abs=1e-5, nan_ok=True)
