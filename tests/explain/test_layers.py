"""The encoder layer of Grad-CAM: its choice by size, its output as a map whatever the shape, and an unchanged
network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from timm.models import register_model
from torch import Tensor, nn

from fer_id.errors import ConfigError
from fer_id.explain.layers import as_map, choose_layer, map_sides
from fer_id.models.backbones import TimmEncoder
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.encoders import ConvEncoder, Encoder
from tests.explain.models import ChannelsLast, Weighed

CONFIGS = Path(__file__).resolve().parents[2] / "experiments" / "configs" / "model"
SHIPPED = {
    "cnn_lstm": ("blocks.3.map", 8),
    "cnn_lstm_landmarks": ("blocks.3.map", 8),
    "conv4": ("blocks.3.map", 8),
    "shallow_cnn": ("blocks.2.map", 16),
    "resnet50": ("net.layer2", 8),
    "efficientnet_b0": ("net.blocks.2", 8),
    "compact_vit": ("norm", 8),
}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Plain(Encoder):
    """An encoder that names no maps and uses one in-place ReLU for all layers."""

    def __init__(self) -> None:
        super().__init__(dim=6)
        self.relu = nn.ReLU(inplace=True)
        self.first = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.third = nn.Conv2d(5, 6, 3, stride=4, padding=1)

    def features(self, images: Tensor) -> Tensor:
        x = self.relu(self.first(images))
        x = self.relu(self.second(x))
        return self.relu(self.third(x)).mean(dim=(2, 3))


class Late(nn.Module):
    """A transformer that puts its class token before the patches at the end, as CaiT and XCiT do."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        self.norm = nn.LayerNorm(6)
        self.token = nn.Parameter(torch.ones(1, 1, 6))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.patches(images).flatten(2).transpose(1, 2))
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        return torch.nn.functional.scaled_dot_product_attention(tokens[:, :1], tokens, tokens)[:, 0]


class Wrapped(Encoder):
    """A network that names maps of its own."""

    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        super().__init__(dim=6)
        self.net, self.names = net, list(names)

    def features(self, images: Tensor) -> Tensor:
        return self.net(images)

    def map_names(self) -> list[str]:
        return self.names


class Pairs(nn.Module):
    """A stage that gives a pair, which no map can be taken from, behind one that gives a map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 8, stride=8)
        self.stage = Twice()

    def forward(self, images: Tensor) -> Tensor:
        left, right = self.stage(self.body(images))
        return (left + right).mean(dim=(2, 3))


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.relu()


class Nameless(nn.Module):
    """A network as timm's users register them, with timm's methods and no list of stages."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean(dim=(2, 3))


def fer_id_nameless(pretrained: bool = False, **settings: Any) -> nn.Module:
    return Nameless(**settings)


def fer_id_misnamed(pretrained: bool = False, **settings: Any) -> nn.Module:
    """timm's HRNet, Twins and MViTv2 list modules that they do not have."""
    net = Nameless(**settings)
    net.feature_info = [{"num_chs": 4, "reduction": 4, "module": "block.0"}]  # type: ignore[assignment]
    return net


@pytest.fixture(scope="module")
def vit() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder("test_vit").eval()


def record(encoder: Encoder, name: str) -> Tensor:
    """Return the layer's output without any map hook."""
    outputs: list[Tensor] = []
    handle = encoder.get_submodule(name).register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    with torch.no_grad():
        encoder(IMAGES)
    handle.remove()
    return outputs[-1]


def through(encoder: Encoder, name: str) -> Tensor:
    """Return the layer's map; the map hook leaves the features of the network as they are."""
    maps: list[Tensor] = []
    with torch.no_grad(), as_map(encoder, name) as window:
        window.register_forward_hook(lambda _, __, output: maps.append(output.clone()))
        features = encoder(IMAGES)
    with torch.no_grad():
        assert torch.equal(features, encoder(IMAGES))
    return maps[-1]


def hooks(encoder: Encoder) -> int:
    return sum(len(module._forward_hooks) for module in encoder.modules())


