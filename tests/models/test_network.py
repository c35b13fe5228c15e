"""Every encoder with every head: shapes, masks, gradients, memory formats, batch-norm statistics."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from fer_id.models.build import ModelConfig, build_model
from fer_id.models.config import HEADS
from fer_id.models.network import ClipClassifier
from fer_id.tasks.numerics import autocast

SMALL: dict[str, ModelConfig] = {
    "conv4": ModelConfig(encoder="conv4", hidden=8, widths=[4, 6, 8, 10], convs=[1, 2, 2, 1], residual=True),
    "shallow": ModelConfig(encoder="shallow", hidden=8, widths=[4, 6], convs=[1, 1]),
    "timm": ModelConfig(encoder="timm:test_resnet", hidden=8),
    "timm tokens": ModelConfig(encoder="timm:test_vit", hidden=8),
}


def make(encoder: str, head: str = "mean") -> ClipClassifier:
    torch.manual_seed(0)
    return build_model(replace(SMALL[encoder], head=head), classes=5)


def clips(batch: int = 3, steps: int = 4) -> tuple[Tensor, Tensor]:
    """Frames, and masks of which the first clip has no valid frame."""
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(batch, steps, generator=generator) < 0.6
    valid[0], valid[1:, 0] = False, True
    return torch.rand(batch, steps, 3, 64, 64, generator=generator), valid


@pytest.mark.parametrize(("encoder", "head"), list(product(SMALL, HEADS)))
def test_every_encoder_with_every_head(encoder: str, head: str) -> None:
    model = make(encoder, head)
    frames, valid = clips()
    logits = model(frames, valid, landmarks=torch.zeros(3, 4, 68, 2))
    assert logits.shape == (3, 5)
    torch.nn.functional.cross_entropy(logits[1:], torch.tensor([0, 1])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model(frames[:, :1], valid[:, :1]).shape == (3, 5)  # a still is a clip with T=1


@pytest.mark.parametrize(("encoder", "head"), [*product(SMALL, ["lstm"]), *product(["shallow"], HEADS)])
def test_the_pixels_of_an_invalid_frame_change_no_logit(encoder: str, head: str) -> None:
    model = make(encoder, head).eval()
    frames, valid = clips()
    noise = torch.where(valid[..., None, None, None], frames, torch.rand_like(frames))
    with torch.no_grad():
        assert torch.equal(model(frames, valid), model(noise, valid))
        before, after = (model.classify(model.pool(model.encode(x), valid)) for x in (frames, noise))
        torch.testing.assert_close(before, after, atol=0, rtol=0)
        torch.testing.assert_close(model(frames, valid), before)  # encoding only the valid frames gives the same


def test_invalid_frames_stay_out_of_the_batch_norm() -> None:
    frames, valid = clips()
    statistics = []
    for fill in (0.0, 1.0):
        model = make("shallow").train()
        model(torch.where(valid[..., None, None, None], frames, torch.tensor(fill)), valid)
        statistics.append({name: value for name, value in model.state_dict().items() if "running" in name})
    assert statistics[0].keys()
    assert all(torch.equal(value, statistics[1][name]) for name, value in statistics[0].items())


def test_a_batch_without_one_valid_frame() -> None:
    model = make("shallow", "lstm").train()
    frames, valid = clips()
    assert model(frames, torch.zeros_like(valid)).isfinite().all()
    assert model(frames * float("nan"), torch.zeros_like(valid)).isfinite().all()


@pytest.mark.parametrize("encoder", list(SMALL))
def test_the_memory_format_of_the_weights_decides(encoder: str) -> None:
    frames, valid = clips()
    as_stored = frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # (B, T, H, W, 3) in memory
    seen: list[bool] = []
    model = make(encoder).eval()
    first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size[0] > 1)
    first.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    with torch.no_grad():
        reference = model(frames, valid)
        torch.testing.assert_close(model(as_stored, valid), reference)
        assert seen == [False, False]
        model.to(memory_format=torch.channels_last)
        for given in (frames, as_stored):
            torch.testing.assert_close(model(given, valid), reference, atol=1e-5, rtol=1e-4)
    assert seen[2:] == [True, True]


def test_forward_is_its_three_steps() -> None:
    model = make("conv4", "gru").eval()
    frames, valid = clips()
    features = model.encode(frames)
    pooled = model.pool(features, valid)
    assert features.shape == (3, 4, model.encoder.dim)
    assert pooled.shape == (3, model.head.dim)
    torch.testing.assert_close(model.classify(pooled), model(frames, valid))
    torch.testing.assert_close(features[1, 2], model.encode(frames[1:2, 2:3])[0, 0])  # row (b, t) is frame (b, t)


@pytest.mark.parametrize("encoder", list(SMALL))
def test_training_under_autocast_on_the_cpu(encoder: str) -> None:
    model = make(encoder, "lstm").train()
    frames, valid = clips()
    with autocast("bf16", torch.device("cpu")):
        loss = model(frames, valid).float().logsumexp(dim=1).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
