"""Accuracy by group while training: what is counted, what is logged, and what of real children is not."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fer_id.callbacks.record import Record
from fer_id.callbacks.subgroup_fairness import SubgroupFairness
from fer_id.loggers.run_logger import RunLogger
from fer_id.runs.run_dir import RunDir
from tests.callbacks.conftest import lines_of, quiet_trainer, tiny_data, tiny_task, validate


def clips(subjects: int = 12, each: int = 4) -> pd.DataFrame:
    """Children 0 to 5 are girls, 6 to 9 boys, the others' gender is not known; every other clip was filmed at home."""
    rows = [(f"c{s}-{i}", f"s{s}", i) for s in range(subjects) for i in range(each)]
    table = pd.DataFrame(rows, columns=["clip_id", "subject_id", "number"])
    child = table["subject_id"].str[1:].astype(int)
    gender = child.map(lambda number: "girl" if number < 6 else "boy" if number < 10 else None)
    return table.assign(
        label="happy",
        n_valid=5,
        gender=gender,
        context=table["number"].map(lambda i: ("home", "school")[i % 2]),
        ward="a",
    )


def judged(callback: SubgroupFairness, table: pd.DataFrame, right: Callable[[str], bool]) -> dict[str, float]:
    """What is logged of one validation of happy clips."""
    ids = table["clip_id"].tolist()
    return validate(callback, ids, [0] * len(ids), [0 if right(clip) else 3 for clip in ids])[0]


def test_every_group_and_the_worst_of_each_column() -> None:
    table = clips()
    callback = SubgroupFairness(table, ["gender", "context", "ward"], public=False)
    wrong = {"c0-0", "c1-1", "c6-0", "c11-0"}
    expected = {
        "val/group/gender/girl/accuracy": 22 / 24,
        "val/group/gender/boy/accuracy": 15 / 16,
        "val/group/gender/worst": 22 / 24,
        "val/group/context/home/accuracy": 21 / 24,
        "val/group/context/school/accuracy": 23 / 24,
        "val/group/context/worst": 21 / 24,
    }
    recalls = {name.replace("accuracy", "macro_recall"): value for name, value in expected.items() if "acc" in name}
    worst = {"val/group/gender/worst_macro_recall": 22 / 24, "val/group/context/worst_macro_recall": 21 / 24}
    gaps = {"gender": 15 / 16 - 22 / 24, "context": 2 / 24}  # one class alone: its recall is the accuracy
    gaps = {f"val/group/{name}/gap{of}": gap for name, gap in gaps.items() for of in ("", "_macro_recall")}
    logged = judged(callback, table, lambda clip: clip not in wrong)
    assert logged == pytest.approx(expected | recalls | worst | gaps)
    again = judged(callback, table, lambda clip: True)  # the next validation counts from nothing
    assert set(again.values()) == {0.0, 1.0}
    assert all((value == 0.0) == ("gap" in name) for name, value in again.items())


def test_clips_without_a_label_or_a_face_are_not_counted() -> None:
    table = clips()
    table.loc[0, "label"], table.loc[1, "n_valid"] = None, 0
    callback = SubgroupFairness(table, ["gender"], public=False)
    logged = judged(callback, table, lambda clip: clip not in ("c0-0", "c0-1"))
    assert logged["val/group/gender/girl/accuracy"] == 1.0


def test_of_real_children_only_what_may_be_shown_outside_is_logged() -> None:
    table = clips()  # four boys, and two whose gender is not known
    logged = judged(SubgroupFairness(table, ["gender", "context"], public=True), table, lambda clip: True)
    scores = ("accuracy", "macro_recall")
    both = {f"val/group/context/{group}/{score}" for group in ("home", "school") for score in scores}
    both |= {f"val/group/context/{name}{of}" for name in ("worst", "gap") for of in ("", "_macro_recall")}
    one = {f"val/group/gender/girl/{score}" for score in scores}  # and no gap, for the boys are not told
    assert set(logged) == both | one | {"val/group/gender/worst", "val/group/gender/worst_macro_recall"}
    few = table[table["subject_id"].isin(["s0", "s1", "s6"])]
    assert judged(SubgroupFairness(few, ["gender", "context"], public=True), few, lambda clip: True) == {}


def test_a_training_records_them_and_resumes_with_them(tmp_path: Path, tiny_store: Callable[..., Path]) -> None:
    data = tiny_data(tiny_store(subjects=6, clips=1, length=2), validation_fraction=0.5)
    validated = data.clips.iloc[data.fold.validation].copy()
    half = validated["subject_id"] == validated["subject_id"].iloc[0]
    validated["group"] = half.map({True: "one", False: "other"})
    fairness, logger = SubgroupFairness(validated, ["group"], public=False), RunLogger(RunDir(tmp_path))
    quiet_trainer(2, fairness, Record(), logger=logger).fit(tiny_task(head="mean"), data)
    share = half.mean()
    for line in lines_of(tmp_path):
        by_group = [line[f"val/group/group/{name}/accuracy"] for name in ("one", "other")]
        assert share * by_group[0] + (1 - share) * by_group[1] == pytest.approx(line["val/accuracy"])
        assert line["val/group/group/worst"] == min(by_group)
