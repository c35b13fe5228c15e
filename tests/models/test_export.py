"""The ONNX of every head gives torch's logits, with frames missing anywhere, frame by frame where the head allows
it."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch

from fer_id.models.build import HEAD_CLASSES, build_model
from fer_id.models.config import HEADS, ModelConfig
from fer_id.models.export import (
    CLIP,
    STEP,
    TOLERANCE,
    OnnxModel,
    _advance,
    _state,
    export_onnx,
    latency,
    marked,
    noise_clips,
    parity,
)
from fer_id.models.heads import WINDOW
from fer_id.models.network import ClipClassifier

FRAMES = 5
RUNNING = ("running_set", "running_lstm")
SMALL = {"widths": [4, 4, 8, 8], "convs": [1, 1, 1, 1], "hidden": 8}


@cache
def exported(head: str, landmarks: int = 0) -> tuple[ClipClassifier, OnnxModel]:
    """A small CNN with weights and batch statistics of its own, and its ONNX."""
    torch.manual_seed(1)
    model = build_model(ModelConfig(head=head, landmarks=landmarks, **SMALL), 5)
    clip = next(noise_clips(1, FRAMES, seed=9))
    for _ in range(3):
        model.train()(*clip)
    return model.eval(), OnnxModel(export_onnx(model, FRAMES))


@pytest.fixture(scope="module")
def lstm() -> tuple[ClipClassifier, OnnxModel]:
    """The paper's shape, in small."""
    return exported("lstm")


def test_space_to_depth_gives_torchs_logits() -> None:
    config = ModelConfig(encoder="shallow", head="mean", widths=[4, 8], convs=[1, 1], space_to_depth=True)
    model = build_model(config, 5).eval()
    same = parity(model, OnnxModel(export_onnx(model, FRAMES)), noise_clips(12, FRAMES, seed=2))
    assert same["max_difference"] < TOLERANCE


@pytest.mark.slow  # the lstm, below, is the model of the project
@pytest.mark.parametrize("head", [head for head in HEADS if head != "lstm"])
def test_every_head_gives_torchs_logits(head: str) -> None:
    model, onnx = exported(head)
    same = parity(model, onnx, noise_clips(12, FRAMES, seed=2))
    assert same["max_difference"] < TOLERANCE
    assert (same["clips"], same["frames_without_face"] > 0) == (12, True)
    assert onnx.exported.kind == (STEP if head in ("gru", "mean", "set", "last", *RUNNING) else CLIP)
    shorter = next(noise_clips(1, FRAMES - 2, seed=3))
    assert parity(model, onnx, [shorter])["max_difference"] < TOLERANCE


def test_the_lstm_steps_through_clips_of_any_length(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    model, onnx = lstm
    assert onnx.exported.state == {"h": 8, "c": 8}
    for length in (1, FRAMES, 30):
        assert parity(model, onnx, noise_clips(6, length, seed=length))["max_difference"] < TOLERANCE


def test_each_step_gives_the_logits_of_the_clip_so_far(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    model, onnx = lstm
    frames, valid, landmarks = next(noise_clips(1, 8, seed=4))
    valid[0, :2], valid[0, 2], valid[0, 4:6] = False, True, False
    state = onnx.start()
    for step in range(8):
        outputs = onnx.run([frames[:, step], valid[:, step]], state)
        state = {"h": outputs["next_h"], "c": outputs["next_c"]}
        if valid[0, : step + 1].any():
            with torch.inference_mode():
                expected = model(frames[:, : step + 1], valid[:, : step + 1], landmarks)
            assert np.abs(outputs["logits"] - expected.numpy()).max() < TOLERANCE


@pytest.mark.parametrize("head", RUNNING)
def test_a_running_baseline_streams_beyond_its_window(head: str) -> None:
    """Each step gives the pooled vector of the clip so far, whatever frames lack a face."""
    pool = HEAD_CLASSES[head](3, 4, 0.0).eval()
    features = torch.randn(1, WINDOW + 6, 3, generator=torch.Generator().manual_seed(2))
    valid = torch.ones(1, WINDOW + 6, dtype=torch.bool)
    valid[0, [0, 3, 4]] = False
    state = [torch.zeros(1, size) for size in _state(pool).values()]
    with torch.no_grad():
        for step in range(features.shape[1]):
            pooled, state = _advance(pool, features[:, step], valid[:, step : step + 1], state)
            if step:
                so_far = pool(features[:, : step + 1], valid[:, : step + 1])
                torch.testing.assert_close(pooled, so_far, atol=1e-5, rtol=1e-4)


def test_the_compact_transformer_is_exported() -> None:
    torch.manual_seed(0)
    model = build_model("compact_vit", 5).eval()
    onnx = OnnxModel(export_onnx(model, FRAMES))
    assert parity(model, onnx, noise_clips(2, 2, seed=1))["max_difference"] < TOLERANCE


def test_frames_without_a_face_change_nothing_whatever_they_hold(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    _, onnx = lstm
    state = onnx.start()
    for frame in (torch.zeros(1, 3, 64, 64), torch.full((1, 3, 64, 64), float("nan"))):
        outputs = onnx.run([frame, torch.tensor([False])], state)
        assert not outputs["next_h"].any()
        assert not outputs["next_c"].any()


def test_clips_without_one_face_are_left_out(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    model, onnx = lstm
    frames, valid, landmarks = next(noise_clips(1, FRAMES, seed=5))
    same = parity(model, onnx, [(frames, torch.zeros_like(valid), landmarks)])
    assert (same["clips"], same["max_difference"]) == (0, None)


def test_another_models_logits_differ(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    _, onnx = lstm
    torch.manual_seed(2)
    other = build_model(ModelConfig(head="lstm", **SMALL), 5).eval()
    assert parity(other, onnx, noise_clips(2, FRAMES, seed=6))["max_difference"] > TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("head", ["lstm", "attention"])
def test_landmarks_go_in_too(head: str) -> None:
    model, onnx = exported(head, landmarks=16)
    frames, valid, landmarks = next(noise_clips(1, FRAMES, seed=7))
    valid[:] = True
    gone = landmarks.clone()
    gone[:, 1] = float("nan")
    assert parity(model, onnx, [(frames, valid, landmarks), (frames, valid, gone)])["max_difference"] < TOLERANCE
    moved = np.abs(onnx.logits((frames, valid, landmarks)) - onnx.logits((frames, valid, gone))).max()
    assert moved > TOLERANCE


def test_a_clip_that_is_too_long_is_refused() -> None:
    _, onnx = exported("attention")
    with pytest.raises(ValueError, match="6 frames for a model of 5"):
        onnx.logits(next(noise_clips(1, 6, seed=0)))


def test_marks_stay_with_the_file(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    content = marked(lstm[1].exported.content, {"kind": "demonstration"})
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"kind": "demonstration"}


def test_latency_is_of_one_call(lstm: tuple[ClipClassifier, OnnxModel]) -> None:
    took = latency(lstm[1], calls=5, warm_up=1)
    assert 0 < took["median"] <= took["p95"]
    assert (took["calls"], took["per"]) == (5, "frame")