def test_every_shipped_model_has_its_line() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_layer_of_the_shipped_models(name: str) -> None:
    config = ModelConfig(**yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"])
    with torch.device("meta"):
        encoder = build_model(config, classes=5).encoder
        layer, side = SHIPPED[name]
        assert choose_layer(encoder) == layer
        assert map_sides(encoder)[layer] == side >= 8


def test_the_requested_layer_is_used_even_if_the_encoder_does_not_name_it() -> None:
    encoder = ConvEncoder([4, 4, 8, 8], [1, 1, 1, 1])
    assert choose_layer(encoder, "blocks.1.map") == "blocks.1.map"
    assert choose_layer(encoder, "blocks.3.entry") == "blocks.3.entry"


@pytest.mark.parametrize("wanted", ["blocks.4.map", "block", ""])
def test_an_unknown_layer_is_refused_and_the_known_ones_listed_with_their_sizes(wanted: str) -> None:
    encoder = ConvEncoder([4, 4, 8, 8], [1, 1, 1, 1])
    known = r"blocks\.0\.map \(64x64\), blocks\.1\.map \(32x32\), blocks\.2\.map \(16x16\), blocks\.3\.map \(8x8\)"
    with pytest.raises(ConfigError, match=rf"layer={wanted}: .*{known}"):
        choose_layer(encoder, wanted)


def test_a_layer_that_gives_no_map_is_refused(vit: TimmEncoder) -> None:
    with pytest.raises(ConfigError, match=r"layer=net\.fc_norm: .*net\.blocks\.5\.norm1 \(8x8\)"):
        choose_layer(vit, "net.fc_norm")


def test_an_encoder_without_any_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer whose output is a map"):
        choose_layer(Weighed())
    with pytest.raises(ConfigError, match="Known: none"):
        choose_layer(Weighed(), "weights")


def test_where_all_maps_are_coarse_the_finest_is_taken() -> None:
    assert choose_layer(ChannelsLast(side=4)) == "norm"
    assert map_sides(ChannelsLast(side=4)) == {"norm": 4}


def test_an_encoder_that_names_no_maps() -> None:
    """The shared ReLU counts by where it is called last, on a map of 2x2."""
    encoder = Plain()
    assert map_sides(encoder) == {"first": 16, "second": 8, "third": 2, "relu": 2}
    assert choose_layer(encoder) == "second"


def test_an_encoder_without_weights_has_a_layer_too() -> None:
    class Fixed(Encoder):
        def __init__(self) -> None:
            super().__init__(dim=3)
            self.pool = nn.AvgPool2d(8)

        def features(self, images: Tensor) -> Tensor:
            return self.pool(images).mean(dim=(2, 3))

    assert map_sides(Fixed()) == {"pool": 8}


def test_a_backbone_registered_with_timm_that_has_no_list_of_stages() -> None:
    name = register_model(fer_id_nameless).__name__
    encoder = build_model(ModelConfig(encoder=f"timm:{name}", head="mean"), 3).encoder.eval()
    layer = choose_layer(encoder)
    side = map_sides(encoder)[layer]
    assert side >= 8
    assert through(encoder, layer).shape == (2, 6, side, side)


def test_a_list_of_stages_that_do_not_exist_is_no_reason_to_fail() -> None:
    encoder = TimmEncoder(register_model(fer_id_misnamed).__name__).eval()
    assert map_sides(encoder)[choose_layer(encoder)] >= 8


def test_a_class_token_that_joins_late_is_not_counted_among_the_patches() -> None:
    encoder = Wrapped(Late(), ["net.norm"]).eval()
    assert map_sides(encoder) == {"net.norm": 8}
    raw = record(encoder, "net.norm")
    assert torch.equal(through(encoder, "net.norm"), raw.transpose(1, 2).reshape(2, 6, 8, 8))


def test_where_the_named_modules_give_no_map_the_others_are_tried() -> None:
    """timm's PiT lists stages that give a pair of tensors."""
    assert choose_layer(Wrapped(Pairs(), ["net.stage"]).eval()) == "net.body"


def test_tokens_are_seen_as_a_map_without_their_prefix(vit: TimmEncoder) -> None:
    name = choose_layer(vit)
    tokens, seen = record(vit, name), through(vit, name)
    assert name == "net.blocks.5.norm1"
    assert tokens.shape == (2, 1 + 64, 64)
    assert seen.shape == (2, 64, 8, 8)
    for row, column in ((0, 0), (2, 7), (7, 0)):
        assert torch.equal(seen[:, :, row, column], tokens[:, 1 + 8 * row + column])


def test_tokens_are_laid_out_as_the_pixels_are(vit: TimmEncoder) -> None:
    """Before any attention a token knows its own patch alone."""
    changed = IMAGES.clone()
    changed[:, :, 16:24, 40:48] = 0  # cell (2, 5)
    maps = []
    for images in (IMAGES, changed):
        outputs: list[Tensor] = []
        with torch.no_grad(), as_map(vit, "net.blocks.0.norm1") as window:
            window.register_forward_hook(lambda _, __, output, outputs=outputs: outputs.append(output.clone()))
            vit(images)
        maps.append(outputs[0])
    assert (maps[0] != maps[1]).any(dim=1)[0].nonzero().tolist() == [[2, 5]]


def test_channels_that_come_last_are_seen_as_channels() -> None:
    encoder = ChannelsLast().eval()
    assert choose_layer(encoder) == "norm"
    assert torch.equal(through(encoder, "norm"), record(encoder, "norm").permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("make", "name"),
    [(Plain, "second"), (ChannelsLast, "norm"), (lambda: TimmEncoder("test_vit"), None)],
    ids=["overwritten", "channels last", "tokens"],
)
def test_the_map_is_the_layers_output_and_has_its_gradient(make: Callable[[], Encoder], name: str | None) -> None:
    torch.manual_seed(1)
    encoder = make().eval()
    name = name or choose_layer(encoder)
    raw, outputs = record(encoder, name), []
    nudge, images = torch.zeros_like(raw).requires_grad_(), IMAGES.clone().requires_grad_()
    handle = encoder.get_submodule(name).register_forward_hook(lambda _, __, output: output + nudge)
    expected = torch.autograd.grad(encoder(images).square().sum(), [nudge, images])
    handle.remove()
    with as_map(encoder, name) as window:
        window.register_forward_hook(lambda _, __, output: outputs.append(output))
        gradients = torch.autograd.grad(encoder(images).square().sum(), [outputs[0], images])
    for seen, gave in ((outputs[0].detach(), raw), (gradients[0], expected[0])):
        if gave.ndim == 3:
            gave = gave[:, 1:].transpose(1, 2).reshape(seen.shape)
        elif name == "norm":
            gave = gave.permute(0, 3, 1, 2)
        torch.testing.assert_close(seen, gave)
    torch.testing.assert_close(gradients[1], expected[1])


def test_hooks_are_gone_afterwards_also_after_an_exception(vit: TimmEncoder) -> None:
    def fail() -> None:
        with as_map(vit, "net.blocks.5.norm1"):
            assert hooks(vit) == 1
            raise ZeroDivisionError

    map_sides(vit)
    through(vit, "net.blocks.5.norm1")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert hooks(vit) == 0


def test_an_encoder_that_fails_is_not_changed() -> None:
    class Broken(Plain):
        def features(self, images: Tensor) -> Tensor:
            raise ZeroDivisionError

    encoder = Broken().train()
    with pytest.raises(ZeroDivisionError):
        map_sides(encoder)
    assert hooks(encoder) == 0
    assert encoder.training


def test_looking_for_a_layer_changes_neither_mode_nor_statistics() -> None:
    encoder = ConvEncoder([4, 4, 8, 8], [1, 1, 1, 1]).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    choose_layer(encoder)
    assert all(module.training for module in encoder.modules())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
