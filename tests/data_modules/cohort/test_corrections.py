"""Corrected files into ``annotations.csv``: the label of a clip, refusals, and unchanged rows."""

import csv
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.cohort.admission import Cohort, admit, open_keys
from data_modules.cohort.corrections import add_corrections, votes_of
from data_modules.cohort.manifests import read_manifests
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.errors import DataError
from fer_id.labels import TARGET
from fer_id.video.corrections import Opinion
from fer_id.video.inference import open_video
from tests.refusals import refused

VIDEO = "videos/drawn7-000-happy.mp4"
CLIP = "drawn7-000-happy-00"

Back = Callable[..., Path]
Add = Callable[..., list[str]]


@pytest.fixture
def back(site: Path, tmp_path: Path) -> Back:
    """``back([(0, 1.2, "sad")])``: a table that a person filled in for the video."""

    def make(
        rows: Sequence[tuple[float, float, str]], *, name: str = "back.csv", video: str = VIDEO, subject: str = ""
    ) -> Path:
        video_file = open_video(site / video)
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Observation id", "Behavior", "Start (s)", "Stop (s)", "Time offset (s)"])
            observation = f"{video_file.name} sha256:{video_file.sha256}{subject and f' subject:{subject}'}"
            writer.writerows([observation, label, start, end, 0] for start, end, label in rows)
        return tmp_path / name

    return make


@pytest.fixture
def add(site: Path, tmp_path: Path) -> Add:
    """``add([file], "ann")`` on the current site."""

    def run(paths: Sequence[Path], annotator: str = "ann") -> list[str]:
        key, log = open_keys(tmp_path / "keys")
        cohort: Cohort = admit(read_manifests(site), key, {}, date.today())
        return add_corrections(cohort, paths, annotator, log)

    return run


