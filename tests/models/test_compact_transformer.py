"""The compact convolutional transformer: its tokens, pooling and stages, and records of the transformer before it."""

import pytest
import torch

from fer_id.models.build import build_model
from fer_id.models.compact_transformer import BLOCKS, STOCHASTIC_DEPTH, CompactTransformer
from fer_id.models.config import ModelConfig
from fer_id.models.encoders import Encoder

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def encoder() -> CompactTransformer:
    torch.manual_seed(0)
    return CompactTransformer().eval()


def test_a_crop_has_64_tokens_and_a_smaller_one_fewer(encoder: CompactTransformer) -> None:
    assert encoder.tokenizer(IMAGES).shape == (2, 64, 256)
    assert encoder.tokenizer(IMAGES[..., :48, :48]).shape == (2, 36, 256)
    assert encoder(IMAGES[..., :48, :48]).shape == (2, 256)


def test_pooling_is_a_weighted_mean(encoder: CompactTransformer) -> None:
    tokens = torch.randn(3, 5, 256)
    weights = (tokens @ encoder.pool.score.weight[0] + encoder.pool.score.bias).softmax(dim=1)
    torch.testing.assert_close(encoder.pool(tokens), torch.einsum("nl,nld->nd", weights, tokens))
    same = tokens[:, :1].expand(-1, 5, -1)
    torch.testing.assert_close(encoder.pool(same), tokens[:, 0])


def test_stages_hold_every_weight_and_all_of_them_learn(encoder: CompactTransformer) -> None:
    owned = [id(p) for stage in encoder.stages() for p in stage.parameters()]
    assert sorted(owned) == sorted(id(p) for p in encoder.parameters())
    encoder(IMAGES).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_stochastic_depth_rises_to_its_rate_and_is_of_training_alone(encoder: CompactTransformer) -> None:
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.blocks]
    assert rates == pytest.approx([STOCHASTIC_DEPTH * n / (BLOCKS - 1) for n in range(BLOCKS)])
    torch.testing.assert_close(encoder(IMAGES), encoder(IMAGES))


@pytest.mark.parametrize(
    ("recorded", "net"),
    [
        ({"encoder": "timm:vit_tiny_patch16_224", "head": "mean"}, "VisionTransformer"),
        ({"encoder": "timm:resnet18", "head": "mean"}, "ResNet"),
    ],
)
def test_runs_without_the_newer_keys_open_as_what_they_were(recorded: dict[str, str], net: str) -> None:
    encoder: Encoder = build_model(ModelConfig(**recorded), 5).encoder
    assert type(encoder.net).__name__ == net
    last = encoder.net.forward_features(IMAGES)
    assert last.shape == ((2, 1 + 64, 192) if net == "VisionTransformer" else (2, 512, 4, 4))
