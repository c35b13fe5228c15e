"""Attributions against values computed by hand: with own hooks, with torch.autograd, and with loops over hidden
pixels."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fer_id.explain.attribution import (
    METHODS,
    STRIDE,
    WINDOW,
    blurred,
    enlarged,
    frame_occlusion,
    grad_cam,
    importance,
    integrated_gradients,
    occlusion,
)
from fer_id.explain.layers import choose_layer
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.encoders import Encoder
from fer_id.models.heads import Mean
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch
from tests.explain.models import ChannelsLast, Weighed, batch_of

MODELS = {
    "mean": ModelConfig(head="mean", widths=[4, 4, 8, 8], convs=[1, 1, 1, 1]),
    "lstm": ModelConfig(head="lstm", widths=[4, 4, 8, 8], convs=[1, 2, 1, 1], hidden=8, residual=True),
    "landmarks": ModelConfig(head="bilstm", widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], hidden=8, landmarks=4),
}
LAYER = "blocks.3.map"
ASKED = [("grad_cam", lambda *given: grad_cam(*given, LAYER)), *METHODS.items(), ("frame_occlusion", frame_occlusion)]
Method = Callable[[ClipClassifier, ClipBatch, Tensor], Tensor]


class ReadsOnePlace(Encoder):
    """The brightness of 16x16 pixels."""

    def __init__(self, top: int, left: int) -> None:
        super().__init__(dim=1)
        self.place = (..., slice(top, top + 16), slice(left, left + 16))

    def features(self, images: Tensor) -> Tensor:
        return images[self.place].mean(dim=(1, 2, 3)).unsqueeze(1)


def clips(batch: int = 4, steps: int = 3, seed: int = 0) -> ClipBatch:
    """The first clip has a face in one frame, the second in none, the third in all."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, steps, generator=generator) < 0.6
    valid[0], valid[1], valid[2] = False, False, True
    valid[0, 1] = True
    landmarks = 64 * torch.rand(batch, steps, 68, 2, generator=generator)
    landmarks[~valid] = torch.nan
    frames = torch.rand(batch, steps, 3, 64, 64, generator=generator)
    return batch_of([f"c{i}" for i in range(batch)], frames, valid, landmarks)


def make(name: str) -> ClipClassifier:
    torch.manual_seed(3)
    model = build_model(MODELS[name], 5).eval()
    with torch.no_grad():
        model.classifier[-1].weight.mul_(20)
    return model


def around(encoder: Encoder, classes: int = 3) -> ClipClassifier:
    torch.manual_seed(4)
    return ClipClassifier(encoder, Mean(encoder.dim, 1, 0.0), classes).eval()


