"""Files for ELAN and BORIS: their content, their validity for pympi, and the corrections read back."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pympi.Elan import Eaf

from fer_id.errors import DataError
from fer_id.labels import TARGET
from fer_id.video import boris_writer as boris
from fer_id.video import elan
from fer_id.video.annotation_reader import read_corrected
from fer_id.video.corrections import Opinion
from fer_id.video.timeline import Timeline

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]
MEDIA = "../the videos/a.mp4"


def rows_of(timeline: Timeline) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(boris.write_table(timeline, MEDIA).decode())))


@pytest.fixture
def eaf(make, tmp_path: Path) -> Path:
    path = tmp_path / "review.eaf"
    path.write_bytes(elan.write(make([SURE, SURE, UNSURE, None], lost=[2]), MEDIA))
    return path


def test_elans_tiers_have_the_times_of_the_timeline(eaf: Path) -> None:
    read = Eaf(str(eaf))
    tiers = {name: sorted(read.get_annotation_data_for_tier(name)) for name in read.get_tier_names()}
    assert tiers["emotion"] == [(0, 4000, "happy")]
    words = "for review: happy 40 %, sad 30 %, angry 10 %, fear 10 %, neutral 10 %"
    assert tiers["for_review"] == [(4000, 6000, words)]
    assert tiers["no_face"] == [(400, 600, "no face"), (6000, 8000, "no face")]
    assert tiers["corrected"] == [(0, 4000, ""), (4000, 6000, "")]
    assert tiers["about"][0][:2] == (0, 8000)
    assert "does not diagnose" in tiers["about"][0][2]
    assert "synthetic" in tiers["about"][0][2]
    assert read.media_descriptors[0]["RELATIVE_MEDIA_URL"] == MEDIA
    assert read.media_descriptors[0]["MIME_TYPE"] == "video/mp4"
    entries = read.get_cv_entries("emotions").values()
    assert [values[0][0] for values, _ in entries] == list(TARGET.names)
    corrected = read.get_parameters_for_tier("corrected")["LINGUISTIC_TYPE_REF"]
    assert read.get_parameters_for_linguistic_type(corrected)["CONTROLLED_VOCABULARY_REF"] == "emotions"
    assert read_corrected(eaf).opinions == ()  # nobody has entered a label


def test_a_label_entered_in_elan_is_read_back(eaf: Path) -> None:
    edited = Eaf(str(eaf))
    edited.remove_annotation("corrected", 5000)
    edited.add_annotation("corrected", 4200, 5700, " sad ")
    edited.to_file(str(eaf))
    corrections = read_corrected(eaf)
    assert corrections.opinions == (Opinion(4.2, 5.7, "sad"),)
    assert (corrections.video, corrections.sha256) == ("a.mp4", "ab" * 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: "time;label\n1;happy\n", "cannot be read"),
        (lambda text: text.replace('TIER_ID="corrected"', 'TIER_ID="mine"'), "no tier 'corrected'"),
        (lambda text: text.replace("fer_id video sha256", "another"), "which video it belongs to"),
    ],
)
def test_damaged_and_foreign_files_are_refused(eaf: Path, change, message: str) -> None:
    eaf.write_text(change(eaf.read_text()))
    with pytest.raises(DataError, match=message):
        read_corrected(eaf)


@pytest.mark.parametrize(("name", "message"), [("none.eaf", "no such file"), ("a.txt", "expected a file of ELAN")])
def test_an_absent_file_and_another_suffix_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=message):
        read_corrected(tmp_path / name)


def test_boris_table_has_the_columns_that_boris_exports(make) -> None:
    rows = rows_of(make([SURE, UNSURE, None]))
    expected = (
        "Observation id,Observation date,Description,Media file,Total length,FPS,Subject,Behavior,Behavioral category,"
        "Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,Comment stop,Time offset (s)"
    )
    assert list(rows[0]) == expected.split(",")
    assert [row["Behavior"] for row in rows] == ["model: happy", "for review", "no face"]
    assert {row["Behavior type"] for row in rows} == {"STATE"}
    assert [row["Start (s)"] for row in rows] == ["0.000", "2.000", "4.000"]
    assert [row["Stop (s)"] for row in rows] == ["2.000", "4.000", "6.000"]
    assert {row["Duration (s)"] for row in rows} == {"2.000"}
    assert {(row["Media file"], row["Total length"], row["FPS"]) for row in rows} == {(MEDIA, "6.000", "15.000")}
    assert all("does not diagnose" in row["Description"] and "synthetic" in row["Description"] for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_tables_coded_rows_are_read_and_the_models_rows_ignored(make, tmp_path: Path, delimiter: str) -> None:
    rows = rows_of(make([SURE, UNSURE]))
    rows[1]["Behavior"] = "fear"
    path = tmp_path / ("back.tsv" if delimiter == "\t" else "back.csv")
    pd.DataFrame(rows).to_csv(path, sep=delimiter, index=False, encoding="utf-8-sig")
    corrections = read_corrected(path)
    assert corrections.opinions == (Opinion(2.0, 4.0, "fear"),)
    assert (corrections.video, corrections.sha256) == ("a.mp4", "ab" * 32)


def test_a_project_of_boris_pairs_its_events(make, tmp_path: Path) -> None:
    project = json.loads(boris.write_project(make([SURE, UNSURE, UNSURE, None]), MEDIA))
    (observation,) = project["observations"].values()
    codes = {behaviour["code"] for behaviour in project["behaviors_conf"].values()}
    assert {event[2] for event in observation["events"]} <= codes
    assert set(TARGET.names) <= codes
    times = [event[0] for event in observation["events"]]
    assert times == sorted(times)
    for code in codes:  # begin and end in turn, and nothing of one code at one time
        own = [event[0] for event in observation["events"] if event[2] == code]
        assert len(own) % 2 == 0
        assert len(set(own)) == len(own)
    observation["events"] += [[2.5, "", "sad", "", ""], [4.0, "", "sad", "", "", 17], [5.0, "", "fear", "", ""]]
    path = tmp_path / "review.boris"
    path.write_text(json.dumps(project))
    with pytest.raises(DataError, match=r"'fear' begins at 5\.000 s and never ends"):
        read_corrected(path)
    observation["events"].append([5.5, "", "fear", "", ""])
    path.write_text(json.dumps(project))
    assert read_corrected(path).opinions == (Opinion(2.5, 4.0, "sad"), Opinion(5.0, 5.5, "fear"))


shares = st.lists(st.integers(1, 30), min_size=5, max_size=5).map(lambda one: [x / sum(one) for x in one])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.none(), shares), min_size=1, max_size=6))
def test_a_window_for_review_never_names_one_label(make, drawn: list[list[float] | None]) -> None:
    """With a threshold of 1 all windows are for review: no cell names a class without all the others."""
    timeline = make(drawn, threshold=1.0)
    cells = [cell for row in rows_of(timeline) for name, cell in row.items() if name != "Description"]
    events = next(iter(json.loads(boris.write_project(timeline, MEDIA))["observations"].values()))["events"]
    cells += [str(cell) for event in events for cell in event]
    text = elan.write(timeline, MEDIA).decode().split("<CONTROLLED_VOCABULARY")[0]
    cells += [part.split("<")[0] for part in text.split("<ANNOTATION_VALUE>")[1:]]
    for cell in cells:
        named = [name for name in TARGET.names if name in cell]
        assert not named or named == list(TARGET.names)
    assert timeline.windows["answer"].isna().all()


def test_the_files_of_both_tools_name_the_tracked_person(make, tmp_path: Path) -> None:
    timeline = replace(make([SURE]), subject="s0123456789abcdef")
    for name, content in (("a.eaf", elan.write), ("a.boris", boris.write_project), ("a.csv", boris.write_table)):
        (tmp_path / name).write_bytes(content(timeline, MEDIA))
        corrections = read_corrected(tmp_path / name)
        assert (corrections.video, corrections.sha256, corrections.subject) == ("a.mp4", "ab" * 32, "s0123456789abcdef")
