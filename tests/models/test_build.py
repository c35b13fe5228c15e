"""Construction of a model from a config, and every refusal of a config."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_id.errors import ConfigError
from fer_id.models.build import ModelConfig, build_model, model_cost
from fer_id.models.config import HEADS, least_side, model_problems, without_effect


def test_the_default_is_the_paper_s_cnn_lstm() -> None:
    model = build_model(ModelConfig(), classes=5)
    assert (model.encoder.dim, model.head.dim) == (256, 128)
    features = model.encoder.get_submodule("blocks")(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, 256, 4, 4)  # four max pools


def test_convs_and_residual_shape_the_blocks() -> None:
    plain, skip = (
        build_model(ModelConfig(head="mean", widths=[4, 4, 4, 4], convs=[1, 2, 3, 1], residual=residual), 5).eval()
        for residual in (False, True)
    )
    skip.load_state_dict(plain.state_dict())  # a residual connection has no weights
    convs = [name for name, module in plain.encoder.named_modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convs) == 7
    frames, valid = torch.rand(1, 1, 3, 64, 64), torch.ones(1, 1, dtype=torch.bool)
    assert not torch.allclose(plain(frames, valid), skip(frames, valid))


@pytest.mark.parametrize("side", [8, 7])
def test_space_to_depth_gives_the_first_block_2x2_pixels_as_channels(side: int) -> None:
    config = ModelConfig(encoder="shallow", head="mean", widths=[4, 6], convs=[1, 2], space_to_depth=True)
    encoder = build_model(config, 5).eval().encoder
    images = torch.rand(2, 3, side, side)
    padded = np.pad((images.numpy() - 0.5) / 0.5, ((0, 0), (0, 0), (0, 8 - side), (0, 8 - side)))
    depth = padded.reshape(2, 3, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, 12, 4, 4)
    expected = encoder.get_submodule("blocks")(torch.from_numpy(depth)).mean(dim=(2, 3))
    torch.testing.assert_close(encoder(images), expected)
    assert least_side(config) == 8
    assert model_cost(config, 5).clip < model_cost(replace(config, space_to_depth=False), 5).clip


def test_all_problems_are_listed_together() -> None:
    config = ModelConfig(encoder="conv44", head="lstn", hidden=0, dropout=1.5, weights="nowhere.pt", convs=[1])
    with pytest.raises(ConfigError) as caught:
        build_model(config, classes=1)
    message = str(caught.value)
    assert "'conv44' is unknown (did you mean 'conv4'?); known: conv4, shallow, cct, timm:<name>" in message
    assert "'lstn' is unknown (did you mean 'lstm'?); known: mean, last, set" in message
    for part in ("model.hidden: 0", "model.dropout: 1.5", "no file 'nowhere.pt'", "classes: 1"):
        assert part in message
    assert "model.convs" not in message  # their meaning depends on the encoder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ModelConfig(encoder="timm:resnet5", head="mean"), "timm:resnet50"),
        (ModelConfig(encoder="timm:resnet18.nonsense"), "resnet18.a1_in1k"),
        (ModelConfig(encoder="timm:hf-hub:somebody/model"), "timm has no model 'hf-hub:somebody/model'"),
        (ModelConfig(encoder="timm:"), "timm has no model ''"),
        (
            ModelConfig(encoder="timm:nowhere", head="mean"),
            "; `fer-id models 'model=timm:*NAME*'` lists",
        ),
        (
            ModelConfig(encoder="timm:resnet18*"),
            "expected one name; choose one of timm:resnet18, timm:resnet18d",
        ),
        (ModelConfig(encoder="timm:resnet*"), "`fer-id models 'model=timm:resnet*'` lists all"),
        (ModelConfig(encoder="timm:RESNET18"), "(did you mean one of timm:resnet18,"),
        (ModelConfig(encoder="timm:efficientnet-b0"), "(did you mean one of timm:efficientnet_b0,"),
        (ModelConfig(widths=[8, 8]), "expected 4 positive integers for conv4"),
        (ModelConfig(encoder="shallow", widths=[8, 8]), "model.widths: has 2 blocks, model.convs 3"),
        (ModelConfig(encoder="shallow", widths=[8, 0, 8]), "[8, 0, 8], expected at least 1"),
        (ModelConfig(head="transformer", hidden=6), "a multiple of 4"),
        (ModelConfig(pretrained=True), "conv4 has no published weights"),
        (ModelConfig(encoder="timm:resnet18", pretrained=True, weights=__file__), "give one of them"),
        (ModelConfig(weights=__file__, weights_match="order"), "order is for timm:NAME, and conv4 is none"),
        (ModelConfig(encoder="timm:resnet18", weights_match="order"), "there is no file to match; say model.weights="),
        (ModelConfig(dropout=float("nan")), "model.dropout: nan"),
        (ModelConfig(encoder="timm:resnet18", residual=True), "model.residual: true, but timm:resnet18 has no such"),
        (ModelConfig(encoder="timm:resnet18", residual=True), "say model.residual=false"),
        (ModelConfig(encoder="cct", space_to_depth=True), "model.space_to_depth: true, but cct has no such setting"),
        (ModelConfig(encoder="timm:resnet18", widths=[8]), "say model.widths=[]"),
        (ModelConfig(encoder="cct", widths=[8]), "but cct has no such setting, only conv4, shallow have it"),
        (ModelConfig(encoder="cct", pretrained=True), "cct has no published weights"),
        (ModelConfig(stride="own"), "only timm:<name> have it; say model.stride=halved"),
        (ModelConfig(encoder="timm:resnet18", stride="full"), "expected one of halved, own"),
    ],
)
def test_each_problem_says_what_was_expected(config: ModelConfig, expected: str) -> None:
    problems = model_problems(config)
    assert len(problems) == 1
    assert expected in problems[0]


@pytest.mark.parametrize("head", HEADS)
def test_hidden_is_noted_where_a_head_does_not_read_it(head: str) -> None:
    def parameters(hidden: int) -> int:
        return model_cost(ModelConfig(head=head, hidden=hidden)).parameters

    lines = without_effect(ModelConfig(head=head, hidden=64))
    assert bool(lines) == (parameters(64) == parameters(128))
    assert all(f"model.hidden=64 has no effect: head {head}" in line for line in lines)
    assert without_effect(ModelConfig(head=head)) == []


def test_every_head_passes() -> None:
    assert [model_problems(ModelConfig(head=head)) for head in HEADS] == [[]] * len(HEADS)


def test_the_config_needs_no_torch() -> None:
    code = "import sys, fer_id.models.config; print('torch' in sys.modules, 'timm' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
