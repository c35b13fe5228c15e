"""Corrected files of annotation tools: offsets are applied or refused, and damage is named."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from data_modules.cohort.corrections import votes_of
from fer_id.errors import DataError, FerIdError
from fer_id.video import boris_writer as boris
from fer_id.video import elan
from fer_id.video.annotation_reader import read_corrected
from fer_id.video.corrections import Opinion

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]
MEDIA = "../videos/a.mp4"
LABELLED = (Opinion(0.0, 1.2, "happy"), Opinion(2.5, 4.0, "sad"))

Spoilt = Callable[[object], Iterator[tuple[str, object]]]


def at(seconds: float) -> tuple[Opinion, ...]:
    """Return the labelled stretches moved to later times of the video."""
    return tuple(Opinion(round(start + seconds, 3), round(end + seconds, 3), label) for start, end, label in LABELLED)


def assert_no_label_is_lost(copies: Iterator[tuple[str, Any]], write: Callable[[Any], Path], *gone: str) -> None:
    """Every damaged copy, named by the place of its damage, is refused in few words, or read with its labels; not where
    the place contains one of ``gone``."""
    lengths = list[int]()
    for place, copy in copies:
        try:
            labels = [opinion.label for opinion in read_corrected(write(copy)).opinions]
        except FerIdError as problem:
            lengths.append(len(str(problem)))
            continue
        assert labels == ["happy", "sad"] or any(part in place for part in gone), place
    assert max(lengths) < 2000


# --- ELAN -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def document(make) -> ET.Element:
    """A file of ELAN in which a person labelled two segments."""
    root = ET.fromstring(elan.write(make([SURE]), MEDIA))
    order, tier = root.find("TIME_ORDER"), root.find("TIER[@TIER_ID='corrected']")
    for item in list(tier):
        tier.remove(item)
    for number, (start, end, label) in enumerate(LABELLED):
        for name, moment in ((f"x{number}1", start), (f"x{number}2", end)):
            ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=f"{1000 * moment:.0f}")
        names = {"TIME_SLOT_REF1": f"x{number}1", "TIME_SLOT_REF2": f"x{number}2"}
        parent = ET.SubElement(tier, "ANNOTATION")
        item = ET.SubElement(parent, "ALIGNABLE_ANNOTATION", names, ANNOTATION_ID=f"b{number}")
        ET.SubElement(item, "ANNOTATION_VALUE").text = label
    return root


@pytest.fixture
def eaf(tmp_path: Path) -> Callable[[ET.Element], Path]:
    def write(root: ET.Element) -> Path:
        path = tmp_path / "review.eaf"
        path.write_bytes(ET.tostring(root, encoding="utf-8"))
        return path

    return write


def test_elans_media_offset_is_added_to_a_labels_times(document: ET.Element, eaf) -> None:
    next(document.iter("MEDIA_DESCRIPTOR")).set("TIME_ORIGIN", "1000")
    opinions = read_corrected(eaf(document)).opinions
    assert opinions == at(1.0)
    clips = pd.DataFrame({"clip_id": ["seen", "shifted"], "start_s": [0.0, 1.0], "end_s": [1.2, 2.2]})
    votes, _ = votes_of([opinion for opinion in opinions if opinion.label == "happy"], clips)
    assert votes == {"shifted": "happy"}


def test_of_several_media_the_reviewed_videos_offset_counts(document: ET.Element, eaf) -> None:
    other = ET.Element("MEDIA_DESCRIPTOR", MEDIA_URL="file:///C:/videos/side.mp4", TIME_ORIGIN="7000", MIME_TYPE="")
    document.find("HEADER").insert(0, other)
    next(item for item in document.iter("MEDIA_DESCRIPTOR") if item is not other).set("TIME_ORIGIN", "250")
    assert read_corrected(eaf(document)).opinions == at(0.25)


@pytest.mark.parametrize("address", ["file:///C:/My%20videos/a.mp4", r"D:\videos\a.mp4", "a.mp4"])
def test_the_reviewed_video_is_recognised_in_any_folder(document: ET.Element, eaf, address: str) -> None:
    media = next(document.iter("MEDIA_DESCRIPTOR"))
    media.attrib |= {"MEDIA_URL": address, "RELATIVE_MEDIA_URL": ""}
    assert read_corrected(eaf(document)).opinions == LABELLED


def test_a_renamed_video_is_recognised_by_its_content(make, tmp_path: Path) -> None:
    from hashlib import sha256

    (tmp_path / "renamed.mp4").write_bytes(b"a video")
    text = elan.write(make([SURE]), "./renamed.mp4").decode().replace("ab" * 32, sha256(b"a video").hexdigest())
    (tmp_path / "review.eaf").write_text(text)
    assert read_corrected(tmp_path / "review.eaf").opinions == ()
    (tmp_path / "a.mp4").write_bytes(b"a shorter copy of the same name")
    (tmp_path / "review.eaf").write_text(text.replace("renamed.mp4", "a.mp4"))
    with pytest.raises(DataError, match=r"its media are ./a\.mp4; .* and no other file of its name"):
        read_corrected(tmp_path / "review.eaf")
    (tmp_path / "review.eaf").write_text(text)
    (tmp_path / "renamed.mp4").write_bytes(b"another video")
    with pytest.raises(DataError, match=r"its media are ./renamed\.mp4; expected the reviewed video 'a\.mp4'"):
        read_corrected(tmp_path / "review.eaf")


def _set(path: str, **attributes: str | None) -> Callable[[ET.Element], None]:
    def change(root: ET.Element) -> None:
        item = root.find(path)
        for name, value in attributes.items():
            item.attrib.pop(name, None)
            if value is not None:
                item.set(name, value)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("HEADER", TIME_UNITS="PAL-frames"), "TIME_UNITS is PAL-frames, expected milliseconds"),
        (_set(".//MEDIA_DESCRIPTOR", TIME_ORIGIN="-100"), "annotation b0: 'happy' begins at -0.100 s of the video"),
        (_set(".//MEDIA_DESCRIPTOR", TIME_ORIGIN="1.5"), "TIME_ORIGIN is 1.5, expected whole milliseconds"),
        (_set(".//MEDIA_DESCRIPTOR", MEDIA_URL="b.mp4", RELATIVE_MEDIA_URL=None), "its media are b.mp4; expected"),
        (_set(".//*[@ANNOTATION_ID='b0']", TIME_SLOT_REF1="ts99"), "'happy' refers to the time slot ts99"),
        (_set(".//*[@ANNOTATION_ID='b0']", TIME_SLOT_REF1="x02", TIME_SLOT_REF2="x01"), "from 1.200 to 0.000 s"),
        (_set(".//*[@ANNOTATION_ID='b0']", TIME_SLOT_REF1="x02"), "lasts from 1.200 to 1.200 s"),
        (_set(".//*[@TIME_SLOT_ID='x01']", TIME_VALUE=None), "'happy' has no time; align it in ELAN"),
        (_set(".//*[@TIME_SLOT_ID='x01']", TIME_VALUE="soon"), "time slot x01: TIME_VALUE is soon, expected whole"),
        (_set(".//*[@TIME_SLOT_ID='x01']", TIME_SLOT_ID="x02"), "time slot x02 stands there twice"),
    ],
)
def test_an_eaf_whose_labels_have_no_readable_time_is_refused(document: ET.Element, eaf, change, words: str) -> None:
    change(document)
    with pytest.raises(DataError, match=re.escape(words)):
        read_corrected(eaf(document))


def test_a_tier_that_became_symbolic_is_refused(document: ET.Element, eaf) -> None:
    item = document.find(".//*[@ANNOTATION_ID='b1']")
    item.tag = "REF_ANNOTATION"
    item.attrib = {"ANNOTATION_ID": "b1", "ANNOTATION_REF": "a1"}
    with pytest.raises(DataError, match="annotation b1: 'sad' has no time; align it in ELAN"):
        read_corrected(eaf(document))


def test_two_tiers_of_one_name_are_both_read(document: ET.Element, eaf) -> None:
    tier = document.find("TIER[@TIER_ID='corrected']")
    second = deepcopy(tier)
    tier.remove(tier[1])
    second.remove(second[0])
    document.append(second)
    assert read_corrected(eaf(document)).opinions == LABELLED


def test_no_damage_to_a_document_loses_a_label(document: ET.Element, eaf) -> None:
    assert_no_label_is_lost(_damaged(document), eaf, "ANNOTATION_VALUE", " gone")


def _damaged(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    """Yield copies with one attribute or text replaced, or one element removed (``gone`` if it held a label)."""

    def copied(index: int) -> tuple[ET.Element, ET.Element]:
        copy = deepcopy(root)
        return copy, list(copy.iter())[index]

    for index, here in enumerate(root.iter()):
        for name in here.attrib:
            for value in (None, "", "a text", "inf", "9" * 400):
                copy, item = copied(index)
                _set(".", **{name: value})(item)
                yield f"{here.tag}.{name} = {str(value)[:9]}", copy
        for value in (None, "a text"):
            copy, item = copied(index)
            item.text = value
            yield f"{here.tag} text {value}", copy
        copy, item = copied(index)
        parent = next((parent for parent in copy.iter() if item in list(parent)), None)
        if parent is not None:
            parent.remove(item)
            holds = here.tag in ("ANNOTATION", "ALIGNABLE_ANNOTATION", "ANNOTATION_VALUE")
            yield f"{here.tag}{' gone' if holds else ' away'}", copy


# --- BORIS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(make) -> dict[str, Any]:
    """A project of BORIS in which a person coded two stretches."""
    project: dict[str, Any] = json.loads(boris.write_project(make([SURE, SURE, UNSURE]), MEDIA))
    for start, end, label in LABELLED:
        of(project)["events"] += [[start, "", label, "", ""], [end, "", label, "", "", 17]]
    return project


def of(project: dict[str, Any]) -> dict[str, Any]:
    """Return the project's only observation."""
    (observation,) = project["observations"].values()
    return observation


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def write(value: object) -> Path:
        path = tmp_path / "review.boris"
        path.write_text(json.dumps(value))
        return path

    return write


