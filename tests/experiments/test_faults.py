"""Trainings that are killed or interrupted, or have a full disk or faulty input: their messages, and no lost work."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data_modules.dataset import ClipDataset
from experiments.cli import DONE, USERS_FAULT, main
from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.models.checkpoint import read_tensors
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.experiments.messages import DRAWING, Capture, Tiny, Trained, contents, refusal, stop, train

Same = Callable[[RunDir, RunDir], bool]

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL


# ------------------------------------------------------------------------------- checkpoints that a power cut spoilt


@pytest.fixture(scope="module")
def straight(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Run of three epochs without a fault."""
    return train(tiny(drawn, tmp_path_factory.mktemp("straight"), *DRAWING))


@pytest.fixture
def training(drawn: Path, tiny: Tiny, tmp_path: Path) -> Trained:
    """Arguments and folder of a training like ``straight``."""
    return tiny(drawn, tmp_path, *DRAWING), RunDir(tmp_path / "a")


@pytest.fixture
def begun(training: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Training interrupted by Ctrl-C at a step of its second epoch."""
    stop(monkeypatch, ClipClassification, "training_step", 4, training[0])
    return training


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Flip a bit of a weight, which torch alone does not detect."""
    content = bytearray(path.read_bytes())
    name, weight = next((k, v) for k, v in read_tensors(path).items() if v.numel() > 400)
    at = bytes(content).index(weight.numpy().tobytes())
    content[at + 100] ^= 1
    path.write_bytes(bytes(content))
    assert name in torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    "spoil", [cut, *(pytest.param(way, marks=pytest.mark.slow) for way in (flip, empty, Path.unlink))]
)
def test_the_previous_checkpoint_is_taken_where_the_last_is_spoilt(
    spoil: Callable[[Path], None], straight: RunDir, begun: Trained, capsys: Capture, same: Same
) -> None:
    arguments, run = begun
    spoil(run.checkpoint("last"))
    capsys.readouterr()
    assert main(arguments) == DONE
    output = capsys.readouterr().err
    assert ("last.ckpt is not whole" in output) == (spoil is not Path.unlink)
    assert "from its last whole checkpoint" in output
    assert same(run, straight)


BEST_LOST = "last.ckpt is whole, but best.ckpt of its time is damaged or missing"


@pytest.mark.parametrize(
    ("which", "spoil", "obstacle"),
    [
        ("best", cut, BEST_LOST),
        pytest.param("best", Path.unlink, BEST_LOST, marks=pytest.mark.slow),
        ("last", cut, "no whole checkpoint left"),
    ],
)
def test_without_a_whole_checkpoint_it_trains_from_the_beginning(
    which: str,
    spoil: Callable[[Path], None],
    obstacle: str,
    straight: RunDir,
    begun: Trained,
    capsys: Capture,
    same: Same,
) -> None:
    arguments, run = begun
    for path in (run.path / "checkpoints").glob(f"{which}*.ckpt"):
        spoil(path)
    assert main(arguments) == DONE
    assert f"{obstacle}: training from the beginning" in capsys.readouterr().err
    assert same(run, straight)


def test_a_moved_run_is_resumed(
    straight: RunDir, drawn: Path, tiny: Tiny, tmp_path: Path, begun: Trained, same: Same
) -> None:
    (tmp_path / "there").mkdir()
    begun[1].path.rename(tmp_path / "there" / "a")
    run = train(tiny(drawn, tmp_path / "there", *DRAWING))
    assert same(run, straight)
    assert str(tmp_path).encode() not in run.checkpoint("last").read_bytes()


def test_a_spoilt_record_is_mended_from_the_checkpoint(straight: RunDir, begun: Trained, same: Same) -> None:
    arguments, run = begun
    (run.path / "metrics.jsonl").write_bytes(b"\x00\xff no lines")
    assert main(arguments) == DONE
    assert same(run, straight)


# ------------------------------------------------------------------------------------------ files of a begun run


