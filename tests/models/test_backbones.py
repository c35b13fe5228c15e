"""timm backbones at 64x64: maps of a useful size, and clear refusals."""

import pytest
import torch

from fer_id.errors import ConfigError
from fer_id.models.backbones import TimmEncoder, fit_to_crop
from fer_id.models.build import ModelConfig, build_model

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "dim", "side"),
    [
        ("resnet18", 512, 4),
        ("efficientnet_b0", 1280, 4),
        ("mobilenetv3_small_100", 1024, 4),
        ("convnext_atto", 320, 4),
        ("swin_tiny_patch4_window7_224", 768, 4),
        ("vit_tiny_patch16_224", 192, 0),
    ],
)
def test_backbones_end_in_a_useful_map(name: str, dim: int, side: int) -> None:
    assert fit_to_crop(name)[2:] == (dim, side)


@pytest.mark.parametrize(("name", "side"), [("resnet50", 2), ("efficientnet_b0", 2), ("vit_tiny_patch16_224", 0)])
def test_timms_own_stride_is_left_as_it_is(name: str, side: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_to_crop(name, "own")[1::2] == (False, side)
    TimmEncoder(name, "own")
    assert not capsys.readouterr().err  # a coarse map that was asked for
    assert "patch_size" not in fit_to_crop(name, "own").sizes


def test_resnet50_keeps_a_4x4_map_and_learns() -> None:
    model = build_model(ModelConfig(encoder="timm:resnet50", head="mean"), classes=7)
    assert model.encoder.get_submodule("net").forward_features(IMAGES).shape == (2, 2048, 4, 4)
    logits = model(IMAGES.unsqueeze(1), torch.ones(2, 1, dtype=torch.bool))
    logits.square().sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in model.parameters())


def test_the_compact_vit_has_64_tokens() -> None:
    net = TimmEncoder("vit_tiny_patch16_224").net
    assert net.forward_features(IMAGES).shape == (2, 1 + 64, 192)


def test_a_backbone_that_takes_no_small_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"crossvit_tiny_240 takes no 64x64 images .*choose another"):
        fit_to_crop("crossvit_tiny_240")