def test_a_projects_coded_stretches_are_read(project: dict[str, Any], saved) -> None:
    assert read_corrected(saved(project)).opinions == LABELLED


def test_an_observations_time_offset_is_subtracted(project: dict[str, Any], saved) -> None:
    of(project)["time offset"] = 10.0
    with pytest.raises(DataError, match=r"events 5 and 6: 'happy' begins at -10\.000 s of the video"):
        read_corrected(saved(project))
    for event in of(project)["events"]:
        event[0] = round(event[0] + 10.0, 3)
    assert read_corrected(saved(project)).opinions == LABELLED


def test_a_second_players_offset_is_subtracted(project: dict[str, Any], saved) -> None:
    observation = of(project)
    observation["file"] |= {"1": ["side.mp4"], "2": [MEDIA]}
    observation["media_info"]["offset"] = {"1": 0.0, "2": -0.5}
    assert read_corrected(saved(project)).opinions == at(0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": {"1": ["b.mp4", MEDIA]}}, "player 1 plays 2 media files, whose times are added"),
        ({"file": {"1": [MEDIA], "2": [MEDIA]}}, "expected the reviewed video 'a.mp4' once"),
        ({"file": {"1": ["b.mp4"]}}, "its media files are b.mp4; expected the reviewed video"),
        ({"media_creation_date_as_offset": True}, "its times are dates"),
        ({"media_info": {"offset": {"1": 2.0}}}, "player 1, whose time is the observation's, has the offset 2 s"),
        ({"type": "LIVE"}, "type is 'LIVE', expected 'MEDIA'"),
        ({"time offset": "soon"}, "time offset is 'soon', expected seconds"),
    ],
)
def test_a_time_that_is_not_the_videos_is_refused(project: dict[str, Any], saved, change, words: str) -> None:
    of(project).update(change)
    with pytest.raises(DataError, match=re.escape(words)):
        read_corrected(saved(project))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ([None, "", "happy", "", ""], "event 9: time is null, expected seconds"),
        ([1e300, "", "happy", "", ""], "event 9: time is 1e+300, expected seconds"),
        ([10**400, "", "happy", "", ""], "event 9: time is a number of more than 60 digits, expected seconds"),
        ([5.0, "", 7, "", ""], "event 9: behaviour is 7, expected text"),
        ([5.0, ""], "event 9: behaviour is missing"),
        (5, "event 9 is 5, expected a list of time, subject, behaviour"),
        ([5.0, "", "joy", "", ""], "event 9: 'joy' is no behaviour of the project"),
        ([5.0, "", "fear", "", ""], "event 9: 'fear' begins at 5.000 s and never ends"),
    ],
)
def test_a_malformed_event_is_named(project: dict[str, Any], saved, event: object, words: str) -> None:
    of(project)["events"].append(event)
    with pytest.raises(DataError, match=re.escape(words)):
        read_corrected(saved(project))