def votes(site: Path) -> list[dict[str, str]]:
    with (site / "annotations.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_label_becomes_a_row_and_nothing_else_changes(site: Path, back: Back, add: Add, tmp_path: Path) -> None:
    before = (site / "annotations.csv").read_bytes()
    (sentence,) = add([back([(0.0, 1.2, "sad")])])
    assert sentence.endswith("opinions about 1 clip")
    assert (site / "annotations.csv").read_bytes() == before + f"{CLIP},ann,sad,\r\n".encode()
    line = AuditLog(tmp_path / "keys", Key.load(tmp_path / "keys")).verify()[-1]
    assert line["event"] == "annotated"
    assert CLIP not in str(line)
    (again,) = add([back([(0.0, 1.2, "sad")])])
    assert "1 of them stood there already" in again
    assert len(votes(site)) == len(before.splitlines())


def test_a_site_without_annotations_gets_them(site: Path, back: Back, add: Add) -> None:
    (site / "annotations.csv").unlink()
    add([back([(0.0, 1.2, "sad")])])
    assert votes(site) == [{"clip_id": CLIP, "annotator": "ann", "label": "sad", "confidence": ""}]


def test_a_spreadsheets_line_ends_and_order_of_columns_are_kept(site: Path, back: Back, add: Add) -> None:
    old = "\ufefflabel,clip_id,confidence,annotator\r\nhappy,drawn7-000-sad-00,0.5,bob\r\n\r\n"
    (site / "annotations.csv").write_bytes(old.encode())
    add([back([(0.0, 1.2, "fear")])], " Jos\u0065\u0301 ")
    added = f"fear,{CLIP},,Jos\u00e9\r\n"
    assert (site / "annotations.csv").read_bytes() == (old.removesuffix("\r\n") + added).encode()
    assert read_manifests(site).annotations is not None


def test_earlier_labels_are_not_overwritten(site: Path, back: Back, add: Add) -> None:
    add([back([(0.0, 1.2, "sad")])])
    before = (site / "annotations.csv").read_bytes()
    other = back([(0.0, 1.2, "fear")], name="other.csv")
    with pytest.raises(DataError, match=f"ann calls {CLIP} fear, but sad in annotations.csv"):
        add([other])
    assert (site / "annotations.csv").read_bytes() == before
    add([other], "ben")
    assert votes(site)[-1]["annotator"] == "ben"


def test_two_files_that_disagree_are_reported_and_neither_is_taken(site: Path, back: Back, add: Add) -> None:
    before = (site / "annotations.csv").read_bytes()
    files = [back([(0, 1.2, "sad")]), back([(0, 1.2, "fear")], name="b.csv")]
    with pytest.raises(DataError, match=rf"b\.csv: ann calls {CLIP} fear, but sad in .*back\.csv"):
        add(files)
    assert (site / "annotations.csv").read_bytes() == before


def test_every_mistake_is_reported_together(site: Path, back: Back, add: Add, tmp_path: Path) -> None:
    strange = back([(0, 1.2, "bored")], name="strange.csv")
    empty = back([(0, 1.2, "for review"), (0, 1, "model: happy")], name="empty.csv")
    foreign = back([(0, 1.2, "sad")], name="foreign.csv")
    content = foreign.read_text()
    sha256 = content.split("sha256:")[1][:64]
    foreign.write_text(content.replace(sha256, "f" * 64))
    before = (site / "annotations.csv").read_bytes()
    other = ("foreign.csv: belongs to another video", f"{VIDEO} has that name and another content")
    rest = ("'bored', expected one of happy, sad", "nobody has labelled anything in it yet", "none.eaf: no such file")
    with refused(DataError, *other, *rest):
        add([strange, empty, foreign, tmp_path / "none.eaf"])
    assert (site / "annotations.csv").read_bytes() == before


def test_a_renamed_video_is_known_by_its_content(site: Path, back: Back, add: Add) -> None:
    file = back([(0, 1.2, "sad")])
    (site / VIDEO).rename(site / "videos" / "new.mp4")
    table = site / "clips.csv"
    table.write_text(table.read_text().replace(VIDEO, "videos/new.mp4"))
    add([file])
    assert votes(site)[-1]["clip_id"] == CLIP


def test_a_subject_who_is_not_admitted_is_not_named(site: Path, back: Back, add: Add) -> None:
    file = back([(0, 1.2, "sad")])
    table = site / "consent.csv"
    table.write_text(table.read_text().replace("drawn7-000,2026-01-15,given", "drawn7-000,2026-01-15,refused"))
    with pytest.raises(DataError, match="none of those who take part"):
        add([file])


def test_of_several_children_in_a_video_only_the_followed_child_gets_the_label(
    site: Path, back: Back, add: Add, tmp_path: Path
) -> None:
    table = site / "clips.csv"
    others = [line for line in table.read_text().splitlines() if VIDEO not in line]
    rows = [f"one,drawn7-000,{VIDEO},0.0,0.6,,home", f"other,drawn7-001,videos/./{Path(VIDEO).name},0.6,1.2,,home"]
    table.write_text("\n".join([*others, *rows]) + "\n")
    (site / "annotations.csv").unlink()
    with pytest.raises(DataError, match=r"several children in .*, and the file does not say which .* subject=NAME"):
        add([back([(0.0, 1.2, "sad")])])
    assert not (site / "annotations.csv").exists()
    name = open_keys(tmp_path / "keys")[0].pseudonym("subject", "drawn7-001")
    add([back([(0.0, 1.2, "sad")], subject=name)])
    assert [vote["clip_id"] for vote in votes(site)] == ["other"]


def test_a_label_after_the_videos_end_was_given_to_another_video(site: Path, back: Back, add: Add) -> None:
    end = open_video(site / VIDEO).length_s
    ends = rf"'sad' ends at {end + 1:.2f} s, the video at {end:.2f} s: .* link the reviewed"
    with pytest.raises(DataError, match=ends):
        add([back([(0.0, end + 1, "sad")])])


# --- what covers a clip -----------------------------------------------------------------------------------------------

CLIPS = pd.DataFrame({"clip_id": ["a", "b", "c"], "start_s": [0.0, 2.0, 6.0], "end_s": [2.0, 4.0, 8.0]})


@pytest.mark.parametrize(
    ("opinions", "votes", "lost"),
    [
        ([(0, 4, "happy")], {"a": "happy", "b": "happy"}, []),
        ([(0, 1.1, "sad"), (1.1, 2, "happy")], {"a": "sad"}, []),
        ([(0, 1, "sad"), (1, 2, "happy")], {}, ["clips"]),  # a half is no majority
        ([(0.2, 0.8, "sad"), (1.0, 1.6, "sad")], {"a": "sad"}, []),  # 60 % together
        ([(0.2, 1.0, "sad"), (0.4, 1.0, "sad")], {}, ["clips"]),  # overlaps count once
        ([(0, 2, "sad"), (0, 2, "happy")], {}, ["clips"]),  # two labels at once: neither
        ([(4.5, 5.5, "fear")], {}, ["stretches"]),
        ([(5.0, 6.5, "fear")], {}, ["clips"]),
    ],
)
def test_more_than_half_of_a_clip(
    opinions: list[tuple[float, float, str]], votes: dict[str, str], lost: list[str]
) -> None:
    labels, without = votes_of([Opinion(*opinion) for opinion in opinions], CLIPS)
    assert labels == votes
    assert [reason.split()[0] for reason in without] == lost


OPINIONS = st.builds(
    lambda start, length, label: Opinion(start, start + length, label),
    *(st.floats(0, 9), st.floats(0.01, 5), st.sampled_from(TARGET.names)),
)


@given(st.lists(OPINIONS, max_size=6))
def test_a_vote_is_for_a_label_that_most_of_the_clip_was_given(opinions: list[Opinion]) -> None:
    labels, _ = votes_of(opinions, CLIPS)
    for clip, start, _ in CLIPS.itertuples(index=False):  # each of two seconds
        moments = start + (np.arange(2000) + 0.5) / 1000
        shares = {}
        for label in {opinion.label for opinion in opinions}:
            given_it = [(moments >= o.start_s) & (moments < o.end_s) for o in opinions if o.label == label]
            shares[label] = np.any(given_it, axis=0).mean()
        most = [label for label, share in shares.items() if share > 0.5]
        near = any(abs(share - 0.5) < 0.01 for share in shares.values())  # the grid cannot tell
        assert near or labels.get(clip) == (most[0] if len(most) == 1 else None)
