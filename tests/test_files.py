"""Files and folders appear whole or not at all."""

import errno
import json
import math
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id import files
from fer_id.errors import DataError, FerIdError, RunError
from fer_id.files import atomic_folder, atomic_write_bytes, atomic_write_text, locked, plain, read_json, write_json
from tests.refusals import refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def full_disk(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    atomic_write_text(path, "old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full_disk)
            with pytest.raises(OSError, match="No space left"):
                atomic_write_bytes(path, b"new")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made_and_text_is_utf8(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a" / "b" / "name.txt", "Zoë")
    assert (tmp_path / "a" / "b" / "name.txt").read_bytes() == "Zoë".encode()


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    atomic_write_text(path, "1")
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    atomic_write_text(path, "2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_numpy_computed_becomes_strict_json(tmp_path: Path) -> None:
    numbers = {"nan": float("nan"), "inf": -math.inf, "array": np.array([1.0, np.nan], np.float32)}
    others = {"scalar": np.int64(3), "flag": np.bool_(True), "tuple": (1, Path("a/b")), 7: "key"}
    write_json(tmp_path / "m.json", {**numbers, **others})
    assert json.loads((tmp_path / "m.json").read_text(), parse_constant=pytest.fail) == {
        **{"nan": None, "inf": None, "array": [1.0, None], "scalar": 3, "flag": True},
        **{"tuple": [1, "a/b"], "7": "key"},
    }


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("json") / "m.json"
    write_json(path, value)
    assert read_json(path, RunError) == plain(value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b'{"a": 1', "not JSON"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"provenance": "real", "a": {"b": 1}, "provenance": "synthetic"}', "not JSON .'provenance' is given twice"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "job.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=f"job.json: {says}"):
        read_json(path, RunError)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.json").mkdir()
    with pytest.raises(RunError, match=r"job.json: a folder, expected a file"):
        read_json(tmp_path / "job.json", RunError)


def make(path: Path, content: str, *, replaces: str | None = None) -> None:
    with atomic_folder(path, replaces=replaces) as draft:
        assert draft.stat().st_mode & 0o077 == 0  # it may hold faces
        (draft / "card.json").write_text(content)
        assert not path.exists() or (path / "card.json").read_text() != content


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "store", "{}")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["store"]
    assert (tmp_path / "deep" / "store").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with refused(failure), atomic_folder(tmp_path / "store") as draft:
        (draft / "half").write_text("x")
        raise failure
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    make(tmp_path / "store", "one")
    with pytest.raises(FerIdError, match="exists already"):
        make(tmp_path / "store", "two")
    assert (tmp_path / "store" / "card.json").read_text() == "one"


def test_only_a_folder_of_its_kind_is_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "me.jpg").write_text("face")
    with pytest.raises(FerIdError, match=r"holds no card\.json"):
        make(photos, "one", replaces="card.json")
    assert (photos / "me.jpg").read_text() == "face"
    make(tmp_path / "store", "one")
    make(tmp_path / "store", "two", replaces="card.json")
    assert (tmp_path / "store" / "card.json").read_text() == "two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "store"]


def test_a_replacement_that_fails_at_the_last_step_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rename = tmp_path / "store", os.replace
    make(store, "old")

    def fails_onto_store(source: Path, target: Path) -> None:
        if target == store and not source.name.endswith(".old"):
            full_disk()
        rename(source, target)

    monkeypatch.setattr(os, "replace", fails_onto_store)
    with pytest.raises(OSError, match="No space left"):
        make(store, "new", replaces="card.json")
    assert (store / "card.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [store]


def test_a_folder_that_somebody_else_made_meanwhile_is_kept(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with refused(FerIdError, "exists already"), atomic_folder(store):
        store.mkdir()
        (store / "card.json").write_text("theirs")
    assert (store / "card.json").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [store]


def test_a_locked_folder_lets_no_other_process_in_and_opens_when_its_process_dies(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from fer_id.errors import DataError; from fer_id.files import locked\n"
        "with locked(Path(sys.argv[1]), DataError): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(DataError, match="another process is working there"), locked(tmp_path, DataError):
            pass
        other.kill()
    with locked(tmp_path, DataError):
        pass


def test_a_lock_with_patience_waits_for_the_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as other:
        other.enter_context(locked(tmp_path, DataError))
        tries = list[float]()

        def done_at_the_third(seconds: float) -> None:
            tries.append(seconds)
            if len(tries) == 3:
                other.close()

        monkeypatch.setattr(files.time, "sleep", done_at_the_third)
        with locked(tmp_path, DataError, patience_s=600.0):
            pass
    assert len(tries) == 3


def test_a_write_that_names_no_file_gets_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, files.naming(tmp_path / "a.npy"):
        full_disk()
    assert caught.value.filename == str(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError) as other, files.naming(tmp_path / "a.npy"):
        (tmp_path / "b.npy").read_bytes()
    assert other.value.filename == str(tmp_path / "b.npy")