def test_an_event_without_duration_and_a_point_event_are_named(project: dict[str, Any], saved) -> None:
    of(project)["events"] += [[5.0, "", "fear", "", ""], [5.0, "", "fear", "", ""]]
    with pytest.raises(DataError, match=r"events 9 and 10: 'fear' lasts from 5\.000 to 5\.000 s"):
        read_corrected(saved(project))
    of(project)["events"] = of(project)["events"][:-2]
    (sad,) = (behaviour for behaviour in project["behaviors_conf"].values() if behaviour["code"] == "sad")
    sad["type"] = "Point event"
    with pytest.raises(DataError, match="event 7: 'sad' is a point event; expected a state event"):
        read_corrected(saved(project))


def test_events_of_several_focal_subjects_are_refused(project, saved, table) -> None:
    of(project)["events"] += [[5.0, "the therapist", "fear", "", ""], [6.0, "the therapist", "fear", "", ""]]
    words = "its focal subjects are the therapist, No focal subject; expected one, the person whose face was followed"
    with pytest.raises(DataError, match=words):
        read_corrected(saved(project))
    with pytest.raises(DataError, match=words):
        read_corrected(table({}, lambda text: text.replace("No focal subject", "the therapist", 1)))
    assert read_corrected(table({"Subject": "the child"})).opinions == LABELLED