def gradient_and_map(model: ClipClassifier, batch: ClipBatch, clip: int, target: int, layer: str) -> list[Tensor]:
    """Return the gradient of a clip's logit for a layer's output and that output, at the clip's valid frames."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()

    handle = model.encoder.get_submodule(layer).register_forward_hook(keep)
    row = slice(clip, clip + 1)
    logits = model(batch["frames"][row], batch["valid"][row], batch["landmarks"][row])
    handle.remove()
    return [torch.autograd.grad(logits[0, target], outputs[0])[0], outputs[0].detach()]


def close(actual: Tensor, expected: Tensor) -> None:
    """Assert equality but for rounding, relative to the largest value, which is not zero."""
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(actual / largest, expected / largest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_grad_cam_equals_one_by_hand_frame_by_frame(name: str) -> None:
    model, batch = make(name), clips()
    for target in range(2):
        maps = grad_cam(model, batch, torch.full((4,), target), LAYER)
        expected = torch.zeros(4, 3, 8, 8)
        for clip in (0, 2, 3):
            gradient, values = gradient_and_map(model, batch, clip, target, LAYER)
            weights = gradient.sum(dim=(2, 3)) / 64
            expected[clip, batch["valid"][clip]] = torch.einsum("tc,tchw->thw", weights, values).clamp(min=0)
        close(maps, expected)
        assert (maps[~batch["valid"]] == 0).all()
        assert maps.dtype == torch.float32


def test_grad_cam_explains_each_clips_own_class() -> None:
    model, batch = make("lstm"), clips()
    mixed = torch.tensor([0, 1, 2, 3])
    maps = grad_cam(model, batch, mixed, LAYER)
    for clip in (0, 2, 3):
        alone = grad_cam(model, batch, torch.full((4,), int(mixed[clip])), LAYER)
        torch.testing.assert_close(maps[clip], alone[clip])


def test_grad_cam_of_tokens_equals_one_by_hand() -> None:
    torch.manual_seed(0)
    model, batch = build_model(ModelConfig(encoder="timm:test_vit", head="lstm", hidden=8), 5).eval(), clips()
    layer = choose_layer(model.encoder)
    result = grad_cam(model, batch, torch.full((4,), 2), layer)
    expected = torch.zeros(4, 3, 8, 8)
    for clip in (0, 2, 3):
        gradient, tokens = (values[:, 1:] for values in gradient_and_map(model, batch, clip, 2, layer))
        maps = (tokens * gradient.mean(dim=1, keepdim=True)).sum(dim=2).clamp(min=0)
        expected[clip, batch["valid"][clip]] = maps.view(-1, 8, 8)
    close(result, expected)


def test_grad_cam_of_channels_that_come_last_and_are_overwritten() -> None:
    torch.manual_seed(5)
    model, batch = around(ChannelsLast(inplace=True)), clips()
    result = grad_cam(model, batch, torch.full((4,), 1), "norm")
    expected = torch.zeros(4, 3, 8, 8)
    for clip in (0, 2, 3):
        gradient, values = gradient_and_map(model, batch, clip, 1, "norm")
        maps = (values * gradient.mean(dim=(1, 2), keepdim=True)).sum(dim=3).clamp(min=0)
        expected[clip, batch["valid"][clip]] = maps
    close(result, expected)


@pytest.mark.parametrize(("name", "felt"), [("mean", False), ("lstm", True)])
def test_a_later_frame_affects_an_earlier_map_only_through_a_temporal_head(name: str, felt: bool) -> None:
    model, batch = make(name), clips()
    target = torch.ones(4, dtype=torch.int64)
    before = grad_cam(model, batch, target, LAYER)
    batch["frames"][2, 2] = 1 - batch["frames"][2, 2]
    after = grad_cam(model, batch, target, LAYER)
    assert not torch.equal(before[2, 2], after[2, 2])
    largest = before[2, :2].max()
    assert largest > 0
    assert bool(((before - after)[2, :2].abs() > 1e-4 * largest).any()) == felt


def test_grad_cam_in_half_the_precision_is_nearly_the_same() -> None:
    model, batch = make("lstm"), clips()
    target = torch.ones(4, dtype=torch.int64)
    exact = grad_cam(model, batch, target, LAYER)
    with torch.autocast("cpu", torch.bfloat16):
        rough = grad_cam(model, batch, target, LAYER)
    assert rough.dtype == torch.float32
    assert torch.corrcoef(torch.stack([exact.flatten(), rough.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize(("name", "method"), ASKED, ids=[name for name, _ in ASKED])
def test_the_model_is_not_changed(name: str, method: Method) -> None:
    model, batch = make("lstm"), clips(batch=3, steps=2)
    frozen = "encoder.blocks.0.entry.0.weight"
    model.get_parameter(frozen).requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    frames = batch["frames"].clone()
    method(model, batch, torch.zeros(3, dtype=torch.int64))
    with pytest.raises((IndexError, RuntimeError, AssertionError)):
        method(model, batch, torch.full((3,), 99))
    assert [key for key, parameter in model.named_parameters() if not parameter.requires_grad] == [frozen]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(batch["frames"], frames)
    assert not batch["frames"].requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", METHODS)
def test_other_methods_give_one_map_per_frame_and_nothing_without_a_face(name: str) -> None:
    batch = clips(batch=3, steps=2)
    maps = METHODS[name](make("lstm"), batch, torch.ones(3, dtype=torch.int64))
    assert maps.shape == (3, 2, 64, 64)
    assert (maps >= 0).all()
    assert (maps[~batch["valid"]] == 0).all()
    assert (maps[batch["valid"]].amax(dim=(1, 2)) > 0).all()


def test_integrated_gradients_of_a_linear_model_are_its_weights_times_the_difference() -> None:
    model, batch = around(Weighed()), clips(batch=4, steps=3)
    target = torch.tensor([0, 1, 2, 0])
    maps = integrated_gradients(model, batch, target)
    weights = model.classifier[-1].weight @ model.encoder.get_parameter("weights.weight") / 0.5
    per_frame = weights[target].view(4, 1, 3, 64, 64) / batch["valid"].sum(dim=1).clamp(min=1).view(4, 1, 1, 1, 1)
    expected = (per_frame * (batch["frames"] - blurred(batch["frames"]))).abs().sum(dim=2)
    close(maps, (expected * batch["valid"][..., None, None]).detach())


@pytest.mark.parametrize(("top", "left"), [(24, 12), (0, 48), (36, 24)])
def test_occlusion_finds_the_one_place_that_is_read(top: int, left: int) -> None:
    encoder = ReadsOnePlace(top, left)
    model = around(encoder)
    batch = clips(batch=3, steps=2)
    batch["frames"] = 0.2 * batch["frames"]
    batch["frames"][encoder.place] += 0.7
    target = model.classifier[-1].weight.argmax().expand(3)
    with torch.no_grad():
        model.classifier[-1].weight.abs_()
    maps = occlusion(model, batch, target)
    for clip, frame in batch["valid"].nonzero().tolist():
        row, column = divmod(int(maps[clip, frame].argmax()), 64)
        assert top <= row < top + 16
        assert left <= column < left + 16
    beyond = torch.ones(64, 64, dtype=torch.bool)
    beyond[max(0, top - 15) : top + 31, max(0, left - 15) : left + 31] = False  # no square there touches the place
    assert (maps[..., beyond] == 0).all()


def test_occlusion_is_the_mean_fall_over_the_squares_that_hide_a_pixel() -> None:
    model, batch = make("lstm"), clips(batch=3, steps=2)
    target = torch.tensor([0, 3, 1])
    frames, hidden = batch["frames"], blurred(batch["frames"])
    falls, times = torch.zeros(3, 64, 64), torch.zeros(64, 64)
    with torch.no_grad():
        whole = model(frames, batch["valid"], batch["landmarks"])[range(3), target]
        for top in range(0, 64 - WINDOW + 1, STRIDE):
            for left in range(0, 64 - WINDOW + 1, STRIDE):
                square = torch.zeros(64, 64, dtype=torch.bool)
                square[top : top + WINDOW, left : left + WINDOW] = True
                logits = model(torch.where(square, hidden, frames), batch["valid"], batch["landmarks"])
                falls += (whole - logits[range(3), target]).view(3, 1, 1) * square
                times += square
    expected = (falls / times).clamp(min=0)
    close(occlusion(model, batch, target), expected.unsqueeze(1) * batch["valid"][..., None, None])


@pytest.mark.parametrize("name", MODELS)
def test_frame_occlusion_equals_the_whole_model_without_the_frame(name: str) -> None:
    model, batch = make(name), clips()
    target = torch.tensor([4, 0, 1, 2])
    maps = frame_occlusion(model, batch, target)
    valid = batch["valid"]
    assert maps[0].isnan().all()  # its only face, and two frames without one
    assert maps[1].isnan().all()
    assert not maps[2].isnan().any()
    with torch.no_grad():
        whole = model(batch["frames"], valid, batch["landmarks"])
        for t in range(3):
            without = valid.clone()
            without[:, t] = False
            drop = (whole - model(batch["frames"], without, batch["landmarks"]))[range(4), target]
            defined = valid[:, t] & without.any(dim=1)
            assert torch.equal(maps[:, t].isnan(), ~defined)
            torch.testing.assert_close(maps[defined, t], drop[defined], rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 2**16), batch=st.integers(1, 3), steps=st.integers(1, 4))
def test_importance_is_each_frames_part_of_the_whole(seed: int, batch: int, steps: int) -> None:
    maps = torch.rand(batch, steps, 8, 8, generator=torch.Generator().manual_seed(seed))
    shares = importance(maps)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(batch))
    torch.testing.assert_close(shares[0, 0] * maps[0].sum(), maps[0, 0].sum())


def test_importance_is_nan_without_attribution() -> None:
    maps = torch.zeros(2, 3, 8, 8)
    maps[1, 2, 4, 4] = 5
    assert importance(maps)[0].isnan().all()
    assert importance(maps)[1].tolist() == [0, 0, 1]


def test_enlarged_maps_keep_place_and_height() -> None:
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 2, 5], maps[0, 1] = 1, 3
    big = enlarged(maps)
    assert big.shape == (1, 2, 64, 64)
    assert (big[0, 1] == 3).all()
    rows, columns = (big[0, 0] > 0.5).nonzero().T
    assert (rows.float().mean(), columns.float().mean()) == (2 * 8 + 3.5, 5 * 8 + 3.5)
    assert torch.equal(enlarged(big), big)


@given(seed=st.integers(0, 2**16))
def test_blurred_frames_keep_light_and_lose_detail(seed: int) -> None:
    """The mean of 16x16 pixels after bilinear enlargement is 1/8, 3/4, 1/8 of the means around it, along each side."""
    frames = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    soft = blurred(frames)
    before, after = (x.view(1, 2, 3, 4, 16, 4, 16).mean(dim=(4, 6)) for x in (frames, soft))
    mix = 0.75 * torch.eye(4) + 0.125 * (torch.diag(torch.ones(3), 1) + torch.diag(torch.ones(3), -1))
    mix[0, 0] = mix[3, 3] = 0.875
    torch.testing.assert_close(after, mix @ before @ mix)
    torch.testing.assert_close(soft.mean(), frames.mean())
    assert soft.diff(dim=-1).abs().max() < 0.02


def test_a_frame_of_one_colour_is_blurred_to_itself() -> None:
    frames = torch.tensor([0.2, 0.5, 0.9]).view(1, 1, 3, 1, 1).expand(2, 3, 3, 64, 64)
    torch.testing.assert_close(blurred(frames), frames.contiguous())
