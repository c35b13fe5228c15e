"""Files that are no regular files, grow when they are unpacked, or nest without end: refused by their name, at once."""

import ast
import gzip
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_modules.cohort.manifests import read_manifests
from data_modules.stills import read_image
from data_modules.tables import MOST_COLUMNS, MOST_PROBLEMS, Table
from experiments.config import TrainConfig
from experiments.settings.loading import load, read
from experiments.sweeping.ledger import Ledger
from experiments.sweeping.spec import read_sweep
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import withdrawals
from fer_id.errors import CheckpointError, DataError, FerIdError, RunError
from fer_id.files import read_json, read_json_lines
from fer_id.inputs import MOST_YAML, byte_words, check_zip, is_file_name, look_alike, parse_json, read_bytes, read_text
from fer_id.preprocessing.landmarker_file import find_bundle
from fer_id.release.bundle import verify_bundle
from fer_id.release.policy import read_policy
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.video.annotation_reader import read_corrected

ROOT = Path(__file__).resolve().parents[1]
Reader = Callable[[Path], object]


def of_log(path: Path) -> object:
    return AuditLog(path.parent, Key(b"k" * 32)).verify()


def of_head(path: Path) -> object:
    (path.parent / "audit.jsonl").touch()
    return AuditLog(path.parent, Key(b"k" * 32)).verify()


def of_ledger(path: Path) -> object:
    if path.name != "sweep.json":
        (path.parent / "sweep.json").write_text('{"format": 1}')
    return Ledger.open(path.parent).settings()


