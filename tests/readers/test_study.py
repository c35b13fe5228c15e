"""The readers of one encoder: predictions on disk, resuming, processes, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fer_id.errors import DataError
from fer_id.evaluation.predictions import check_predictions
from fer_id.labels import TARGET
from fer_id.models.build import HEAD_CLASSES
from fer_id.readers import study as studies
from fer_id.readers.frame_features import Origin
from fer_id.readers.networks import HIDDEN


def test_predictions_are_those_of_a_run_and_made_once(study, monkeypatch):
    study.fit(["frame", "set", "lstm"], [0, 1])
    assert study.without_baseline(["frame", "set", "lstm"]) == {}
    names = ["frame-s0", "lstm-s0", "lstm-s1", "set-s0"]
    assert sorted(path.stem for path in study.folder.iterdir()) == names
    assert [path.name for path in study.root.iterdir()] == [study.folder.name]
    table = study.predictions("set", 0)
    check_predictions(table, TARGET)
    assert table.groupby("split").size().to_dict() == {"validation": 20, "test": 30}
    assert table["predicted"].isna().tolist() == [False] * 49 + [True]
    assert {"video_id", "severity"} <= set(table)
    monkeypatch.setattr(studies, "_fitted", None)
    study.fit(["frame", "set", "lstm"], [0, 1])
    assert study.right("lstm", [0, 1], "test").shape == (2, 30)
    right = study.right("set", [0, 1], "test")
    assert right.shape == (1, 30)
    assert right[0, -1] == 0
    assert right.mean() > 0.7
    assert study.judged("test").fewest == 3


@pytest.mark.slow
def test_processes_change_nothing_and_other_settings_go_elsewhere(study, tmp_path):
    study.fit(["mean", "lstm"], [0])
    other = replace(study, root=tmp_path / "other")
    other.fit(["mean", "lstm"], [0], workers=2)
    for reader in ("mean", "lstm"):
        pd.testing.assert_frame_equal(study.predictions(reader, 0), other.predictions(reader, 0))
    assert replace(study, updates=4).folder != study.folder
    assert replace(study, origin=Origin.of("other", "s", ["a"])).folder != study.folder


def test_no_reader_sees_the_intensity_of_a_judged_clip(study):
    study.fit(["frame"], [0])
    judged = study.clips.copy()
    judged.loc[40:, "intensity"] = None
    blind = replace(study, root=study.root.parent / "blind", clips=judged)
    blind.fit(["frame"], [0])
    pd.testing.assert_frame_equal(study.predictions("frame", 0), blind.predictions("frame", 0))


def test_what_no_reader_can_read_is_refused(study):
    with pytest.raises(DataError, match="one frame each"):
        replace(study, clips=study.clips.assign(length=1)).fit(["set"], [0])
    with pytest.raises(DataError, match="40 training clips have no true intensity"):
        replace(study, clips=study.clips.assign(intensity=None)).fit(["frame"], [0])
    with pytest.raises(DataError, match="mode=transductive"):
        study.fit(["child_set"], [0])


def test_other_clips_of_a_child_are_the_judged_or_the_earlier_ones_as_the_mode_gives_them(study, capsys):
    """And each clip that has no baseline is counted."""
    transductive = replace(study, fold=replace(study.fold, unlabelled=study.fold.test))
    transductive.fit(["child_set"], [0])
    assert transductive.without_baseline(["child_set", "own_set"]) == {"own_set": 1}  # the clip without a face
    assert len(transductive.predictions("child_set", 0)) == 50
    earlier = np.concatenate([np.arange(first, first + 5) for first in (60, 70, 80)])
    learned = np.concatenate([study.fold.train, earlier])
    fold = replace(study.fold, train=learned, own=earlier, test=np.setdiff1d(study.fold.test, earlier))
    personalised = replace(study, fold=fold)
    personalised.fit(["child_set", "own_set"], [0])
    assert "(own_set 1): fewer than 2 frames with a face" in capsys.readouterr().err
    unknown = replace(personalised, fold=replace(fold, own=earlier[:10]))
    assert unknown.without_baseline(["set", "child_set"]) == {"child_set": 5}
    few = replace(personalised, root=study.root.parent / "few", fold=replace(fold, test=fold.test[::3]))
    few.fit(["child_set"], [0])
    table, alone = (each.predictions("child_set", 0).query("split == 'test'") for each in (personalised, few))
    both = table[table["clip_id"].isin(alone["clip_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, alone.reset_index(drop=True))  # no judged clip sees another one


@pytest.mark.parametrize("reader", ["mean", "lstm"])
def test_a_folded_reader_is_the_reader_of_the_frames_themselves(study, reader):
    study.fit([reader], [1])
    weights = study.folded(reader, 1)
    head = HEAD_CLASSES[reader](study.features.values.shape[2], HIDDEN, 0.0)
    both = nn.ModuleDict({"head": head, "classifier": nn.Sequential(nn.Dropout(), nn.Linear(head.dim, len(TARGET)))})
    both.load_state_dict(weights)
    rows = study.fold.test
    frames = torch.from_numpy(np.array(study.features.values[rows], np.float32))
    valid = torch.from_numpy(np.array(study.features.valid[rows]))
    with torch.no_grad():
        logits = both.eval()["classifier"](both["head"](frames, valid))
    table = study.predictions(reader, 1).query("split == 'test'").reset_index(drop=True)
    known = table["predicted"].notna().to_numpy()
    expected = table.loc[known, [f"logit_{name}" for name in TARGET.names]].to_numpy(np.float32)
    torch.testing.assert_close(logits[torch.from_numpy(known)], torch.from_numpy(expected.copy()), rtol=1e-3, atol=1e-3)
