"""The summary of a small table, against values computed by hand."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fer_id.evaluation.paired import holm
from fer_id.explain.clips import explain_clips
from fer_id.explain.regions import OUTSIDE, REGIONS, expected
from fer_id.explain.shares import AREA, GROUP, NO_ATTRIBUTION, NO_FACE, SHARE, group_gap, ratio
from fer_id.explain.summary import attribution_ratio, summary
from fer_id.files import plain
from fer_id.types import ClipBatch
from tests.explain.models import batch_of, small

LABELS = ("happy", "sad", "angry", "neutral")
GROUPS = ("age_group", "gender", "site", "severity")


def row(clip: int, target: int, label: str | None, shares: dict[str, float], **more: Any) -> dict[str, Any]:
    """Return a row in which every region has a tenth of the area; regions that ``shares`` does not name share the rest
    equally."""
    rest = (1 - sum(shares.values())) / (len(REGIONS) - len(shares))
    subject = clip // 2
    return {
        "clip_id": f"c{clip}",
        "subject_id": f"s{subject}",
        "target": target,
        "label": label,
        "reason": None,
        **{f"{SHARE}{name}": shares.get(name, rest) for name in REGIONS},
        **{f"{AREA}{name}": 0.1 for name in REGIONS},
        "importance": [0.2, 0.3, 0.5],
        "occlusion": [0.1, float("nan"), -0.2],
        "group age_group": ("6-9", "10-13")[subject % 2],
        "group gender": ("girl", "boy")[subject // 2 % 2],
        "group site": "one",
        "group severity": ("mild", "severe")[clip % 2],
        **more,
    }


def without(clip: int, reason: str, target: int, label: str | None) -> dict[str, Any]:
    """A clip whose regions are unknown; the maps' columns are missing where it has no face."""
    full = row(clip, target, label, {})
    columns = {key: value for key, value in full.items() if not key.startswith((SHARE, AREA))}
    if reason == NO_FACE:
        del columns["importance"], columns["occlusion"]
    else:
        columns |= {"importance": [float("nan")] * 3, "occlusion": [0.0, 0.0, 0.0]}
    return {**columns, "reason": reason}


@pytest.fixture
def rows() -> pd.DataFrame:
    """Eight subjects of two clips: 14 with regions, one without a face, one without attribution."""
    leaks = [0.1, 0.2, 0.3, 0.4, 0.15, 0.25, 0.35, 0.5, 0.05, 0.12, 0.33, 0.44, 0.21, 0.31]
    labels = ["happy", "sad", "happy", "happy", "sad", "sad", None] * 2
    rows = [
        row(i, i % 2, label, {"background": leak / 2, "hairline": leak / 2, "mouth": 0.3})
        for i, (leak, label) in enumerate(zip(leaks, labels, strict=True))
    ]
    return pd.DataFrame([*rows, without(14, NO_FACE, -1, "happy"), without(15, NO_ATTRIBUTION, 3, "neutral")])


@pytest.fixture
def checks() -> pd.DataFrame:
    subjects = [f"s{i}" for i in range(4)]
    values = {
        "stability": [0.9, 0.8, 0.9, 0.8],
        "random classifier": [0.9] * 4,
        "random everything": [0.7, 0.6, 0.9, 0.8],
        "deletion": [-0.2, 0.3, 0.1, 0.0],
        "insertion": [0.1, 0.12, 0.13, 0.11],
        "agreement occlusion": [0.2, 0.1, 0.3, 0.2],
    }
    return pd.DataFrame({"clip_id": subjects, "subject_id": subjects, **values})


