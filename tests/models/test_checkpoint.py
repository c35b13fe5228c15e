"""Loading of weights from files, and refusals with one clear message."""

import math
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fer_id.errors import CheckpointError
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.checkpoint import load_encoder, load_model, load_state, read_tensors
from fer_id.models.network import ClipClassifier


def make(seed: int, head: str = "lstm", classes: int = 5, **settings: Any) -> ClipClassifier:
    torch.manual_seed(seed)
    config = ModelConfig(encoder="shallow", head=head, hidden=4, widths=[4, 6], convs=[1, 1])
    return build_model(replace(config, **settings), classes)


def training_checkpoint(model: ClipClassifier, path: Path) -> Path:
    """A file as Lightning writes it: the task's weights under ``model.``, its metrics beside them, and much else."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()} | {"metrics.total": torch.ones(1)}
    content = {"epoch": 3, "state_dict": state, "optimizer_states": [{"state": {}}], "callbacks": {"x": {"best": None}}}
    torch.save(content, path)
    return path


def equal(first: ClipClassifier, second: ClipClassifier, part: str = "") -> bool:
    left, right = first.state_dict(), second.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items() if name.startswith(part))


class Code:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_model_comes_back_from_its_training_checkpoint(tmp_path: Path) -> None:
    saved, fresh = make(0), make(1)
    path = training_checkpoint(saved, tmp_path / "best.ckpt")
    assert not equal(saved, fresh)
    load_model(fresh, path)
    assert equal(saved, fresh)
    assert load_state(path).keys() == saved.state_dict().keys()


def test_a_plain_state_dict_and_safetensors_do_too(tmp_path: Path) -> None:
    saved = make(0)
    torch.save(saved.state_dict(), tmp_path / "plain.pt")
    save_file(saved.state_dict(), tmp_path / "plain.safetensors")
    for name in ("plain.pt", "plain.safetensors"):
        fresh = make(1)
        load_model(fresh, tmp_path / name)
        assert equal(saved, fresh)


def test_an_encoder_moves_between_models_with_other_heads_and_classes(tmp_path: Path) -> None:
    stills, clips = make(0, head="mean", classes=7), make(1, head="gru")
    before = {name: value.clone() for name, value in clips.state_dict().items()}
    load_encoder(clips, training_checkpoint(stills, tmp_path / "best.ckpt"))
    assert equal(stills, clips, "encoder.")
    assert all(torch.equal(value, before[name]) for name, value in clips.state_dict().items() if "encoder" not in name)


def test_an_encoder_alone_in_a_file(tmp_path: Path) -> None:
    saved = make(0)
    save_file(saved.encoder.state_dict(), tmp_path / "encoder.safetensors")
    fresh = make(1)
    load_encoder(fresh, tmp_path / "encoder.safetensors")
    assert equal(saved, make(2, weights=str(tmp_path / "encoder.safetensors")), "encoder.")
    assert equal(saved, fresh, "encoder.")


def test_another_model_is_refused_with_every_difference_and_nothing_changes(tmp_path: Path) -> None:
    path = training_checkpoint(make(0, head="gru", classes=7), tmp_path / "best.ckpt")
    model, before = make(1), make(1)
    with pytest.raises(CheckpointError) as caught:
        load_model(model, path)
    message = str(caught.value)
    assert str(path) in message
    assert "classifier.1.weight: shape (7, 4), expected (5, 4)" in message
    assert equal(model, before)
    with pytest.raises(CheckpointError, match=r"blocks\.2\.entry.* missing"):
        load_encoder(make(0, widths=[4, 6, 8], convs=[1, 1, 1]), path)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_does_not_run(tmp_path: Path, legacy: bool) -> None:
    trap, path = tmp_path / "trap", tmp_path / "best.ckpt"
    content = {"state_dict": {"model.x": torch.ones(1)}, "hyper_parameters": Code(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    refusal = r"best\.ckpt: holds more than weights.*posix.mkdir.*nothing of it was run"
    with pytest.raises(CheckpointError, match=refusal):
        load_state(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert trap.exists()


@given(keep=st.floats(0, 0.99))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"best{suffix}"
    model = make(0)
    if suffix == ".ckpt":
        training_checkpoint(model, path)
    else:
        save_file(model.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(CheckpointError, match=r"truncated, damaged"):
        load_state(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "truncated, damaged"),
        (b"not weights at all\n", "truncated, damaged"),
        ({"epoch": 1}, "epoch are no named tensors"),
        ({}, "holds no weights"),
        ([torch.ones(1)], "holds no weights"),
        ({1: torch.ones(1)}, "1 are no named tensors"),
    ],
)
def test_files_that_hold_no_weights(tmp_path: Path, content: Any, expected: str) -> None:
    path = tmp_path / "file.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=expected):
        read_tensors(path)


def test_a_file_of_torch_under_the_ending_of_safetensors_is_named(tmp_path: Path) -> None:
    torch.save(make(1).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"not safetensors; give the file the ending \.pt"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match="no such file"):
            load_state(path)


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused_unread(tmp_path: Path) -> None:
    """From the directory of the zip: neither its checksums nor its tensors are looked at."""
    path = tmp_path / "best.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts, parts.open("archive/data.pkl", "w") as part:
        for _ in range(100):
            part.write(bytes(2**20))
    with pytest.raises(CheckpointError, match="claim to hold 100 MB") as caught:
        read_tensors(path)
    assert "damaged" not in str(caught.value)


def holding(value: torch.Tensor, number: float, place: int = 0) -> torch.Tensor:
    value.view(-1)[place] = number
    return value


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda value: holding(value, math.nan), "NaN or infinite values"),
        (lambda value: holding(value, -math.inf, -1), "NaN or infinite values"),
        (lambda value: holding(value.half(), math.nan), "NaN or infinite values"),
        (torch.Tensor.int, "int32, expected float32"),
        (torch.Tensor.bool, "bool, expected float32"),
        (torch.Tensor.double, "float64, expected float32"),
        (lambda value: value.to(torch.complex64), "complex64, expected float32"),
        (torch.Tensor.to_sparse, "sparse, quantised or without values"),
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "sparse, quantised or without values"),
    ],
)
@pytest.mark.parametrize("load", [load_model, load_encoder])
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path: Path, load: Any, spoil: Any, words: str) -> None:
    model, before, path = make(0), make(0), tmp_path / "best.ckpt"
    name = "encoder.blocks.0.entry.0.weight"
    state = {f"model.{key}": value.clone() for key, value in make(1).state_dict().items()}
    torch.save({"state_dict": {**state, f"model.{name}": spoil(state[f"model.{name}"])}}, path)
    with pytest.raises(CheckpointError) as caught:
        load(model, path)
    assert f"{path}: not usable as weights" in str(caught.value)
    assert f"{name.removeprefix('encoder.') if load is load_encoder else name}: {words}" in str(caught.value)
    assert ("Its training failed" if "NaN" in words else "plain tensors of float32") in str(caught.value)
    assert equal(model, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_with_a_line(tmp_path: Path, dtype: torch.dtype, capsys: Any) -> None:
    saved, fresh = make(0), make(1)
    state = {name: value.to(dtype) if value.ndim else value for name, value in saved.state_dict().items()}
    torch.save(state, tmp_path / "half.pt")
    load_model(fresh, tmp_path / "half.pt")
    assert f"weights in {str(dtype).removeprefix('torch.')} are widened to float32" in capsys.readouterr().err
    for name, value in fresh.state_dict().items():
        assert value.dtype == saved.state_dict()[name].dtype
        torch.testing.assert_close(value, state[name].to(value.dtype), rtol=0, atol=0)


def test_archives_and_pickles_are_refused_without_advice_to_load_them_unsafely(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Code(trap)}))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"x": [1.0]}))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "b.pkl", "pickle")
    kinds = {"a.pkl": "more than weights|is a pickle", "b.pkl": "is a pickle", "a.tar": "is a tar archive"}
    for name, kind in kinds.items():
        with pytest.raises(CheckpointError, match=kind) as caught:
            read_tensors(tmp_path / name)
        assert "weights_only" not in str(caught.value)
        assert "nothing of it was run" in str(caught.value)
    assert not trap.exists()
