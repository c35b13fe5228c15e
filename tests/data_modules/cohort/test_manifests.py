"""The tables of a cohort folder: all problems of all rows together, and no file opened outside the folder."""

import csv
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_modules.cohort.manifests import read_manifests
from fer_id.cohort_tables import ANNOTATION_COLUMNS, CLIP_ROW_COLUMNS, CONSENT_COLUMNS, SUBJECT_COLUMNS
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
HEADERS = {
    **{"subjects": SUBJECT_COLUMNS, "clips": CLIP_ROW_COLUMNS},
    **{"consent": CONSENT_COLUMNS, "annotations": ANNOTATION_COLUMNS},
}
Make = Callable[..., Path]


@pytest.fixture
def cohort(tmp_path: Path) -> Make:
    """``cohort(clips=..., subjects=..., consent=...)``: a folder with these tables, encoding and line ends."""

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
        for name, rows in {"subjects": subjects, "clips": clips, "consent": consent}.items():
            with (tmp_path / f"{name}.csv").open("w", newline="", encoding=encoding) as file:
                csv.writer(file, lineterminator=ends).writerows([HEADERS[name], *rows])
        return tmp_path

    return make


def changed(rows: Rows, row: int, column: int, value: str) -> Rows:
    """Return the rows with one changed cell."""
    copy = [list(cells) for cells in rows]
    copy[row][column] = value
    return copy


def problems_of(folder: Path, chosen: Sequence[str] = ()) -> str:
    with pytest.raises(DataError) as problem:
        read_manifests(folder, chosen)
    assert len(str(problem.value)) < 2000
    return str(problem.value)


