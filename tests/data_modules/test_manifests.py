"""The tables of a cohort folder: every problem of every row at once, and nothing opened outside the folder."""

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from data_modules.manifests import read_manifests
from fer_id.cohort_tables import CLIP_ROW_COLUMNS, CONSENT_COLUMNS, SUBJECT_COLUMNS
from fer_id.errors import DataError

Rows = list[list[str]]
SUBJECTS: Rows = [["anna", "05-08", "female", "mild", "a", "north"], ["ben", "09-12", "male", "severe", "b", "north"]]
CLIPS: Rows = [
    ["c1", "anna", "videos/a.mp4", "0", "2.5", "happy", "home"],
    ["c2", "anna", "videos/a.mp4", "2.5", "5", "", "home"],
    ["c3", "ben", "videos/b.mp4", "1", "4", "fear", ""],
]
CONSENT: Rows = [
    ["anna", "2026-01-02", "given", "yes", "yes", "training;evaluation", "2099-01-01", ""],
    ["ben", "2026-01-02", "given", "yes", "not_capable", "evaluation", "", "EC-7"],
]
Make = Callable[..., Path]


@pytest.fixture
def cohort(tmp_path: Path) -> Make:
    """``cohort(clips=..., subjects=..., consent=...)``: a folder with those tables, encoding and line ends as asked."""

    def make(
        subjects: Rows = SUBJECTS,
        clips: Rows = CLIPS,
        consent: Rows = CONSENT,
        encoding: str = "utf-8",
        ends: str = "\n",
    ) -> Path:
        (tmp_path / "videos").mkdir(exist_ok=True)
        for name in "ab":
            (tmp_path / "videos" / f"{name}.mp4").touch()
        tables = ((SUBJECT_COLUMNS, subjects), (CLIP_ROW_COLUMNS, clips), (CONSENT_COLUMNS, consent))
        for name, (columns, rows) in zip(("subjects", "clips", "consent"), tables, strict=True):
            with (tmp_path / f"{name}.csv").open("w", newline="", encoding=encoding) as file:
                csv.writer(file, lineterminator=ends).writerows([columns, *rows])
        return tmp_path

    return make


def changed(rows: Rows, row: int, column: int, value: str) -> Rows:
    """The rows with one other cell."""
    copy = [list(one) for one in rows]
    copy[row][column] = value
    return copy


def told(folder: Path) -> str:
    with pytest.raises(DataError) as problem:
        read_manifests(folder)
    return str(problem.value)