def test_no_damage_to_a_project_loses_a_label(project: dict[str, Any], saved, spoilt: Spoilt) -> None:
    codes = {"happy", "sad", "model: happy"}
    project["behaviors_conf"] = {k: v for k, v in project["behaviors_conf"].items() if v["code"] in codes}
    assert_no_label_is_lost(spoilt(project), saved, ".events = '[]'")


# --- tables of BORIS --------------------------------------------------------------------------------------------------


@pytest.fixture
def table(make, tmp_path: Path) -> Callable[..., Path]:
    """``table({"Time offset (s)": "10"})``: the labelled stretches as BORIS exports them, with these cells."""

    def write(cells: dict[str, str], change: Callable[[str], str] = lambda text: text) -> Path:
        row = next(csv.DictReader(io.StringIO(boris.write_table(make([SURE]), MEDIA).decode())))
        rows = [
            {**row, "Behavior": label, "Start (s)": str(start), "Stop (s)": str(end), **cells}
            for start, end, label in LABELLED
        ]
        (tmp_path / "back.csv").write_text(change(pd.DataFrame(rows).to_csv(index=False)))
        return tmp_path / "back.csv"

    return write


def test_a_tables_time_offset_is_subtracted_or_the_table_refused(table) -> None:
    assert read_corrected(table({"Time offset (s)": "-1.0"})).opinions == at(1.0)
    assert read_corrected(table({})).opinions == LABELLED
    missing = r"columns missing: Time offset \(s\); .* save the project, and give its .boris"
    with pytest.raises(DataError, match=missing):
        read_corrected(table({}, lambda text: text.replace("Time offset (s)", "Remarks")))
    with pytest.raises(DataError, match=r"line 2: 'happy' .* begins at -1\.000 s of the video"):
        read_corrected(table({"Time offset (s)": "1"}))


@pytest.mark.parametrize(
    ("source", "fits"),
    [
        (f"player #1:{MEDIA}", True),
        (r"player #1:C:\x\a.mp4|player #2:side.mp4", True),
        (f"player #1:side.mp4|player #2:{MEDIA}", False),
        (f"player #1:b.mp4;{MEDIA}", False),
        ("Live observation", False),
    ],
)
def test_a_table_is_of_the_reviewed_video_alone(table, source: str, fits: bool) -> None:
    path = table({"Source": source})
    if fits:
        assert read_corrected(path).opinions == LABELLED
    else:
        with pytest.raises(DataError, match=r"column Source is .*, expected the reviewed video alone in its player"):
            read_corrected(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",sad,", ',"sad,'), "line 3: a quotation mark is opened and not closed"),
        (lambda text: text.replace(",happy,", ',"happy,').replace(",sad,", ',sad",'), "line 2: a quotation mark"),
        (lambda text: text.replace(",happy,", ",happy,,"), "line 2: 18 cells; expected 17 cells"),
        (lambda text: text.replace("1.2", "1;2"), "line 2: 'happy' from '0.0' to '1;2': '1;2' is no number of seconds"),
        (
            lambda text: text.replace("1.2", '"1,2"'),
            "'1,2' is no number of seconds (a decimal comma; expected a point)",
        ),
        (lambda text: text.replace("1.2", "NA"), "line 2: 'happy' from '0.0' to 'NA': 'NA' is no number of seconds"),
        (lambda text: text.replace("1.2", "0.0"), "line 2: 'happy' from '0.0' to '0.0': lasts from 0.000 to 0.000 s"),
        (lambda text: text.replace("1.2", "inf"), "line 2: 'happy' from '0.0' to 'inf'"),
        (lambda text: text.replace("1.2", "9" * 400), "line 2"),
        (lambda text: text.replace("Description", "Behavior"), "columns there twice: Behavior"),
        (lambda text: text.replace("Behavior,", "Conduct,", 1), "columns missing: Behavior"),
        (lambda text: text.replace("sha256:", ""), "which video it belongs to"),
    ],
)
def test_no_damage_to_a_table_loses_a_label_and_no_other_table_is_read(table, change, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as problem:
        read_corrected(table({}, change))
    assert len(str(problem.value)) < 2000