JSON: dict[str, tuple[str, Reader]] = {
    "read_json": ("x.json", lambda path: read_json(path, DataError)),
    "read_json_lines": ("x.jsonl", lambda path: read_json_lines(path, DataError)),
    "card": ("card.json", StoreCard.read),
    "job": ("job.json", lambda path: RunDir(path.parent).job()),
    "metrics": ("metrics.json", lambda path: RunDir(path.parent).metrics()),
    "learning curve": ("metrics.jsonl", lambda path: RunDir(path.parent).learning_curve()),
    "BORIS": ("x.boris", read_corrected),
    "bundle": ("manifest.json", lambda path: verify_bundle(path.parent)),
    "audit log": ("audit.jsonl", of_log),
    "audit head": ("audit.head.json", of_head),
    "withdrawals": ("withdrawals.json", lambda path: withdrawals(path.parent)),
    "study": ("sweep.json", of_ledger),
    "trials": ("trials.jsonl", of_ledger),
    "cohort": ("cohort.json", lambda path: read_manifests(path.parent)),
}
YAML: dict[str, tuple[str, Reader]] = {
    "config": ("config.yaml", lambda path: RunDir(path.parent).config()),
    "config, typed": ("config.yaml", lambda path: read(TrainConfig, path)),
    "policy": ("policy.yaml", read_policy),
    "sweep": ("sweep.yaml", read_sweep),
    "recipe": ("recipe.yaml", lambda path: load(TrainConfig, ["data=synthetic", f"recipe={path}"])),
}
OTHERS: dict[str, tuple[str, Reader]] = {
    "table": ("x.csv", lambda path: list(Table(path, ("a", "b")).rows())),
    "ELAN": ("x.eaf", read_corrected),
    "BORIS, table": ("events.tsv", read_corrected),
    "picture": ("x.png", read_image),
    "landmark model": ("x.task", find_bundle),
    "bytes": ("x", lambda path: read_bytes(path, DataError, most=100)),
}
DEEP = {
    "lists": '{"a": ' + "[" * 200_000,
    "closed lists": '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "lists, less deep": '{"a": ' + "[" * 500 + "]" * 500 + "}",
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "digits": '{"a": ' + "9" * 5000 + "}",
}


def refusal(reader: Reader, path: Path) -> str:
    with pytest.raises(FerIdError) as caught:
        reader(path)
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize(("name", "reader"), [*JSON.values(), *YAML.values()], ids=[*JSON, *YAML])
def test_too_deep_nesting_is_reported_as_damage(tmp_path: Path, name: str, reader: Reader, content: str) -> None:
    path = tmp_path / name
    path.write_text(content + "\n")
    assert name.rpartition(".")[0] in refusal(reader, path)


@pytest.mark.parametrize("content", ["<a>" * 200_000, "<a>" * 200_000 + "</a>" * 200_000], ids=["open", "closed"])
def test_deeply_nested_xml_is_refused_as_an_elan_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.eaf").write_text(f"<ANNOTATION_DOCUMENT>{content}</ANNOTATION_DOCUMENT>")
    assert "cannot be read as a file of ELAN (nested more than 100 deep)" in refusal(read_corrected, tmp_path / "x.eaf")


@pytest.mark.parametrize(
    ("size", "words"),
    [(999, "999 bytes"), (64_000, "62.5 kB"), (2**20 - 1, "1024 kB"), (2**26, "64 MB"), (1.25 * 2**31, "2.5 GB")],
)
def test_bytes_in_words(size: float, words: str) -> None:
    assert byte_words(size) == words


@pytest.mark.parametrize("name", ["x.eaf", "events.csv", "events.tsv", "x.boris"])
def test_a_file_of_an_annotation_tool_is_bounded_unread(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**33)  # 8 GB that take no room
    assert "8 GB, expected at most 64 MB" in refusal(read_corrected, tmp_path / name)


@pytest.mark.parametrize("value", ["[" * 200_000, "[" * 200 + "]" * 200, "[" + "[a, " * 50_000, "[&a x, *a]"])
def test_a_list_on_the_command_line_is_bounded(value: str) -> None:
    for key in ("model.widths", "data.store", "trainer.resolution"):
        message = refusal(lambda _, key=key: load(TrainConfig, ["data=synthetic", f"{key}={value}"]), Path())
        assert f"{key}=" in message
        assert "expected a list" in message


# ------------------------------------------------------------------------------------------------ no regular file

READERS = {**JSON, **YAML, **OTHERS}


@pytest.mark.parametrize("kind", ["pipe", "loop", "device", "folder"])
@pytest.mark.parametrize(("name", "reader"), READERS.values(), ids=READERS)
def test_nothing_but_a_regular_file_is_read(tmp_path: Path, name: str, reader: Reader, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(name if kind == "loop" else "/dev/zero")
    message = refusal(reader, path)
    assert name in message or path.parent.name in message


def test_a_socket_and_a_name_that_no_disk_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "a socket" in refusal(lambda path: read_text(path, DataError, most=9), Path("socket"))
    assert "the name is too long" in refusal(lambda path: read_text(path, DataError, most=9), tmp_path / ("x" * 5000))
    assert "no file can have that name" in refusal(lambda path: read_text(path, DataError, most=9), Path("a\0b"))


def test_a_similar_existing_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Videos" / "zoe\u0308.mp4").touch()
    assert look_alike(tmp_path / "Videos" / "zo\u00eb.mp4").startswith("; there is 'zoe\u0308.mp4', whose name differs")
    assert "'Videos', whose name differs only in capitals" in look_alike(tmp_path / "videos" / "other.mp4")
    assert look_alike(tmp_path / "none.mp4") == look_alike(tmp_path / "Videos" / "zoe\u0308.mp4") == ""


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\0b"])
def test_a_name_never_leads_out_of_its_folder(name: str) -> None:
    assert not is_file_name(name)
    assert is_file_name("s259ab (1).png")


# -------------------------------------------------------------------------------------------- what grows, what is large


def table(folder: Path, content: bytes) -> Path:
    path = folder / "x.csv"
    path.write_bytes(content)
    return path


def test_small_files_that_grow_stay_small(tmp_path: Path) -> None:
    """In a process with 600 MB of address space to grow by, where a reader that unpacks them whole would fail."""
    lines = gzip.compress(b"a,b\n" + b"\n" * 30_000_000, 1)
    rows = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000_000, 1)
    assert len(lines) + len(rows) < 2**20
    (tmp_path / "lines.csv").write_bytes(lines)
    (tmp_path / "rows.csv").write_bytes(rows)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from data_modules.tables import Table\n"
        "from fer_id.errors import DataError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20,) * 2)\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        list(Table(Path(name), ('a', 'b'), most_rows=100_000).rows())\n"
        "    except DataError as problem:\n"
        "        print(problem)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lines.csv"), str(tmp_path / "rows.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    first, second = done.stdout.splitlines()
    assert "more than 1,000 empty lines" in first
    assert "more than 100,000 rows" in second


def test_a_table_of_unpacked_growth_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_modules.tables.FREE_GROWTH", 2**10)
    path = table(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 100_000))
    assert "times its own size" in refusal(lambda at: list(Table(at, ("a", "b")).rows()), path)


