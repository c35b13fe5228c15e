"""WritePredictions in two processes that share out the clips: the table of a single process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]

TEST = """
import sys
from pathlib import Path
import pytorch_lightning as pl
from fer_id.callbacks.record import WritePredictions
from fer_id.runs.run_dir import RunDir
from tests.callbacks.conftest import quiet_trainer, tiny_data, tiny_task

store, out, devices = sys.argv[1:]
pl.seed_everything(3, verbose=False)
several = {"devices": int(devices), "strategy": "ddp" if devices != "1" else "auto", "logger": False}
data, task = tiny_data(Path(store), test_fraction=0.2), tiny_task(head="mean")
quiet_trainer(1, WritePredictions(RunDir(out)), **several).test(task, data, verbose=False)
"""


@pytest.mark.slow
def test_predictions_are_those_of_one_process(
    tiny_store: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_store(subjects=5, clips=3, length=2)
    (tmp_path / "test.py").write_text(TEST)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tables = []
    for devices in ("1", "2"):
        out = tmp_path / devices
        out.mkdir()
        command = [sys.executable, str(tmp_path / "test.py"), str(store), str(out), devices]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        tables.append(pd.read_parquet(out / "predictions.parquet"))
    alone, together = (table.sort_values(["split", "clip_id"], ignore_index=True) for table in tables)
    assert alone["split"].nunique() == 2
    assert (alone["split"] == "test").sum() % 2 == 1  # the sampler repeats a clip, so that both processes have as many
    pd.testing.assert_frame_equal(together, alone, rtol=1e-4)
