"""``fer-id consent`` from its arguments to the files on the disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.cli import DONE, INTERRUPTED, USERS_FAULT, main
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.runs import erasure
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.messages import Capture, Tiny, refusal, train

pytestmark = pytest.mark.usefixtures("remembered_faces")

NAME = "drawn7-001"


@pytest.fixture
def place(
    drawn_site: Path, tmp_path: Path, landmark_model: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> Path:
    """Folder with ``site``, its ``store``, ``keys`` and a place for ``runs``."""
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "keys"))
    shutil.copytree(drawn_site, tmp_path / "site")
    arguments = (f"data.source={tmp_path}/site", f"out={tmp_path}/store", f"data.face_landmarker={landmark_model}")
    assert main(["prepare", "data=cohort", *arguments, "data.workers=1"]) == DONE
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def child(place: Path) -> str:
    return Key.load(place / "keys").pseudonym("subject", NAME)


def withdraw(place: Path, *more: str) -> int:
    where = (f"cohort={place}/site", f"store={place}/store", f"runs={place}/runs")
    return main(["consent", "withdraw", NAME, *where, *more])


def bytes_of(*folders: Path) -> bytes:
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"".join(path.name.encode() + path.read_bytes() for path in files)


def test_check_lists_the_subjects_with_purposes_or_reasons(place: Path, capsys: Capture) -> None:
    table = place / "site" / "consent.csv"
    table.write_text(table.read_text().replace(f"{NAME},2026-01-15,given", f"{NAME},2026-01-15,refused"))
    assert main(["consent", "check", f"cohort={place}/site"]) == DONE
    output = capsys.readouterr().out
    assert "2 of 3 subjects take part today" in output
    assert f"{NAME}: NO: consent refused" in output
    assert "drawn7-000: evaluation, inference, media_sharing, training until 2099-12-31" in output


def test_columns_left_out_of_the_store_are_listed(place: Path, landmark_model: str, capsys: Capture) -> None:
    """By ``consent check`` and by ``prepare``, with the setting that keeps the columns, which then are in the store."""
    table = place / "site" / "subjects.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},birth_date,glasses", *(f"{row},2016-02-03,yes" for row in rows), ""]))
    listed = 'stays out of the store: birth_date, glasses of subjects.csv. "data.groups=[birth_date,glasses]"'
    assert main(["consent", "check", f"cohort={place}/site"]) == DONE
    assert listed in capsys.readouterr().out
    arguments = (f"data.source={place}/site", f"data.face_landmarker={landmark_model}", "data.workers=1")
    assert main(["prepare", "data=cohort", *arguments, f"out={place}/kept", "data.groups=[glasses]"]) == DONE
    assert "stays out of the store: birth_date of subjects.csv" in capsys.readouterr().err
    store = ClipStore.open(place / "kept")
    assert store.card.groups == ["age_group", "gender", "severity", "ethnicity", "site", "glasses", "context"]
    assert set(store.clips["glasses"]) == {"yes"}
    assert "birth_date" not in store.clips
    assert b"2016-02-03" not in bytes_of(place / "kept")


def test_a_withdrawal_lists_predictions_in_unknown_folders(place: Path, child: str, capsys: Capture) -> None:
    log = AuditLog(place / "keys", Key.load(place / "keys"))
    log.append("predicted", subject=child)
    log.append("predicted", subject="s0000000000000000")
    log.append("predicted", subject=child)
    assert withdraw(place) == DONE
    assert "DELETE BY HAND: the folders of 2 predictions about this child" in capsys.readouterr().out


def test_withdrawing_erases_the_child_everywhere(
    place: Path, child: str, tiny: Tiny, tiny_store: Callable[..., Path], capsys: Capture
) -> None:
    """The runs are a cross-validation, a run trained on the child, and a run that started from it."""
    store = ClipStore.open(place / "store")
    rows = store.clips.index[store.clips["subject_id"] == child]
    frames = [store.read(row).frames[0].tobytes() for row in rows]
    assert all(frame in bytes_of(place / "store") for frame in frames)
    loso = tiny(place / "store", place / "runs", "protocol=loso", "name=site/loso", "data=cohort")
    assert main(loso) == DONE
    child_run = f"init.run={place}/runs/site/loso"
    other = next(subject for subject in store.clips["subject_id"] if subject != child)
    descendant = ("protocol=loso", f"protocol.only=[{other}]", "name=site/next", "data=cohort", child_run)
    assert main(tiny(place / "store", place / "runs", *descendant)) == DONE
    capsys.readouterr()

    assert withdraw(place) == DONE
    output = capsys.readouterr().out
    assert f"{place}/store: 5 clips erased" in output
    held = bytes_of(place / "store", place / "runs")
    assert not any(frame in held for frame in frames)
    assert NAME.encode() not in held
    tables = [run / "predictions.parquet" for run in (place / "runs" / "site").iterdir()]
    assert not any(child.encode() in table.read_bytes() for table in tables)
    assert child not in set(ClipStore.open(place / "store").clips["subject_id"])
    runs = place / "runs" / "site"
    assert not (runs / "loso" / "folds" / child).exists()
    for name in ("loso", "next"):
        assert (runs / name / "QUARANTINED").exists()
        assert child not in set(RunDir(runs / name).predictions()["subject_id"])
        assert not list((runs / name / "figures").iterdir())
        assert "is quarantined" in refusal(capsys, ["evaluate", str(runs / name)])
    started = tiny(tiny_store("others"), place / "runs", "name=site/a", child_run)
    for command in (loso, started):  # it is neither taken up again nor started from
        assert "is quarantined" in refusal(capsys, command)

    assert main(["consent", "check", f"cohort={place}/site"]) == DONE
    assert f"{NAME}: NO: consent withdrawn" in capsys.readouterr().out
    assert main(["consent", "audit"]) == DONE
    log = capsys.readouterr().out
    assert "3 entries, unchanged" in log
    assert f"withdrawn: subject {child}" in log
    assert f"erased: subject {child}, clips_erased 5" in log
    assert NAME not in (place / "keys" / "audit.jsonl").read_text()


def test_a_run_that_only_tested_the_child_keeps_its_other_rows(
    place: Path, child: str, tiny: Tiny, capsys: Capture
) -> None:
    fold = f"protocol.only=[{child}]"
    assert main(tiny(place / "store", place / "runs", "protocol=loso", fold, "name=site/one", "data=cohort")) == DONE
    others = sorted(set(ClipStore.open(place / "store").clips["subject_id"]) - {child})
    run = train(tiny(place / "store", place / "runs", "protocol=holdout", "name=site/held", "data=cohort"))
    judged = child in run.job().subjects["test"]
    (place / "runs" / "site" / "curve-children.csv").write_text("drawn over runs that know the child")
    assert withdraw(place) == DONE
    assert not (place / "runs" / "site" / "curve-children.csv").exists()
    assert (run.path / "QUARANTINED").exists() != judged
    assert child not in set(run.predictions()["subject_id"])
    assert set(run.predictions()["subject_id"]) <= set(others)


def test_a_copy_of_the_store_is_refused_and_a_resume_too(place: Path, tiny: Tiny, capsys: Capture) -> None:
    shutil.copytree(place / "store", place / "copy")
    half = tiny(place / "store", place / "runs", "protocol=holdout", "name=site/half", "data=cohort")
    assert main(half) == DONE
    (place / "runs" / "site" / "half" / "DONE").unlink()
    assert withdraw(place) == DONE
    capsys.readouterr()
    assert "consent withdrawn" in refusal(capsys, tiny(place / "copy", place / "runs", "name=site/copy", "data=cohort"))
    assert main(half) == USERS_FAULT
    assert not (place / "runs" / "site" / "half" / "DONE").exists()
    ClipStore.open(place / "store")


def test_withdrawing_twice_and_erasing_by_pseudonym_are_harmless(place: Path, child: str, capsys: Capture) -> None:
    shutil.copytree(place / "store", place / "copy")
    assert withdraw(place) == DONE
    before = bytes_of(place / "store")
    assert withdraw(place) == DONE
    assert before == bytes_of(place / "store")
    noted = (place / "keys" / "withdrawals.json").read_bytes()
    assert main(["consent", "erase", child, f"store={place}/copy", f"runs={place}/runs"]) == DONE
    assert "5 clips erased" in capsys.readouterr().out
    assert (place / "keys" / "withdrawals.json").read_bytes() == noted
    ClipStore.open(place / "copy")


def test_a_failed_erasure_does_not_stop_the_others(place: Path, child: str, capsys: Capture) -> None:
    (place / "runs" / "damaged").mkdir(parents=True)
    (place / "runs" / "damaged" / "job.json").write_text("{")
    arguments = (f"store=[{place}/none,{place}/store]", f"runs={place}/runs")
    output = refusal(capsys, ["consent", "withdraw", child, *arguments])
    for expected in ("2 problems", "none is not a ClipStore", "damaged/job.json", f"{place}/store: 5 clips erased"):
        assert expected in output
    assert child not in set(ClipStore.open(place / "store").clips["subject_id"])


def test_an_interrupted_withdrawal_is_repeated(
    place: Path, child: str, tiny: Tiny, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(subject for subject in ClipStore.open(place / "store").clips["subject_id"] if subject != child)
    fold = ("protocol=loso", f"protocol.only=[{other}]", "name=site/a", "data=cohort")
    run = train(tiny(place / "store", place / "runs", *fold))
    clean = erasure._clean

    def interrupted(run: RunDir, job: dict[str, object], subject: str) -> None:
        clean(run, job, subject)
        raise KeyboardInterrupt

    monkeypatch.setattr(erasure, "_clean", interrupted)
    assert withdraw(place) == INTERRUPTED
    monkeypatch.setattr(erasure, "_clean", clean)
    assert withdraw(place) == DONE
    assert (run.path / "QUARANTINED").exists()
    assert child not in set(run.predictions()["subject_id"])


def test_faces_of_an_unfinished_preparation_are_erased(place: Path, child: str, capsys: Capture) -> None:
    for name in (".new.parts", ".new.x7_draft"):
        (place / name).mkdir()
        (place / name / "v.crops").write_bytes(b"faces")
    assert main(["consent", "withdraw", child, f"store={place}/new", f"runs={place}/runs"]) == DONE
    assert not list(place.glob(".new*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("withdraw",), "say fer-id consent withdraw SUBJECT"),
        (("check",), "say cohort=FOLDER"),
        (("destroy",), "one of check, withdraw, erase, audit"),
        (("check", "anna", "cohort=x"), "is of withdraw and erase only"),
    ],
)
def test_impossible_actions_are_reported(arguments: tuple[str, ...], message: str, capsys: Capture) -> None:
    assert message in refusal(capsys, ["consent", *arguments])


@pytest.mark.parametrize("cohort", [True, False])
def test_an_unknown_name_withdraws_nobody(place: Path, cohort: bool, capsys: Capture) -> None:
    before = bytes_of(place / "store", place / "keys", place / "site")
    more = [f"cohort={place}/site"] if cohort else []
    output = refusal(capsys, ["consent", "withdraw", "drawn7-999", f"store={place}/store", *more])
    assert ("nobody is called" if cohort else "nobody is known as") in output
    assert before == bytes_of(place / "store", place / "keys", place / "site")


def test_a_record_is_appended_and_the_file_keeps_its_mode(place: Path, capsys: Capture) -> None:
    table = place / "site" / "consent.csv"
    table.chmod(0o640)
    before = table.read_text().splitlines()
    assert withdraw(place) == DONE
    after = table.read_text().splitlines()
    assert after[: len(before)] == before
    assert after[len(before) :][0].startswith(f"{NAME},")
    assert table.stat().st_mode & 0o777 == 0o640
    table.write_text("")
    assert withdraw(place) == USERS_FAULT
    assert "Traceback" not in capsys.readouterr().err