@pytest.mark.parametrize(("encoding", "ends"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_tables_are_read(cohort: Make, encoding: str, ends: str) -> None:
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
    names = read_manifests(cohort(subjects, clips, consent)).clips["subject_id"].tolist()
    assert names == ["Ren\u00e9e", "\u674e\u96f7"]


def with_column(folder: Path, table: str, name: str, cell: str) -> Path:
    """Add a column with the same cell in every row to a cohort's table."""
    header, *rows = (folder / f"{table}.csv").read_text().splitlines()
    (folder / f"{table}.csv").write_text("\n".join([f"{header},{name}", *(f"{row},{cell}" for row in rows), ""]))
    return folder


def test_a_further_column_is_a_group_where_it_is_named(cohort: Make) -> None:
    folder = with_column(with_column(cohort(), "subjects", "birth_date", "2016-02-03"), "clips", "light", "dim")
    manifests = read_manifests(folder)
    documented = ["age_group", "gender", "severity", "ethnicity", "site", "context"]
    assert manifests.groups == documented
    assert manifests.notes == [
        'stays out of the store: birth_date of subjects.csv; light of clips.csv. "data.groups=[birth_date,light]" of '
        "fer-id prepare keeps it"
    ]
    chosen = read_manifests(folder, ["light", "severity"])
    assert chosen.groups == [*documented, "light"]
    assert chosen.notes == [
        'stays out of the store: birth_date of subjects.csv. "data.groups=[birth_date]" of fer-id prepare keeps it'
    ]
    assert read_manifests(cohort()).notes == []


def test_a_group_that_no_table_has(cohort: Make) -> None:
    message = problems_of(with_column(cohort(), "subjects", "glasses", "yes"), ["glasses", "hat"])
    assert "data.groups: no column 'hat'; further columns of subjects.csv and clips.csv: glasses" in message


@pytest.mark.parametrize("name", ["=1+1", "@x", "-x", "a\x1b[31m", "a\u202eb", "a\x00"])
def test_a_header_is_no_formula_and_printable(cohort: Make, name: str) -> None:
    assert "subjects.csv: header: " in problems_of(with_column(cohort(), "subjects", name, "1"))


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
    ("clips", 0, 6, "with Anna", "holds the name of a subject"),
    ("clips", 0, 2, "v" * 300, "no file that can be looked at"),
    ("subjects", 1, 5, "Ben's home", "holds the name of a subject"),
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
    message = problems_of(cohort(**{table: changed(rows[table], row, column, value)}))
    assert f"{table}.csv, line " in message
    assert expected in message


def test_all_problems_of_all_tables_come_together(cohort: Make) -> None:
    subjects = changed(SUBJECTS, 1, 0, "")
    clips = changed(changed(CLIPS, 0, 3, "soon"), 2, 5, "bored")
    message = problems_of(cohort(subjects, clips, changed(CONSENT, 0, 2, "fine")))
    assert "6 problems" in message
    for expected in ("subjects.csv, line 3", "clips.csv, line 2", "clips.csv, line 4", "consent.csv, line 2"):
        assert expected in message


def test_two_answers_on_one_day(cohort: Make) -> None:
    consent = [*CONSENT, [*CONSENT[0][:2], "refused", *CONSENT[0][3:]]]
    assert "consent.csv, line 4: disagrees with line 2" in problems_of(cohort(consent=consent))


def test_a_link_that_leads_out(cohort: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, elsewhere = cohort(), tmp_path_factory.mktemp("elsewhere") / "a.mp4"
    elsewhere.touch()
    (folder / "videos" / "a.mp4").unlink()
    (folder / "videos" / "a.mp4").symlink_to(elsewhere)
    assert "a link that leads out" in problems_of(folder)


def test_missing_tables_and_columns(cohort: Make, tmp_path: Path) -> None:
    assert "no such folder" in problems_of(tmp_path / "none")
    folder = cohort()
    (folder / "consent.csv").unlink()
    (folder / "subjects.csv").write_text("subject_id,age_group\nanna,1\n")
    message = problems_of(folder)
    assert "consent.csv: no such file" in message
    assert "column severity is missing" in message


def test_two_children_at_one_time_in_one_video(cohort: Make) -> None:
    message = problems_of(cohort(clips=changed(CLIPS, 2, 2, "videos/a.mp4")))
    assert "clips.csv, line 4: overlaps with line 2 of another subject" in message
    nested = [*changed(CLIPS, 0, 4, "9"), ["c4", "ben", "./videos/a.mp4", "6", "7", "sad", ""]]
    assert "clips.csv, line 5: overlaps with line 2" in problems_of(cohort(clips=nested))
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
    message = problems_of(folder)
    bad = ("line 2, column confidence", "'c9' is not in clips.csv", "line 4, column label", "x labelled c1 before")
    for expected in bad:
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
    assert "clips.csv, line 2, column video" in problems_of(folder)


@pytest.mark.parametrize("name", ["fold", "flagged", "logit_happy", "p_x", "split"])
def test_a_column_that_a_store_or_run_uses_itself(cohort: Make, name: str) -> None:
    folder = with_column(cohort(), "subjects", name, "1")
    assert name not in read_manifests(folder).groups
    assert f"a column {name} means something else" in problems_of(folder, [name])


def test_an_empty_table(cohort: Make) -> None:
    assert "clips.csv: no row" in problems_of(cohort(clips=[]))


# --------------------------------------------------------------------------------------------- cells over line ends

LAST_COLUMNS = {
    "subjects": ("anna,05-08,female,mild,a,{}", "ben,09-12,male,severe,b,north"),
    "clips": ("c1,anna,videos/a.mp4,0,2.5,happy,{}", "c3,ben,videos/b.mp4,1,4,fear,home"),
    "consent": ("anna,2026-01-02,given,yes,yes,training,,{}", "ben,2026-01-02,withdrawn,yes,yes,training,,"),
    "annotations": ("c1,x,happy,{}", "c1,y,sad,1"),
}


def replaced(folder: Path, table: str, rows: Sequence[str]) -> Path:
    (folder / f"{table}.csv").write_text("\n".join([",".join(HEADERS[table]), *rows, ""]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("closing", ["", '"', '" and on'])
@pytest.mark.parametrize("table", LAST_COLUMNS)
def test_a_quotation_mark_swallows_no_row(cohort: Make, table: str, closing: str) -> None:
    """Also where another mark closes it in a row below."""
    first, second = LAST_COLUMNS[table]
    message = problems_of(replaced(cohort(), table, [first.format('"EC 12'), second + closing]))
    assert f"{table}.csv: line 2: a quotation mark is opened and not closed" in message.splitlines()[1]


def test_a_withdrawal_below_a_lone_mark_is_seen(cohort: Make) -> None:
    """The withdrawn child is not admitted: such a table is refused as a whole."""
    rows = ["anna,2026-01-02,given,yes,yes,training,,", 'ben,2026-01-02,given,yes,yes,training,,"EC 12']
    folder = replaced(cohort(), "consent", [*rows, "ben,2026-02-02,withdrawn,yes,yes,,,"])
    assert "consent.csv: line 3: a quotation mark" in problems_of(folder)


def test_a_closed_cell_over_two_lines_is_one_problem(cohort: Make) -> None:
    rows = ['c1,anna,videos/a.mp4,0,2.5,happy,"play', 'room"', "c3,ben,videos/b.mp4,1,4,fear,home"]
    assert problems_of(replaced(cohort(), "clips", rows)).splitlines()[0].endswith("1 problem")


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff"])
@pytest.mark.parametrize("table", LAST_COLUMNS)
def test_cells_are_printable(cohort: Make, table: str, character: str) -> None:
    first, second = LAST_COLUMNS[table]
    message = problems_of(replaced(cohort(), table, [second, first.format(f"a{character}b")]))
    assert f"{table}.csv: line 3, column {HEADERS[table][-1]}: " in message
    assert f"the character U+{ord(character):04X}" in message
    assert character not in message


def test_text_of_every_script_is_printable(cohort: Make) -> None:
    """Persian with a zero-width non-joiner, a non-breaking space, an emoji of two with a joiner, and tabs around."""
    texts = ["\u062e\u0627\u0646\u0647\u200c\u0647\u0627", "a\u00a0b", "\U0001f468\u200d\U0001f469", "\thome\t"]
    rows = [f"c{number},anna,videos/a.mp4,{number},{number}.5,sad,{text}" for number, text in enumerate(texts)]
    contexts = read_manifests(replaced(cohort(), "clips", rows)).clips["context"].tolist()
    assert contexts == [*texts[:3], "home"]


# ------------------------------------------------------------------------------------------------- names in groups


@pytest.mark.parametrize("cell", ["ben", "BEN", "with Ben", "Ben's", "(ben)", "anna/ben"])
def test_no_group_holds_the_name_of_any_child(cohort: Make, cell: str) -> None:
    """The changed row is Anna's."""
    message = problems_of(cohort(clips=changed(CLIPS, 0, 6, cell)))
    assert "clips.csv, line 2, column context: holds the name of a subject" in message
    assert cell not in message


@pytest.mark.parametrize("cell", ["bench", "annas", "reuben"])
def test_a_part_of_a_word_is_no_name(cohort: Make, cell: str) -> None:
    assert cell in read_manifests(cohort(clips=changed(CLIPS, 0, 6, cell))).clips["context"].tolist()


def test_names_of_several_words_and_in_other_scripts(cohort: Make) -> None:
    def named(first: str, second: str, cell: str) -> Path:
        subjects = [[first, *SUBJECTS[0][1:]], [second, *SUBJECTS[1][1:]]]
        clips = [[row[0], {"anna": first, "ben": second}[row[1]], *row[2:6], cell] for row in CLIPS]
        return cohort(subjects, clips, [[first, *CONSENT[0][1:]], [second, *CONSENT[1][1:]]])

    assert "holds the name of a subject" in problems_of(named("Anna-Lena M.", "Ben", "room of anna-lena m."))
    assert "holds the name of a subject" in problems_of(named("\u674e\u96f7", "Ben", "\u674e\u96f7"))
    assert read_manifests(named("Anna-Lena M.", "Ben", "Lena")).notes == []


def test_a_name_that_is_a_number_only_warns(cohort: Make) -> None:
    subjects = [["08", *SUBJECTS[0][1:]], ["12", *SUBJECTS[1][1:]]]
    clips = [[row[0], {"anna": "08", "ben": "12"}[row[1]], *row[2:]] for row in CLIPS]
    consent = [["08", *CONSENT[0][1:]], ["12", *CONSENT[1][1:]]]
    notes = read_manifests(cohort(subjects, clips, consent)).notes
    assert len(notes) == 2
    assert "subjects.csv, line 2, column age_group: holds '08', which is also the name of a subject" in notes[0]


# -------------------------------------------------------------------------------------------- tables of an office


@pytest.mark.parametrize(
    ("table", "content", "says"),
    [
        ("clips", "a;b;c", "its cells are separated by semicolons; save it as CSV UTF-8 with commas"),
        ("clips", "a\tb\tc", "its cells are separated by tabs; save it as CSV UTF-8 with commas"),
        ("clips", "utf-16", "UTF-16 text; save it as CSV UTF-8 with commas"),
        ("clips", "utf-16-le", "UTF-16 text; save it as CSV UTF-8 with commas"),
        ("clips", "cp1252", "line 2, column context: 'playroom \u00e9t\u00e9' is not UTF-8"),
        ("clips", "xlsx", "a workbook (.xlsx, .ods), no CSV table; save it as CSV UTF-8 with commas"),
    ],
)
def test_a_file_that_is_no_csv_table_is_reported_once(cohort: Make, table: str, content: str, says: str) -> None:
    folder = cohort(clips=changed(CLIPS, 0, 6, "playroom \u00e9t\u00e9"))
    path = folder / f"{table}.csv"
    text = path.read_text(encoding="utf-8")
    if content in ("utf-16", "utf-16-le", "cp1252"):
        path.write_bytes(text.encode(content))
    elif content == "xlsx":
        path.write_bytes(b"PK\x03\x04" + bytes(2000))
    else:
        path.write_text(text.replace(",", content[1]), encoding="utf-8")
    message = problems_of(folder)
    assert message.splitlines()[0].endswith("1 problem")
    assert says in message


def test_decimal_commas_are_named(cohort: Make) -> None:
    clips = [[f"c{row}", "anna", "videos/a.mp4", f"{row},0", f"{row},5", "happy", "home"] for row in range(30)]
    message = problems_of(cohort(clips=clips))
    assert "'0,0' has a decimal comma; write 0.0" in message
    assert "more like this" in message


def test_many_wrong_cells_hide_no_path_that_leads_out(cohort: Make) -> None:
    clips = [[f"c{row}", "anna", "videos/a.mp4", str(row), str(row + 1), "joy", "home"] for row in range(60)]
    clips[50][2] = "../x.mp4"
    message = problems_of(cohort(clips=clips, consent=changed(CONSENT, 1, 2, "yes")))
    assert "line 52, column video: '../x.mp4'" in message
    assert "column status: 'yes'" in message
    assert "'joy', expected one of happy" in message


@pytest.mark.parametrize(
    ("existing", "named", "says"),
    [
        ("zoe\u0308.mp4", "zo\u00eb.mp4", "how its accents are composed"),
        ("zo\u00eb.mp4", "zoe\u0308.mp4", "how its accents are composed"),
        ("K01_TWO.MP4", "k01_two.mp4", "capitals"),
    ],
)
def test_a_video_whose_name_differs_in_capitals_or_accents_is_named(
    cohort: Make, existing: str, named: str, says: str
) -> None:
    folder = cohort(clips=changed(CLIPS, 0, 2, f"videos/{named}"))
    (folder / "videos" / existing).touch()
    message = problems_of(folder)
    assert f"there is {existing!r}, whose name differs only in {says}" in message


# ---------------------------------------------------------------------------------------------------- no regular file


NOT_REGULAR: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "a pipe"),
    "loop": (lambda at: at.symlink_to(at.name), "a link that leads to itself"),
    "device": (lambda at: at.symlink_to("/dev/zero"), "a device"),
    "folder": (Path.mkdir, "a folder"),
}


@pytest.mark.parametrize("kind", NOT_REGULAR)
@pytest.mark.parametrize("name", ["subjects.csv", "clips.csv", "consent.csv", "annotations.csv", "cohort.json"])
def test_only_regular_files_are_read(cohort: Make, name: str, kind: str) -> None:
    path = cohort() / name
    path.unlink(missing_ok=True)
    make, says = NOT_REGULAR[kind]
    make(path)
    assert says in problems_of(path.parent)


# ----------------------------------------------------------------------------------------------------- any slip at all

SLIPS = st.sampled_from(['"', "", *"',;\t\n\r\0\x1b= \u202e\u00e99\ufffd"])


@given(st.sampled_from(["subjects", "clips", "consent"]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_character_loses_a_row(cohort: Make, table: str, data: st.DataObject) -> None:
    """Characters replaced or inserted anywhere: a refusal, or as many children, clips and consents as rows."""
    path = cohort() / f"{table}.csv"
    text = path.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 3))):
        at, width = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 1))
        text = text[:at] + data.draw(SLIPS) + text[at + width :]
    path.write_bytes(text.encode())
    rows = len([line for line in re.split(r"\r\n|\r|\n", text) if line]) - 1
    with suppress(DataError):
        manifests = read_manifests(path.parent)
        tables = {"subjects": manifests.subjects, "clips": manifests.clips, "consent": manifests.consent}
        assert len(tables[table]) == rows
        groups = [name for name in manifests.groups if name in manifests.clips]
        assert all(cell is None or cell.isprintable() for name in groups for cell in manifests.clips[name])
