"""One training in two processes on this machine (gloo): that it learns what one process would, and who writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.cli import DONE, TERMINATED, main
from fer_id.models.checkpoint import read_tensors
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, Tiny, refusal

ROOT = Path(__file__).resolve().parents[3]
# Layer normalisation: on CPUs batch normalisation takes the statistics of each process's share.
TRANSFORMER = ("model=timm:test_vit", "model.name=vit", "model.widths=[]", "model.convs=[]", "optim.lr=0.001")
SHORT = (*TRANSFORMER, "trainer.max_epochs=3", "trainer.patience=0", "name=a")
TWO = "trainer.devices=2"


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), **os.environ}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "experiments.cli", *arguments]


def torchrun(*arguments: str) -> list[str]:
    elastic = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
    return [sys.executable, "-m", *elastic, "-m", "experiments.cli", *arguments]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False, timeout=300)


def apart(one: RunDir, other: RunDir) -> float:
    """Root mean square of the differences between the weights of two runs.

    Adam makes steps of one size: a gradient of next to nothing may turn a rounding into one, and single weights differ.
    """
    mine, theirs = (read_tensors(it.checkpoint("last")) for it in (one, other))
    assert mine.keys() == theirs.keys()
    differences = torch.cat([(mine[name].double() - theirs[name].double()).flatten() for name in mine])
    return float(differences.square().mean().sqrt())


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_go_on_after_sigterm(drawn: Path, tiny: Tiny, tmp_path: Path) -> None:
    assert main(tiny(drawn, tmp_path / "one", *SHORT)) == DONE
    assert main(tiny(drawn, tmp_path / "other", *SHORT, "seed=8")) == DONE
    two, said = tiny(drawn, tmp_path / "two", *SHORT, TWO), tmp_path / "said"
    record = tmp_path / "two" / "a" / "metrics.jsonl"
    with said.open("w") as out, subprocess.Popen(command(*two), env=environment(), stderr=out) as process:
        while process.poll() is None and not (record.is_file() and record.read_text().count("\n") > 1):
            time.sleep(0.01)
        process.terminate()
    assert process.returncode == TERMINATED, said.read_text()
    assert "Traceback" not in said.read_text()

    done = run(torchrun(*two))  # begun by Lightning's own processes, ended by torchrun's
    assert done.returncode == DONE, done.stderr
    assert done.stderr.count("resuming") == 1  # by the first process alone
    assert done.stdout.count("report.html") == 1
    one, together, other = (RunDir.open(tmp_path / name / "a") for name in ("one", "two", "other"))
    assert apart(one, together) < 1e-5
    assert apart(one, other) > 1e-2
    curves = [it.learning_curve().drop(columns="seconds") for it in (one, together)]
    pd.testing.assert_frame_equal(*curves, rtol=1e-4, atol=1e-6)
    tables = [it.predictions() for it in (one, together)]
    assert tables[1]["clip_id"].is_unique
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)
    assert together.job().processes == 2
    assert not [path for path in together.path.rglob("*") if path.name.startswith("hpc_ckpt")]


SPOIL = """
import pytorch_lightning as pl
class Spoil(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1:
            batch["frames"].fill_(float("nan"))
"""


@pytest.mark.slow
def test_what_is_not_finite_in_one_process_ends_both(
    tiny_store: Callable[..., Path], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback of an installed package spoils the frames of the second process."""
    package = tmp_path / "installed"
    (package / "spoil-1.dist-info").mkdir(parents=True)
    (package / "spoil.py").write_text(SPOIL)
    (package / "spoil-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spoil\nVersion: 1\n")
    (package / "spoil-1.dist-info" / "entry_points.txt").write_text("[fer_id.callbacks]\nspoil = spoil:Spoil\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(package)]))
    store = tiny_store(subjects=4, clips=2)
    done = run(command(*tiny(store, tmp_path / "runs", *SHORT, TWO, "trainer.callbacks=[spoil]")))
    assert done.returncode not in (DONE, 1), done.stderr
    assert "train loss is nan in epoch 0" in done.stderr
    assert "Traceback" not in done.stderr


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("started", "settings", "says"),
    [
        (TORCHRUN, (), "torchrun started 2 processes"),
        (TORCHRUN, ("trainer.devices=2", "trainer.num_nodes=2"), "torchrun started 2 processes"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": "4"}, (TWO,), "srun started 4 processes"),
        (SRUN, ("trainer.devices=4",), "--ntasks-per-node=4"),
    ],
)
def test_who_started_the_processes_and_the_configuration_must_agree(
    started: dict[str, str],
    settings: tuple[str, ...],
    says: str,
    drawn: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert says in refusal(capsys, tiny(drawn, tmp_path, *settings, "name=a"))
    assert not list(tmp_path.iterdir())


def test_a_training_of_one_does_not_heed_the_job_it_runs_in(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert main(tiny(drawn, tmp_path, "name=a")) == DONE


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("protocol=loso", "fer-id sweep"),
        ("protocol.cross_fit=2", "fer-id sweep"),
        ("batch_size=7", "7 clips in a step are not shared by 2"),
        ("trainer.precision=auto", "auto would be measured"),
        ("trainer.memory_format=auto", "auto would be measured"),
    ],
)
def test_what_several_devices_cannot_share_is_refused(
    setting: str, says: str, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    told = refusal(capsys, tiny(drawn, tmp_path, TWO, "name=a", setting))
    assert says in told
    assert "trainer.devices" in told
    assert not list(tmp_path.iterdir())


SHARE = """
import os, sys, torch
from torch import distributed, nn
from fer_id.tasks.parallel import share_of_loss
rank, clips = 0, [3, 1, 0]
for other in (1, 2):  # torch is imported once
    if rank == 0 and os.fork() == 0:
        rank = other
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=3)
torch.manual_seed(0)
model, features = nn.Linear(4, 1), torch.randn(4, 4)
mine = features[sum(clips[:rank]) : sum(clips[: rank + 1])]
loss = model(mine).square().mean() if len(mine) else None
nn.parallel.DistributedDataParallel(model)  # alike in all processes
share_of_loss(loss, len(mine), model).backward()
distributed.all_reduce(model.weight.grad)
together = model.weight.grad / 3
model.zero_grad()
model(features).square().mean().backward()
difference, gradient = float((together - model.weight.grad).abs().max()), float(model.weight.grad.abs().max())
os.write(1, f"{difference} {gradient}\\n".encode())  # at once: three processes write here
if rank == 0:
    sys.exit(any(os.wait()[1] for _ in range(2)))
"""


@pytest.mark.slow
def test_gradients_are_those_of_the_whole_batch_where_shares_differ(tmp_path: Path) -> None:
    """Three clips that count in one process, one in another, none in the third."""
    done = run([sys.executable, "-c", SHARE, str(tmp_path / "meeting")])
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert len(said) == 3
    for difference, gradient in said:
        assert float(difference) < 1e-6
        assert float(gradient) > 0.1