def test_columns_are_counted_before_they_are_looked_at(tmp_path: Path) -> None:
    """A header of 45,000 names must not be compared name by name with all the others."""
    path = table(tmp_path, b",".join(b"c%d" % number for number in range(35_000)) + b"\n1\n")
    message = refusal(lambda at: list(Table(at, ("c1",), extra=True).rows()), path)
    assert message.endswith(f"35,000 columns, expected at most {MOST_COLUMNS}")


def test_a_table_of_nothing_but_faults_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = table(tmp_path, b"a,b\n" + b"1\n" * 500_000)
    message = refusal(lambda at: list(Table(at, ("a", "b")).rows("Mend it.")), path)
    assert f"{MOST_PROBLEMS} problems" in message
    assert message.endswith("The rest of the table was not read. Mend it.")


@pytest.mark.parametrize(("name", "reader"), YAML.values(), ids=YAML)
def test_yaml_is_bounded_before_it_is_parsed(tmp_path: Path, name: str, reader: Reader) -> None:
    (tmp_path / name).write_text("a: [b, c]\n" * 3_000_000)
    assert "28.6 MB, expected at most 1 MB" in refusal(reader, tmp_path / name)
    assert MOST_YAML == 2**20


SWELLING = "a: &a {k: [v, v]}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("content", [SWELLING, "a: &a [*a]\n"])
@pytest.mark.parametrize(("name", "reader"), YAML.values(), ids=YAML)
def test_aliases_that_swell_are_refused(tmp_path: Path, name: str, reader: Reader, content: str) -> None:
    (tmp_path / name).write_text(content)
    message = refusal(reader, tmp_path / name)
    assert "alias" in message


def test_a_zip_that_claims_more_than_it_has_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts, parts.open("archive/data/0", "w") as part:
        for _ in range(80):
            part.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError, match=r"that claim to hold 80 MB in 1 parts; .* nothing of it was read"):
        check_zip(path, CheckpointError)


# ----------------------------------------------------------------------------------------------- one way to read a file

ALLOWED = {
    "json.loads": {"fer_id/inputs.py", "fer_id/release/bundle.py", "experiments/releasing/lineage.py"},
    "json.load": set(),
    "yaml.load": {"fer_id/yaml_text.py"},
    "yaml.safe_load": {"experiments/online/agent.py"},
    "yaml.compose": {"fer_id/yaml_text.py"},
    "yaml.parse": {"fer_id/yaml_text.py"},
    "pd.read_parquet": {"fer_id/parquet.py"},
    "pd.read_csv": set(),
    "csv.writer": {"fer_id/csv_text.py"},
    "csv.DictWriter": set(),
}
"""Where a parser or a writer may be called; everything else goes through these modules. The bundle's and the agent's
texts were read and checked by them before; what ``standing`` parses, it wrote itself."""


def test_parsers_and_writers_are_called_in_one_place() -> None:
    files = [path for storey in ("fer_id", "data_modules", "experiments") for path in (ROOT / storey).rglob("*.py")]
    wrong = []
    for path in files:
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if (name in ALLOWED and where not in ALLOWED[name]) or (
                name.endswith(".to_csv") and where != "fer_id/csv_text.py"
            ):
                wrong.append(f"{where}:{node.lineno} calls {name}")
    assert len(files) > 100
    assert not wrong, "\n".join(wrong)


def test_a_key_given_twice_is_refused_where_json_would_lose_one_of_its_values() -> None:
    with pytest.raises(
        RunError, match=r"card\.json: not JSON \('provenance' is given twice, so that one of its values would be lost\)"
    ):
        parse_json('{"a": {"provenance": "synthetic", "n": 1, "provenance": "real"}}', "card.json", RunError)
    assert parse_json('[{"n": 1}, {"n": 2}]', "card.json", RunError) == [{"n": 1}, {"n": 2}]