@pytest.mark.parametrize(("encoding", "ends"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_what_is_read(cohort: Make, encoding: str, ends: str) -> None:
    manifests = read_manifests(cohort(encoding=encoding, ends=ends))
    assert manifests.subjects["subject_id"].tolist() == ["anna", "ben"]
    assert manifests.clips["label"].tolist() == ["happy", None, "fear"]
    assert manifests.clips["end_s"].tolist() == [2.5, 5.0, 4.0]
    assert manifests.groups == ["age_group", "gender", "severity", "ethnicity", "site", "context"]
    assert manifests.provenance == "real"
    assert manifests.consent[0].expires_on == date(2099, 1, 1)
    assert manifests.consent[1].purposes == {"evaluation"}
    assert manifests.consent[1].expires_on is None


def test_only_the_empty_cell_is_missing_and_ids_stay_text(cohort: Make) -> None:
    subjects = changed(changed(SUBJECTS, 0, 1, "NA"), 1, 2, "null")
    subjects[0][0], clips = "007", changed(changed(CLIPS, 0, 1, "007"), 1, 1, "007")
    manifests = read_manifests(cohort(subjects, clips, changed(CONSENT, 0, 0, "007")))
    assert manifests.subjects["subject_id"].tolist() == ["007", "ben"]
    assert manifests.subjects["age_group"].tolist() == ["NA", "09-12"]
    assert manifests.subjects["gender"].tolist() == ["female", "null"]


def test_names_in_any_script_are_one_name_however_composed(cohort: Make) -> None:
    subjects = [["Rene\u0301e", *SUBJECTS[0][1:]], ["\u674e\u96f7", *SUBJECTS[1][1:]]]
    clips = [["c1", "Ren\u00e9e", *CLIPS[0][2:]], ["c3", "\u674e\u96f7", *CLIPS[2][2:]]]
    consent = changed(changed(CONSENT, 0, 0, "Ren\u00e9e"), 1, 0, "\u674e\u96f7")
    assert read_manifests(cohort(subjects, clips, consent)).clips["subject_id"].tolist() == [
        "Ren\u00e9e",
        "\u674e\u96f7",
    ]


def test_a_further_column_is_a_group(cohort: Make) -> None:
    folder = cohort()
    (folder / "subjects.csv").write_text(
        (folder / "subjects.csv").read_text().replace("site\n", "site,glasses\n").replace("north\n", "north,yes\n")
    )
    assert "glasses" in read_manifests(folder).groups


BAD_CELLS = [
    ("clips", 0, 0, "c2", "a value that stands once"),
    ("clips", 0, 0, "", "a value"),
    ("clips", 0, 1, "carl", "not in subjects.csv"),
    ("clips", 0, 2, "../a.mp4", "inside the cohort folder"),
    ("clips", 0, 2, "/etc/passwd", "inside the cohort folder"),
    ("clips", 0, 2, "videos/none.mp4", "no such file"),
    ("clips", 0, 2, "videos", "no such file"),
    ("clips", 0, 3, "-1", "a number of at least 0"),
    ("clips", 0, 3, "nan", "a number of at least 0"),
    ("clips", 0, 4, "inf", "a number of at least 0"),
    ("clips", 0, 4, "0", "not after its start"),
    ("clips", 0, 5, "joy", "one of happy, sad, angry, fear, neutral"),
    ("clips", 0, 6, "=HYPERLINK(1)", "a spreadsheet formula"),
    ("subjects", 0, 0, "ben", "a value that stands once"),
    ("subjects", 0, 0, "@anna", "a spreadsheet formula"),
    ("clips", 0, 4, "1e13", "a number of at least 0"),
    ("clips", 0, 4, "1_0", "a number of at least 0"),
    ("clips", 0, 6, "-cmd", "a spreadsheet formula"),
    ("clips", 0, 6, "with Anna", "holds the subject's name"),
    ("clips", 0, 2, "v" * 300, "no file that can be looked at"),
    ("subjects", 1, 5, "Ben's home", "holds the subject's name"),
    ("consent", 0, 0, "Anna", "'Anna' is not in subjects.csv"),
    ("consent", 0, 1, "2026-13-01", "a date such as"),
    ("consent", 0, 1, "01.02.2026", "a date such as"),
    ("consent", 0, 1, "2999-01-01", "in the future"),
    ("consent", 0, 2, "yes", "one of unknown, requested, given"),
    ("consent", 0, 3, "maybe", "one of yes, no"),
    ("consent", 0, 4, "probably", "one of yes, no, not_capable"),
    ("consent", 0, 5, "training;fun", "some of training, evaluation"),
    ("consent", 0, 6, "never", "a date such as"),
]


@pytest.mark.parametrize(("table", "row", "column", "value", "expected"), BAD_CELLS)
def test_a_bad_cell_is_named(cohort: Make, table: str, row: int, column: int, value: str, expected: str) -> None:
    rows = {"subjects": SUBJECTS, "clips": CLIPS, "consent": CONSENT}
    message = told(cohort(**{table: changed(rows[table], row, column, value)}))
    assert f"{table}.csv, line " in message
    assert expected in message


def test_all_problems_of_all_tables_come_together(cohort: Make) -> None:
    subjects = changed(SUBJECTS, 1, 0, "")
    clips = changed(changed(CLIPS, 0, 3, "soon"), 2, 5, "bored")
    message = told(cohort(subjects, clips, changed(CONSENT, 0, 2, "fine")))
    for expected in (
        "subjects.csv, line 3",
        "clips.csv, line 2",
        "clips.csv, line 4",
        "consent.csv, line 2",
        "6 problems",
    ):
        assert expected in message


def test_two_answers_on_one_day(cohort: Make) -> None:
    consent = [*CONSENT, [*CONSENT[0][:2], "refused", *CONSENT[0][3:]]]
    assert "consent.csv, line 4: disagrees with line 2" in told(cohort(consent=consent))


def test_a_link_that_leads_out(cohort: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, elsewhere = cohort(), tmp_path_factory.mktemp("elsewhere") / "a.mp4"
    elsewhere.touch()
    (folder / "videos" / "a.mp4").unlink()
    (folder / "videos" / "a.mp4").symlink_to(elsewhere)
    assert "a link that leads out" in told(folder)


def test_missing_tables_and_columns(cohort: Make, tmp_path: Path) -> None:
    assert "no such folder" in told(tmp_path / "none")
    folder = cohort()
    (folder / "consent.csv").unlink()
    (folder / "subjects.csv").write_text("subject_id,age_group\nanna,1\n")
    message = told(folder)
    assert "consent.csv: no such file" in message
    assert "column severity is missing" in message


def test_two_children_at_one_time_in_one_video(cohort: Make) -> None:
    assert "clips.csv, line 4: overlaps with line 2 of another subject" in told(
        cohort(clips=changed(CLIPS, 2, 2, "videos/a.mp4"))
    )
    nested = [*changed(CLIPS, 0, 4, "9"), ["c4", "ben", "./videos/a.mp4", "6", "7", "sad", ""]]
    assert "clips.csv, line 5: overlaps with line 2" in told(cohort(clips=nested))
    later = changed(changed(changed(CLIPS, 2, 2, "videos/a.mp4"), 2, 3, "5"), 2, 4, "7")
    assert len(read_manifests(cohort(clips=later)).clips) == 3


def test_votes(cohort: Make) -> None:
    folder = cohort()
    header = "clip_id,annotator,label,confidence\n"
    (folder / "annotations.csv").write_text(header + "c1,x,happy,0.5\nc1,y,sad,\n")
    votes = read_manifests(folder).annotations
    assert votes is not None
    assert votes["confidence"].fillna(-1).tolist() == [0.5, -1]
    (folder / "annotations.csv").write_text(header + "c1,x,happy,2\nc9,y,sad,\nc2,y,joy,1\nc1,x,sad,1\n")
    message = told(folder)
    for expected in (
        "line 2, column confidence",
        "'c9' is not in clips.csv",
        "line 4, column label",
        "x labelled c1 before",
    ):
        assert expected in message


def test_spaces_between_purposes_and_empty_lines_are_fine(cohort: Make) -> None:
    folder = cohort(consent=changed(CONSENT, 0, 5, "training; evaluation"))
    with (folder / "clips.csv").open("a") as file:
        file.write("\n\n")
    manifests = read_manifests(folder)
    assert manifests.consent[0].purposes == {"training", "evaluation"}
    assert len(manifests.clips) == 3


def test_a_link_to_itself(cohort: Make) -> None:
    folder = cohort()
    (folder / "videos" / "a.mp4").unlink()
    (folder / "videos" / "a.mp4").symlink_to("a.mp4")
    assert "clips.csv, line 2, column video" in told(folder)


@pytest.mark.parametrize("name", ["fold", "flagged", "logit_happy", "p_x"])
def test_a_column_that_a_run_uses_itself(cohort: Make, name: str) -> None:
    folder = cohort()
    text = (folder / "subjects.csv").read_text().replace("site\n", f"site,{name}\n").replace("north\n", "north,1\n")
    (folder / "subjects.csv").write_text(text)
    assert f"a column {name} means something else" in told(folder)


def test_an_empty_table(cohort: Make) -> None:
    assert "clips.csv: no row" in told(cohort(clips=[]))


def test_a_column_that_a_store_uses_itself(cohort: Make) -> None:
    folder = cohort()
    text = (folder / "subjects.csv").read_text().replace("site\n", "site,split\n").replace("north\n", "north,1\n")
    (folder / "subjects.csv").write_text(text)
    assert "a column split means something else" in told(folder)
