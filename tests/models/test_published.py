"""Weights that others published: timm's own files, files of the same network under other names, and clear refusals."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from fer_id.errors import CheckpointError
from fer_id.models.backbones import TimmEncoder
from fer_id.models.build import ModelConfig, build_model


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


@pytest.mark.parametrize("lost", ["bn1.weight", "bn1.bias", "bn1.running_mean", "layer1.0.bn1.running_var"])
def test_a_missing_weight_of_a_constant_beginning_is_noticed(tmp_path: Path, lost: str) -> None:
    state = timm.create_model("resnet18").state_dict()
    save_file({name: value for name, value in state.items() if name != lost}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=rf"1 problem\s+- {lost}: missing"):
        TimmEncoder("resnet18", weights=str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_a_file_of_every_kind_of_backbone_is_whole(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model(name).state_dict()}, tmp_path / "weights.pt")
    state = torch.random.get_rng_state()
    encoder = TimmEncoder(name, "own", weights=str(tmp_path / "weights.pt"))
    assert not hasattr(encoder.net, "pretrained_cfg") or "state_dict" not in encoder.net.pretrained_cfg
    assert torch.equal(state, torch.random.get_rng_state())


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"cannot be had .*model\.safetensors of .*/timm/resnet18\.a1_in1k .*model\.weights=FILE"
    ):
        TimmEncoder("resnet18", pretrained=True)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """torchvision's MobileNetV2, every tensor of which has another name in timm, and the file of its weights."""
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v2(num_classes=12).eval()
    with torch.no_grad():  # else the running statistics are all the same, whichever tensor they are taken from
        for tensor in net.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape).add(0.5) if tensor.ndim == 1 else torch.randn(tensor.shape) * 0.1)
    path = tmp_path_factory.mktemp("theirs") / "mobilenet_v2.pth"
    torch.save(net.state_dict(), path)
    return net, path


def test_another_librarys_weights_are_taken_by_order_and_compute_the_same(theirs, capsys) -> None:
    net, path = theirs
    encoder = TimmEncoder("mobilenetv2_100", "own", weights=str(path), weights_match="order").eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = net.features(images).mean((2, 3))
        torch.testing.assert_close(encoder.features(images), expected)
    assert expected.std() > 0
    assert "state_dict" not in encoder.net.pretrained_cfg
    assert "262 tensors taken as those of timm:mobilenetv2_100 by order, shape and kind" in capsys.readouterr().err
    config = ModelConfig(encoder="timm:mobilenetv2_100", head="mean", weights=str(path), weights_match="order")
    built = build_model(config, classes=7).encoder.get_submodule("net")
    assert torch.equal(built.get_parameter("conv_stem.weight"), net.get_parameter("features.0.0.weight"))


def test_by_name_such_a_file_is_refused_and_the_other_way_named(theirs) -> None:
    with pytest.raises(CheckpointError, match=r"conv_stem\.weight: missing[\s\S]*model\.weights_match=order"):
        TimmEncoder("mobilenetv2_100", weights=str(theirs[1]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda state: state.pop("classifier.1.bias"),
            r"262\. no tensor, expected classifier\.bias \(1000,\)\s+- 261 tensors, expected 262, or 260 without",
        ),
        (lambda state: state.update(epoch=torch.tensor(3)), r"263\. epoch \(\), expected no more\s+- 263 tensors"),
        (
            lambda state: state.update({"features.0.0.weight": torch.zeros(32, 1, 3, 3)}),
            r"1\. features\.0\.0\.weight \(32, 1, 3, 3\), expected conv_stem\.weight \(32, 3, 3, 3\)",
        ),
        (
            lambda state: state.update({"features.0.1.weight": torch.full((32,), float("nan"))}),
            r"bn1\.weight: NaN or infinite",
        ),
        (
            lambda state: state.update({"features.0.1.bias": state.pop("features.0.1.bias")}),  # now the last one
            r"3\. features\.0\.1\.running_mean \(32,\), expected bn1\.bias \(32,\)",
        ),
    ],
)
def test_a_file_of_another_order_number_or_shape_is_refused(theirs, tmp_path: Path, spoil: Any, words: str) -> None:
    state = dict(theirs[0].state_dict())
    spoil(state)
    torch.save(state, tmp_path / "spoilt.pth")
    with pytest.raises(CheckpointError, match=words):
        TimmEncoder("mobilenetv2_100", weights=str(tmp_path / "spoilt.pth"), weights_match="order")


def test_of_another_network_the_first_place_and_the_number_are_named(theirs) -> None:
    with pytest.raises(CheckpointError) as refused:
        TimmEncoder("mobilenetv3_small_050", weights=str(theirs[1]), weights_match="order")
    assert str(refused.value).endswith(
        "not the tensors of timm:mobilenetv3_small_050 in their order: 2 problems\n"
        "  - 1. features.0.0.weight (32, 3, 3, 3), expected conv_stem.weight (16, 3, 3, 3)\n"
        "  - 262 tensors, expected 210, or 208 without the classifier\n"
        "Give the weights of the network that timm calls mobilenetv3_small_050, its tensors as they were made, not "
        "sorted."
    )


def test_an_encoder_without_its_classifier_is_taken_too_and_safetensors_are_not(theirs, tmp_path: Path) -> None:
    net, _ = theirs
    torch.save(net.features.state_dict(), tmp_path / "features.pth")
    encoder = TimmEncoder("mobilenetv2_100", weights=str(tmp_path / "features.pth"), weights_match="order")
    assert torch.equal(encoder.net.get_parameter("conv_head.weight"), net.get_parameter("features.18.0.weight"))
    save_file(net.state_dict(), tmp_path / "sorted.safetensors")
    with pytest.raises(CheckpointError, match="safetensors keep no order"):
        TimmEncoder("mobilenetv2_100", weights=str(tmp_path / "sorted.safetensors"), weights_match="order")
