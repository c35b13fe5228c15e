"""Parameters and multiply-adds against arithmetic and published figures."""

import pytest

from fer_id.models.build import ModelConfig, model_cost


def test_a_small_convolution_by_hand() -> None:
    cost = model_cost(ModelConfig(encoder="shallow", head="mean", widths=[4, 6], convs=[1, 2]), classes=5, frames=3)
    frame = 64 * 64 * 9 * 3 * 4 + 32 * 32 * 9 * (4 * 6 + 6 * 6)
    parameters = 9 * 3 * 4 + 9 * 4 * 6 + 9 * 6 * 6 + 2 * (4 + 6 + 6) + (6 + 1) * 5
    assert (cost.frame, cost.clip, cost.parameters) == (frame, 3 * frame + 6 * 5, parameters)
    # convolution, norm and the block's map at full size, then the pooled map
    assert cost.activations == (3 * 64 * 64 + 32 * 32) * 4 + (5 * 32 * 32 + 16 * 16) * 6


def test_recurrence_is_counted() -> None:
    """An LSTM has four gates, a GRU three, each a matrix of (features + hidden) by hidden."""
    static, lstm, gru = (model_cost(ModelConfig(head=head, hidden=128)) for head in ("mean", "lstm", "gru"))
    assert lstm.clip - static.clip == 10 * 4 * 128 * (256 + 128) - (256 - 128) * 5
    assert gru.clip - static.clip == 10 * 3 * 128 * (256 + 128) - (256 - 128) * 5
    assert lstm.parameters - static.parameters == 4 * 128 * (256 + 128 + 2) - (256 - 128) * 5


def test_a_vision_transformer_by_its_formula() -> None:
    """12 blocks of 12 w^2 per token and 2 n w for the attention (Dosovitskiy et al., 2021), 65 tokens, width 192."""
    cost = model_cost(ModelConfig(encoder="timm:vit_tiny_patch16_224", head="mean"), classes=5)
    assert cost.frame == 64 * 3 * 8 * 8 * 192 + 12 * (65 * 12 * 192**2 + 2 * 65 * 65 * 192)


def test_the_compact_transformer_by_its_formula() -> None:
    """Three 3x3 convolutions on 64, 32 and 16 pixels; six blocks of 8 w^2 per token with an MLP of twice the width."""
    width, tokens = 256, 64
    stem = 9 * (64**2 * 3 * 64 + 32**2 * 64 * 64 + 16**2 * 64 * width)
    blocks = 6 * (tokens * 8 * width**2 + 2 * tokens**2 * width)
    cost = model_cost(ModelConfig(encoder="cct", head="mean"), classes=5)
    assert cost.frame == stem + blocks + 2 * tokens * width  # scores of the tokens, and their weighted mean
    assert cost.frame < model_cost(ModelConfig(encoder="timm:vit_tiny_patch16_224", head="mean")).frame


def test_timms_own_stride_is_a_quarter_of_the_work() -> None:
    halved, own = (model_cost(ModelConfig(encoder="timm:resnet18", head="mean", stride=s)) for s in ("halved", "own"))
    assert own.frame == pytest.approx(halved.frame / 4, rel=0.01)
    assert own.parameters == halved.parameters


def test_timm_models_have_their_published_parameters() -> None:
    """He et al. (2016): ResNet-18 has 11.69 million parameters, of which the 1000-class layer has 513,000."""
    cost = model_cost(ModelConfig("resnet18", "timm:resnet18", "mean"), classes=5)
    assert cost.parameters - 513 * 5 == pytest.approx(11.69e6 - 513_000, rel=1e-3)
    assert (cost.name, cost.encoder, cost.head) == ("resnet18", "timm:resnet18", "mean")


def test_weights_are_not_needed_to_count() -> None:
    config = ModelConfig(encoder="timm:resnet18", head="mean", pretrained=True)
    assert model_cost(config).parameters == model_cost(ModelConfig(encoder="timm:resnet18", head="mean")).parameters