@pytest.mark.parametrize("name", ["config.yaml", "job.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\x80", b"[1, 2"])
def test_a_begun_run_without_its_records_is_refused(
    name: str, content: bytes | None, tmp_path: Path, straight: RunDir
) -> None:
    run = RunDir.create(tmp_path / "run", {"seed": 1}, Job())
    (run.path / "checkpoints" / "last.ckpt").write_bytes(straight.checkpoint("last").read_bytes())
    (run.path / name).unlink()
    if content is not None:
        (run.path / name).write_bytes(content)
    before = contents(run)
    with pytest.raises(RunError, match=rf"(?s){name}.*put the file back, choose another name=, or remove the folder"):
        RunDir.create(run.path, {"seed": 1}, Job())
    assert contents(run) == before


@pytest.mark.parametrize(
    ("name", "says"), [("metrics.json", "fer-id evaluate"), ("predictions.parquet", "it predicts anew")]
)
def test_a_finished_run_with_a_spoilt_file_says_how_to_make_it_again(
    name: str, says: str, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    arguments = tiny(drawn, tmp_path, "name=a")
    run = train(arguments)
    good = run.predictions()
    (run.path / name).write_bytes(b"{")
    again = arguments if name == "metrics.json" else ["evaluate", str(run.path)]
    capsys.readouterr()
    output = refusal(capsys, again)
    assert name in output
    assert says in output
    if name == "metrics.json":
        assert main(["evaluate", str(run.path)]) == DONE
    else:
        (run.path / "DONE").unlink()
    assert main(arguments) == DONE
    pd.testing.assert_frame_equal(run.predictions(), good)


# ------------------------------------------------------------------------------------------ disks that refuse


REFUSALS = {errno.ENOSPC: "the disk is full", errno.EROFS: "the disk is read-only", errno.EDQUOT: "quota is used up"}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (errno.ENOSPC, "last.ckpt"),
        *(
            pytest.param(errno.ENOSPC, name, marks=pytest.mark.slow)
            for name in ("config.yaml", "best.ckpt", "metrics.jsonl", "predictions.parquet")
        ),
        *(pytest.param(code, "best.ckpt", marks=pytest.mark.slow) for code in (errno.EROFS, errno.EDQUOT)),
    ],
)
def test_a_full_disk_loses_nothing_but_time(
    code: int,
    name: str,
    straight: RunDir,
    training: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    same: Same,
) -> None:
    arguments, run = training
    sync, seen = os.fsync, list[str]()

    def refuse(handle: int) -> None:
        if f"/.{name}." in str(Path(f"/proc/self/fd/{handle}").readlink()):
            seen.append(name)
            if len(seen) == (2 if name in ("last.ckpt", "metrics.jsonl") else 1):  # of these two the second
                raise OSError(code, os.strerror(code))
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        assert main(arguments) == USERS_FAULT
    output = capsys.readouterr().err
    assert REFUSALS[code] in output
    assert f"{name}; nothing half-written is left" in output
    assert "Traceback" not in output
    assert not [path for path in run.path.rglob(".*") if path.name != ".lock"]
    assert main(arguments) == DONE
    assert same(run, straight)


# ------------------------------------------------------------------------------------------ two processes on one run


def test_a_second_process_is_refused_and_changes_nothing(begun: Trained, capsys: Capture) -> None:
    arguments, run = begun
    before = contents(run)
    with locked(run.path, RunError):
        assert main(arguments) == USERS_FAULT
    output = capsys.readouterr().err
    assert f"{run.path}: another process is working there" in output
    assert contents(run) == before
    assert main(arguments) == DONE


