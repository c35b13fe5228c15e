"""The landmark stream: invariant to position, size and tilt of the head, and zero without landmarks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.network import ClipClassifier, LandmarkStream, normalised


def faces(count: int, seed: int = 0) -> torch.Tensor:
    """Points (1, count, 68, 2) with the eyes apart."""
    points = torch.rand(1, count, 68, 2, generator=torch.Generator().manual_seed(seed)) * 40 + 12
    points[..., 36:42, :] -= torch.tensor([14.0, 0.0])
    points[..., 42:48, :] += torch.tensor([14.0, 0.0])
    return points


def fused(head: str) -> ClipClassifier:
    torch.manual_seed(0)
    config = ModelConfig(head=head, hidden=8, widths=[4, 4, 4, 8], convs=[1, 1, 1, 1], landmarks=6)
    return build_model(config, len(TARGET)).eval()


@given(turn=st.floats(-math.pi, math.pi), scale=st.floats(0.2, 5), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_a_similarity_changes_nothing(turn: float, scale: float, x: float, y: float) -> None:
    points = faces(2).double()
    matrix = scale * torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]).double()
    moved = points @ matrix + torch.tensor([x, y])
    torch.testing.assert_close(normalised(moved), normalised(points), atol=1e-6, rtol=1e-6)


def test_eyes_end_level_half_a_unit_to_each_side() -> None:
    seen = normalised(faces(3))
    for eye, x in ((seen[..., 36:42, :], -0.5), (seen[..., 42:48, :], 0.5)):
        torch.testing.assert_close(eye.mean(-2), torch.tensor([x, 0.0]).expand(1, 3, 2), atol=1e-5, rtol=0)


def test_a_frame_without_landmarks_has_zero_features() -> None:
    torch.manual_seed(0)
    stream, points = LandmarkStream(8), faces(4)
    points[0, 1] = float("nan")
    points[0, 2, 36:48] = 20.0  # both eyes in one point
    features = stream(points)
    assert torch.isfinite(features).all()
    assert (features[0, [1, 2]] == 0).all()
    assert (features[0, [0, 3]] != 0).any(dim=-1).all()
    alone = stream(points[:, :1])
    torch.testing.assert_close(features[:, :1], alone)


@pytest.mark.parametrize("head", ["mean", "lstm", "attention", "transformer"])
def test_a_fused_model_uses_frames_and_landmarks(head: str) -> None:
    model = fused(head)
    frames, valid, points = torch.rand(2, 3, 3, 64, 64), torch.ones(2, 3, dtype=torch.bool), faces(3).repeat(2, 1, 1, 1)
    with torch.no_grad():
        logits = model(frames, valid, points)
        assert model.encode(frames, valid, points).shape == (2, 3, 8 + 6)
        assert not torch.allclose(model(frames, valid, faces(3, seed=1).repeat(2, 1, 1, 1)), logits)
        assert not torch.allclose(model(1 - frames, valid, points), logits)
        torch.testing.assert_close(model(frames, valid), model(frames, valid, torch.full_like(points, float("nan"))))


def test_the_content_of_an_invalid_frame_changes_nothing() -> None:
    model, points = fused("lstm"), faces(3)
    frames, valid = torch.rand(1, 3, 3, 64, 64), torch.tensor([[True, False, True]])
    other = points.clone()
    other[0, 1] += 9
    with torch.no_grad():
        torch.testing.assert_close(model(frames, valid, points), model(frames, valid, other))
