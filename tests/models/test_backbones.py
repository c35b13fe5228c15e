"""timm backbones at 64x64: maps of a useful size, pretrained weights from files, and clear refusals."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from fer_id.errors import CheckpointError, ConfigError
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


def test_weights_from_a_file_are_loaded_and_their_normalisation_used(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model("test_resnet", num_classes=1000)
    save_file(published.state_dict(), tmp_path / "weights.safetensors")
    torch.save(published.state_dict(), tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        encoder = TimmEncoder("test_resnet", weights=str(tmp_path / name))
        assert torch.equal(encoder.net.get_parameter("conv1.0.weight"), published.get_parameter("conv1.0.weight"))
        expected = timm.get_pretrained_cfg("test_resnet")
        torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(expected.mean))
        torch.testing.assert_close(encoder.std.flatten(), torch.tensor(expected.std))
    assert (TimmEncoder("test_resnet").mean == 0.5).all()


def test_patches_and_positions_of_a_vit_are_resampled_to_the_crop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model("test_vit", num_classes=1000)
    with torch.no_grad():
        published.get_parameter("pos_embed").fill_(0.7)
    save_file(published.state_dict(), tmp_path / "vit.safetensors")
    encoder = TimmEncoder("test_vit", weights=str(tmp_path / "vit.safetensors"))
    fresh = encoder.net.get_parameter("pos_embed")
    assert fresh.shape[1] == 65
    torch.testing.assert_close(fresh, torch.full_like(fresh, 0.7))
    assert torch.equal(encoder.net.get_parameter("norm.weight"), published.get_parameter("norm.weight"))


def test_weights_of_another_backbone_are_refused_without_a_log_of_timm(tmp_path, caplog, capfd) -> None:
    """timm itself would list every key that it does not know."""
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    save_file({"conv1.0.weight": torch.zeros(9, 9, 3, 3)}, tmp_path / "shape.safetensors")
    for file in ("vit.safetensors", "shape.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{file}: not the weights of timm:test_resnet"):
            TimmEncoder("test_resnet", weights=str(tmp_path / file))
    assert not caplog.records
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda weight: None, r"1 problem\s+- layer2\.0\.conv1\.weight: missing"),  # timm would leave it random
        (lambda weight: torch.full_like(weight, float("nan")), r"layer2\.0\.conv1\.weight: NaN or infinite"),
        (torch.Tensor.long, r"layer2\.0\.conv1\.weight: int64, expected float32"),
    ],
)
def test_a_file_with_a_spoilt_or_missing_weight_is_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    state = timm.create_model("test_resnet").state_dict()
    weight = spoil(state.pop("layer2.0.conv1.weight"))
    save_file(state if weight is None else {**state, "layer2.0.conv1.weight": weight}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=words):
        TimmEncoder("test_resnet", weights=str(tmp_path / "weights.safetensors"))


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"cannot be had .*model\.safetensors of .*/timm/resnet18\.a1_in1k .*model\.weights=FILE"
    ):
        TimmEncoder("resnet18", pretrained=True)