def summed(rows: pd.DataFrame, groups: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return summary(rows, LABELS, groups, **{"checks": None, "methods": {}, **more})


def test_counts_and_clips_left_out(rows: pd.DataFrame) -> None:
    report = summed(rows)
    assert (report["n_clips"], report["n_with_regions"], report["n_subjects"]) == (16, 14, 8)
    assert report["left_out"] == {NO_FACE: 1, NO_ATTRIBUTION: 1}


def test_leakage_and_regions_are_ratios_of_sums(rows: pd.DataFrame) -> None:
    report = summed(rows)
    background = rows[f"{SHARE}background"].dropna()
    assert report["leakage"]["value"] == pytest.approx(2 * background.mean() / 0.2)
    assert report["leakage"]["n_subjects"] == 7
    assert report["leakage"]["low"] < report["leakage"]["value"] < report["leakage"]["high"]
    assert list(report["regions"]) == list(REGIONS)
    mouth = report["regions"]["mouth"]
    assert (mouth["value"], mouth["share"], mouth["area"]) == pytest.approx((3, 0.3, 0.1))
    assert sum(region["share"] for region in report["regions"].values()) == pytest.approx(1)


def test_classes_come_in_the_order_of_the_labels(rows: pd.DataFrame) -> None:
    report = summed(rows.iloc[::-1])["by_class"]
    assert list(report) == ["happy", "sad", "neutral"]
    assert [group["n_clips"] for group in report.values()] == [7, 7, 1]
    happy = rows[rows["target"] == 0]
    assert report["happy"]["leakage"] == attribution_ratio(happy, OUTSIDE)
    regions = expected("happy")
    assert report["happy"]["expected"] == {"regions": list(regions), **attribution_ratio(happy, regions)}
    assert report["neutral"]["expected"] == {"regions": [], "value": None}
    assert report["neutral"]["leakage"]["value"] is None
    assert report["neutral"]["regions"]["mouth"]["share"] is None


def test_right_and_wrong(rows: pd.DataFrame) -> None:
    """Odd clips are predicted sad, the others happy; clips without a label are neither right nor wrong."""
    report = summed(rows)["right_and_wrong"]
    known = rows[rows["label"].notna() & (rows["target"] >= 0)]
    right = known["label"] == [LABELS[code] for code in known["target"]]
    assert report["right"]["n_clips"] == right.sum() == 8 - 1
    assert report["wrong"]["n_clips"] == (~right).sum() == 6
    for name, which in (("right", right), ("wrong", ~right)):
        assert report[name]["value"] == pytest.approx(ratio(known[which], OUTSIDE)[0])


def test_groups_that_differ_and_the_correction_for_their_number(rows: pd.DataFrame) -> None:
    report = summed(rows, GROUPS)["by_group"]
    assert list(report) == ["age_group", "gender", "severity"]  # everybody is of one site
    p = {}
    for name, column in report.items():
        assert column["gap"] == pytest.approx(group_gap(rows, f"{GROUP}{name}", OUTSIDE)[0])
        for group, value in column["groups"].items():
            assert value == attribution_ratio(rows[rows[f"{GROUP}{name}"] == group], OUTSIDE)
        values = [value["value"] for value in column["groups"].values()]
        assert column["gap"] == pytest.approx(max(values) - min(values))
        p[name] = np.nan if column["p"] is None else column["p"]
    assert report["severity"]["p"] is None  # every subject is in both
    assert report["severity"]["p_holm"] is None
    corrected = holm(p)
    for name in ("age_group", "gender"):
        assert 0 < report[name]["p"] <= 1
        assert report[name]["p_holm"] == pytest.approx(corrected[name])
    least = min(report[name]["p_holm"] for name in ("age_group", "gender"))
    assert least == pytest.approx(min(1, 2 * min(p["age_group"], p["gender"])))


def test_regions_of_groups_and_their_shifts_are_a_family_of_their_own(rows: pd.DataFrame) -> None:
    report = summed(rows, GROUPS)["by_group"]
    p = {}
    for name, group_report in report.items():
        column = f"{GROUP}{name}"
        for group, regions in group_report["regions"].items():
            for region, value in regions.items():
                assert value["value"] == pytest.approx(ratio(rows[rows[column] == group], (region,))[0], nan_ok=True)
        for region, shift in group_report["shifts"].items():
            values = [regions[region]["value"] for regions in group_report["regions"].values()]
            assert shift["gap"] == pytest.approx(max(values) - min(values))
            p[name, region] = np.nan if shift["p"] is None else shift["p"]
    corrected = holm({f"{name} {region}": value for (name, region), value in p.items()})
    for name, region in p:
        adjusted = report[name]["shifts"][region]["p_holm"]
        assert adjusted is None if name == "severity" else adjusted == pytest.approx(corrected[f"{name} {region}"])


def test_frames_are_averaged_where_they_are_known(rows: pd.DataFrame) -> None:
    rows.at[0, "importance"], rows.at[0, "occlusion"] = [0.5, 0.5, 0.0], [float("nan"), float("nan"), 1.3]
    report = summed(rows)["by_frame"]
    assert report["importance"] == pytest.approx([(0.5 + 13 * 0.2) / 14, (0.5 + 13 * 0.3) / 14, 13 * 0.5 / 14])
    assert report["occlusion"][0] == pytest.approx(13 * 0.1 / 14)
    assert report["occlusion"][1] == pytest.approx(0)  # only clips without attribution
    assert report["occlusion"][2] == pytest.approx((1.3 - 13 * 0.2) / 15)


def test_a_frame_that_no_clip_knows_is_none(rows: pd.DataFrame) -> None:
    report = summed(rows.head(14))["by_frame"]
    assert report["occlusion"] == [pytest.approx(0.1), None, pytest.approx(-0.2)]


def test_clips_of_different_length_and_stills_have_no_means_by_frame(rows: pd.DataFrame) -> None:
    rows.at[3, "importance"], rows.at[3, "occlusion"] = [0.5, 0.5], [0.1, 0.2]
    assert summed(rows)["by_frame"] == {}
    stills = rows.assign(importance=[[1.0]] * 16, occlusion=[[float("nan")]] * 16)
    assert summed(stills)["by_frame"] == {}


def test_checks_that_failed_and_those_that_could_not_be_decided(rows: pd.DataFrame, checks: pd.DataFrame) -> None:
    report = summed(rows, checks=checks)
    assert list(report["checks"]) == list(checks.columns[2:])
    assert report["failed"] == ["random everything"]
    assert report["undecided"] == ["deletion"]
    nothing = summed(rows)
    assert (nothing["checks"], nothing["failed"], nothing["undecided"]) == ({}, [], [])


def test_methods_stand_beside_each_other(rows: pd.DataFrame) -> None:
    few = rows.head(6)
    report = summed(rows, methods={"grad_cam": few, "occlusion": few.assign(**{f"{SHARE}background": 0.0})})
    assert list(report["by_method"]) == ["grad_cam", "occlusion"]
    assert report["by_method"]["grad_cam"] == attribution_ratio(few, OUTSIDE)
    assert report["by_method"]["occlusion"]["value"] == pytest.approx(report["by_method"]["grad_cam"]["value"] / 2)


def test_a_summary_is_strict_json_and_repeatable(rows: pd.DataFrame, checks: pd.DataFrame) -> None:
    first, again = (summed(rows, ("age_group",), checks=checks, methods={"grad_cam": rows}) for _ in range(2))
    text = json.dumps(plain(first), allow_nan=False)
    assert text == json.dumps(plain(again), allow_nan=False)
    assert json.loads(text)["by_group"]["age_group"]["groups"].keys() == {"6-9", "10-13"}


def test_a_run_whose_classes_are_unknown_has_neither_right_nor_wrong(rows: pd.DataFrame) -> None:
    report = summed(rows.assign(label=None))["right_and_wrong"]
    assert [group["n_clips"] for group in report.values()] == [0, 0]
    assert [group["value"] for group in report.values()] == [None, None]


@pytest.fixture
def batch() -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    valid = torch.tensor([[True, True], [False, False], [True, False]])
    frames, landmarks = (torch.rand(3, 2, *shape, generator=generator) for shape in ((3, 64, 64), (68, 2)))
    return batch_of("abc", frames, valid, 64 * landmarks, "sst")


def explained(batch: ClipBatch, targets: dict[str, int]) -> pd.DataFrame:
    rows = explain_clips(small("mean", classes=len(LABELS)), [batch], targets, "blocks.3.map").rows
    names = dict(zip(batch["clip_id"], ("happy", "sad", "angry"), strict=True))
    return rows.assign(label=rows["clip_id"].map(names))


def test_explained_clips_can_be_summed_up(batch: ClipBatch) -> None:
    report = summed(explained(batch, {"a": 0, "c": 1}))
    assert report["n_clips"] == 3
    assert report["left_out"].pop(NO_FACE) == 1
    assert report["n_with_regions"] + sum(report["left_out"].values()) == 2
    json.dumps(plain(report), allow_nan=False)


def test_a_summary_without_any_face(batch: ClipBatch) -> None:
    report = summed(explained(batch, {}))
    assert (report["n_clips"], report["n_with_regions"], report["left_out"]) == (3, 0, {NO_FACE: 3})
    assert report["leakage"]["value"] is None
    assert report["by_frame"] == {}