def test_forked_processes_do_not_hold_the_lock_of_a_killed_training(tmp_path: Path) -> None:
    """Loader processes outlive a killed training by a few seconds."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from fer_id.errors import RunError; from fer_id.files import locked\n"
        "with locked(Path(sys.argv[1]), RunError):\n"
        "    if os.fork() == 0: print('in', flush=True)\n"
        "    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"  # the child runs
        process.kill()
        assert process.wait() == KILLED
        with locked(tmp_path, RunError):  # the child is still there
            os.killpg(process.pid, signal.SIGKILL)


# ------------------------------------------------------------------------------------------ numbers that are none


def finite(run: RunDir) -> bool:
    weights = read_tensors(run.checkpoint("last")).values()
    return all(bool(torch.isfinite(tensor).all()) for tensor in weights if tensor.is_floating_point())


def test_an_absurd_learning_rate_does_not_replace_good_weights(
    drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    absurd = ("optim.name=adamw", "optim.lr=10", "optim.weight_decay=1", "trainer.max_epochs=60", "trainer.patience=0")
    arguments, run = tiny(drawn, tmp_path, *absurd, "name=a"), RunDir(tmp_path / "a")
    output = refusal(capsys, arguments)
    # Batch normalisation keeps the loss finite for longer than the statistics it is made with.
    assert re.search(
        r"weights are not finite after epoch \d+, step \d+, at learning rate 10, so they are not saved", output
    )
    assert "under another name=" in output
    assert finite(run)
    epochs = len(run.learning_curve())
    assert epochs > 3
    assert main(arguments) == USERS_FAULT  # it goes on from the last good one, and meets the same fault
    assert len(run.learning_curve()) == epochs
    assert finite(run)


def test_a_poisoned_clip_is_named(
    tiny_store: Callable[..., Path], tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_store(subjects=4, clips=2)
    table = pd.read_parquet(store / "clips.parquet")
    first = table.groupby("subject_id")["clip_id"].first()
    even = np.full(5, 0.2)
    table["soft_label"] = [even * np.nan if name in set(first) else even for name in table["clip_id"]]
    table.to_parquet(store / "clips.parquet", index=False)
    assert "clips.parquet: soft_label is [nan, nan" in refusal(capsys, tiny(store, tmp_path, "name=a"))
    monkeypatch.setattr("fer_id.store.format._are_shares", lambda soft_label: True)  # were it let through
    output = refusal(capsys, tiny(store, tmp_path, "name=a"))
    named = re.search(r"Not finite is that of ([\w, -]+)\.", output)
    assert named is not None, output
    assert set(named[1].split(", ")) <= set(first)
    assert not list((tmp_path / "a" / "checkpoints").iterdir())


def test_poisoned_landmarks_count_as_unknown(tiny_store: Callable[..., Path], tiny: Tiny, tmp_path: Path) -> None:
    store = tiny_store(subjects=4, clips=2)
    for shard in (store / "landmarks").glob("*.npy"):
        points = np.load(shard)
        points[:3] = np.nan  # of frames that are said to show a face
        np.save(shard, points)
    assert finite(train(tiny(store, tmp_path, "model.landmarks=4", "name=a")))


def test_non_finite_weights_never_replace_finite_ones(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The non-finite gradient of a last step spoils the weights, and no later loss shows it."""
    arguments = tiny(drawn, tmp_path, "trainer.max_epochs=3", "trainer.validate_every=3", "name=a")
    run = RunDir(tmp_path / "a")
    original = ClipClassification.training_step

    def spoilt(self: ClipClassification, batch: Any, batch_idx: int) -> Any:
        loss = original(self, batch, batch_idx)
        return loss * torch.inf if self.global_step == 3 else loss

    monkeypatch.setattr(ClipClassification, "training_step", spoilt)
    output = refusal(capsys, arguments)
    assert "weights are not finite after epoch 1" in output
    assert "model.classifier" not in output.partition("fer-id:")[0]
    assert finite(run)
    assert len(run.learning_curve()) == 2


# ------------------------------------------------------------------------------------------ a machine that gives up


def test_a_lost_loader_is_reported(
    training: Trained, straight: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: Capture, same: Same
) -> None:
    """The process is killed, as by the kernel when memory runs out."""
    arguments, run = training

    def lost(self: Any, key: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(ClipDataset, "__getitem__", lost)
        assert main([argument.replace("num_workers=0", "num_workers=1") for argument in arguments]) == USERS_FAULT
    output = capsys.readouterr().err
    assert "a process that loads batches was lost" in output
    assert "data.num_workers=0" in output
    assert "Traceback" not in output
    assert main(arguments) == DONE  # with fewer processes the same run goes on
    assert same(run, straight)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_no_memory_is_reported(
    fault: Exception, training: Trained, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stop(monkeypatch, ClipClassification, "training_step", 3, training[0], fault=fault, code=USERS_FAULT)
    output = capsys.readouterr().err
    assert "out of memory" in output
    assert "batch_size" in output
    assert "Traceback" not in output
