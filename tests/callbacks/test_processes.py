"""Callbacks in two processes that share out the clips: they log what a single process logs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCORES = """
import json, os, sys
from types import SimpleNamespace
import pandas as pd, torch
from torch import distributed
from fer_id.callbacks import ClassMetrics, GradCamPanel, SubgroupFairness
from fer_id.labels import TARGET

CLIPS = [f"c{i}" for i in range(23)]
table = pd.DataFrame({"clip_id": CLIPS, "subject_id": [f"s{i % 7}" for i in range(23)], "label": "happy", "n_valid": 1})
table["side"] = [("left", "right")[i % 7 % 2] for i in range(23)]

def validate(places):
    logged = {}
    module = SimpleNamespace(labels=TARGET, log_dict=lambda numbers, logger, batch_size: logged.update(numbers))
    trainer = SimpleNamespace(loggers=[], sanity_checking=False, testing=False, datamodule=None)
    callbacks = [ClassMetrics(), SubgroupFairness(table, ["side"], public=False)]
    panel = GradCamPanel(clips=6)
    callbacks[1].setup(trainer, module, "fit")
    for callback in callbacks:
        callback.on_validation_epoch_start(trainer, module)
    for start in range(0, len(places), 4):
        rows = places[start : start + 4]
        batch = {"clip_id": [CLIPS[i] for i in rows], "subject_id": [f"s{i % 7}" for i in rows]}
        batch |= {"label": torch.tensor([i % 3 for i in rows]), "valid": torch.ones(len(rows), 1, dtype=torch.bool)}
        batch |= {"frames": torch.zeros(len(rows), 1, 3, 8, 8), "landmarks": torch.zeros(len(rows), 1, 68, 2)}
        for callback in (*callbacks, panel):
            outputs = {"predicted": torch.tensor([i % 5 % 3 for i in rows])}
            callback.on_validation_batch_end(trainer, module, outputs, batch, start // 4)
    for callback in callbacks:
        callback.on_validation_epoch_end(trainer, module)
    panel.on_validation_end(trainer, module)
    return {"logged": logged, "confusion": callbacks[0].confusion.tolist(), "panel": [*panel.chosen]}

alone = validate(range(23))
rank = int(os.fork() == 0)  # torch is imported once
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
together = validate([*range(rank, 23, 2), *range(rank)])  # the second process has the first clip again
os.write(1, (json.dumps([alone, together]) + chr(10)).encode())
if rank == 0:
    sys.exit(os.wait()[1] != 0)
"""


@pytest.mark.slow
def test_scores_and_choice_are_those_of_one_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCORES, str(tmp_path / "meeting")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        alone, together = json.loads(line)
        assert len(alone["panel"]) == 6
        assert len(alone["logged"]) > 20
        assert together == alone
    assert done.stdout.count("\n") == 2
