"""A trained model judged on another store: labels, consent, overlap, geometry, the record, and its erasure."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli import DONE, main
from experiments.releasing.lineage import check_lineage
from experiments.training.other_store import evaluate_on
from experiments.training.trained_model import TrainedModel
from fer_id.errors import DataError, LeakageError, RunError
from fer_id.runs.erasure import erase_from_runs
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from tests.experiments.messages import Capture, Tiny, edited, refusal, train
from tests.refusals import refused

Stores = Callable[..., Path]


@pytest.fixture
def trained(tiny_store: Stores, tiny: Tiny, tmp_path: Path) -> TrainedModel:
    store = tiny_store("learned", subjects=6, seed=1)
    return TrainedModel.open(train(tiny(store, tmp_path / "runs", "name=study/run")))


def changed(store: Path, **facts: object) -> Path:
    """Change the card of a store."""
    card = asdict(StoreCard.read(store / "card.json"))
    (store / "card.json").write_text(json.dumps(card | facts))
    return store


def test_it_is_judged_in_the_classes_of_the_model_and_keeps_a_record(
    trained: TrainedModel, tiny_store: Stores, capsys: Capture
) -> None:
    other = tiny_store("other", subjects=3, label_space="fer7", seed=2)
    run = evaluate_on(trained.run, other)
    metrics, job, table = run.metrics(), run.job(), run.predictions()
    assert run.path == trained.run.path / "on" / "other"
    assert metrics.labels == list(trained.labels.names)
    assert (metrics.n_clips, metrics.n_subjects) == (3 * 2 * 5, 3)
    assert job.dropped == {"label disgust not in target5": 6, "label surprise not in target5": 6}
    assert (job.dataset, job.clips["test"]) == ("tiny", 30)
    assert job.clips["train"] == trained.run.job().clips["train"]
    assert job.subjects["test"] == ["s00", "s01", "s02"]
    assert "left out: label disgust not in target5 (6)" in capsys.readouterr().err
    mine = trained.run.predictions().query("split == 'validation'")
    assert table.query("split == 'validation'")["clip_id"].tolist() == mine["clip_id"].tolist()
    assert table.query("split == 'test'")["age_group"].notna().all()
    assert metrics.calibration.temperatures == trained.run.metrics().calibration.temperatures
    page = (run.path / "report.html").read_text()
    assert f"Judged by {trained.run.path}, on a store" in page
    assert "which may be chance" in page


def test_the_logits_are_those_of_the_model(trained: TrainedModel, tiny_store: Stores) -> None:
    """The run's own test clips, in another store, get the logits that the run recorded."""
    copy = tiny_store("copy", subjects=6, seed=1)
    changed(copy, notes=["a copy"])
    own = trained.run.predictions().query("split == 'test'").set_index("clip_id").filter(like="logit_")
    table = evaluate_on(trained.run, copy).predictions().query("split == 'test'").set_index("clip_id")
    np.testing.assert_allclose(table.loc[own.index, own.columns], own, atol=1e-5)


def test_predictions_are_used_again_and_made_anew_for_a_changed_store(
    trained: TrainedModel, tiny_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_store("other", subjects=3, seed=2)
    first = evaluate_on(trained.run, other).predictions()
    with monkeypatch.context() as patch:
        patch.setattr("experiments.training.other_store._predicted", lambda *_: pytest.fail("predicted again"))
        assert evaluate_on(trained.run, other).predictions().equals(first)
    clips = pd.read_parquet(other / "clips.parquet")
    clips["age_group"] = "3-5"
    clips.to_parquet(other / "clips.parquet", index=False)
    assert set(evaluate_on(trained.run, other).predictions().query("split == 'test'")["age_group"]) == {"3-5"}


def test_another_store_of_the_same_name_is_refused(trained: TrainedModel, tiny_store: Stores) -> None:
    evaluate_on(trained.run, tiny_store("other", subjects=3, seed=2))
    with refused(RunError, "another store of the name other"):
        evaluate_on(trained.run, tiny_store("elsewhere/other", subjects=3, seed=2))


def test_the_store_that_it_learned_from_is_refused(trained: TrainedModel, tmp_path: Path) -> None:
    with refused(LeakageError, "stands in its own report"):
        evaluate_on(trained.run, tmp_path / "learned")
    assert not (trained.run.path / "on").exists()


def test_another_geometry_has_to_be_named(trained: TrainedModel, tiny_store: Stores, capsys: Capture) -> None:
    gray = tiny_store("gray", subjects=3, seed=2)
    changed(gray, geometry={**StoreCard.read(gray / "card.json").geometry, "colour": "gray"})
    text = refusal(capsys, ["evaluate", str(trained.run.path), f"on={gray}"])
    assert "learned from crops of another geometry: rgb" in text
    assert "other_geometry=true" in text
    assert main(["evaluate", str(trained.run.path), f"on={gray}", "other_geometry=true"]) == DONE
    assert any("crops of another geometry" in note for note in trained.run.on("gray").job().notes)


def test_children_and_pictures_that_it_learned_from_are_left_out(
    trained: TrainedModel, tiny_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = changed(tiny_store("site", subjects=6, seed=2), parameters={"key_id": "k"})
    seen = trained.run.job().learned_from
    run = evaluate_on(trained.run, site)
    assert set(run.job().subjects["test"] or ()) == {f"s{n:02d}" for n in range(6)} - seen
    assert run.job().dropped == {"child that the model learned from": 10 * len(seen)}
    copy = changed(tiny_store("copy", subjects=6, seed=1), provenance="real")
    assert evaluate_on(trained.run, copy).job().dropped == {"picture that the model learned from": 10 * len(seen)}


def test_only_those_who_consented_to_evaluation_are_judged(trained: TrainedModel, tiny_store: Stores) -> None:
    def terms(purpose: str) -> dict[str, object]:
        return {"purposes": [purpose], "recorded_on": "2020-01-01", "expires_on": None}

    site = tiny_store("site", subjects=4, seed=2)
    changed(site, consent={f"s{n:02d}": terms("evaluation" if n else "training") for n in range(4)})
    run = evaluate_on(trained.run, site)
    assert run.job().dropped == {"no consent for evaluation": 10}
    assert "s00" not in set(run.predictions().query("split == 'test'")["subject_id"])
    changed(site, consent={f"s{n:02d}": terms("training") for n in range(4)})
    with refused(DataError, "no clip to judge", "no consent for evaluation (40)"):
        evaluate_on(trained.run, site)


def test_a_published_test_split_alone_is_judged(trained: TrainedModel, tiny_store: Stores) -> None:
    other = tiny_store("other", subjects=4, seed=2)
    clips = pd.read_parquet(other / "clips.parquet")
    clips["split"] = np.where(clips["subject_id"] == "s03", "test", "train")
    clips.to_parquet(other / "clips.parquet", index=False)
    run = evaluate_on(trained.run, other)
    assert run.job().dropped == {"not in the published test split": 30}
    assert run.metrics().n_subjects == 1


def test_a_withdrawal_reaches_the_results(trained: TrainedModel, tiny_store: Stores, tmp_path: Path) -> None:
    other = changed(tiny_store("other", subjects=3, seed=2))
    clips = pd.read_parquet(other / "clips.parquet")
    for shard in other.glob("*/s00.npy"):
        shard.rename(shard.with_name("zoe7.npy"))
    clips["subject_id"] = clips["subject_id"].replace("s00", "zoe7")
    clips.to_parquet(other / "clips.parquet", index=False)
    run = evaluate_on(trained.run, other)
    erased = erase_from_runs(tmp_path / "runs", "zoe7", "zoe7 withdrew")
    assert (erased.cleaned, erased.quarantined, erased.problems) == ([run.path], [], [])
    files = [path for path in run.path.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert files
    assert not any(b"zoe7" in path.read_bytes() for path in files)
    assert "zoe7" not in set(run.predictions()["subject_id"])
    learned = sorted(trained.run.job().learned_from)[0]
    erased = erase_from_runs(tmp_path / "runs", learned, f"{learned} withdrew")
    assert set(erased.quarantined) == {trained.run.path, run.path}
    with pytest.raises(RunError, match="quarantined"):
        RunDir.open(run.path)


def test_compare_shows_runs_by_stores(trained: TrainedModel, tiny_store: Stores, tmp_path: Path) -> None:
    other, path = tiny_store("other", subjects=3, seed=2), trained.run.path
    assert main(["evaluate", str(path), f"on={other}"]) == DONE
    assert main(["compare", str(path), f"out={tmp_path / 'page'}"]) == DONE
    table, page = pd.read_csv(tmp_path / "page" / "comparison.csv"), (tmp_path / "page" / "index.html").read_text()
    metrics = trained.run.on("other").metrics()
    assert table.loc[0, "on.other.accuracy"] == pytest.approx(metrics.accuracy)
    assert table.loc[0, "on.other.n_subjects"] == 3
    assert "Trained on one store, judged on others" in page
    assert main(["compare", str(path), str(path / "on" / "other"), f"out={tmp_path / 'both'}"]) == DONE
    assert main(["report", str(path / "on" / "other")]) == DONE


def test_a_cross_validation_judges_as_an_ensemble(
    tiny_store: Stores, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    store, one, two = (tiny_store(name, subjects=6 - n, seed=n) for n, name in enumerate(("own", "one", "two")))
    arguments = tiny(store, tmp_path / "runs", "name=study/parts", "protocol=kfold", "protocol.folds=3")
    run = train([*arguments, "protocol.only=[00,01]"])
    text = refusal(capsys, ["evaluate", str(run.path), f"on=[{one},{store},{two}]"])
    assert "on: 1 problem" in text
    assert "stands in its own report" in text
    results = [run.on(name) for name in ("one", "two")]
    assert [result.done for result in results] == [True, True]
    assert not run.on("own").path.exists()
    table, metrics, job = results[0].predictions(), results[0].metrics(), results[0].job()
    assert (set(table["fold"]), set(table["split"])) == ({"ensemble"}, {"test"})
    columns = [f"p_{name}" for name in metrics.labels]
    alone = [evaluate_on(fold, one).predictions().query("split == 'test'") for fold in run.folds]
    mean = sum(part.set_index("clip_id").loc[table["clip_id"], columns].to_numpy() for part in alone) / len(alone)
    np.testing.assert_allclose(table[columns], mean, atol=1e-6)
    assert metrics.calibration.temperatures == {}
    assert ("the mean probability of 2 models" in job.notes[0], job.parents) == (True, [str(run.path)])
    assert "an ensemble" in (results[0].path / "report.html").read_text()
    copy = changed(tiny_store("copy", subjects=6, seed=0), provenance="real", notes=["a copy"])
    assert "no clip to judge" in refusal(capsys, ["evaluate", str(run.path), f"on={copy}"])  # some fold saw each child
    assert "several stores" in refusal(capsys, ["evaluate", str(run.path), f"on=[{one},{two}]", "public=groups.json"])


def test_the_card_lists_the_results_of_these_weights(trained: TrainedModel, tiny_store: Stores) -> None:
    other, few = (tiny_store(name, subjects=count, seed=2) for name, count in (("other", 5), ("few", 3)))
    changed(few, provenance="real")
    run = trained.run
    results = {store.name: evaluate_on(run, store) for store in (other, few)}
    assert main(["card", str(run.path)]) == DONE
    rows = [line for line in (run.path / "card.md").read_text().splitlines() if line.startswith(("| other ", "| few "))]
    assert rows[0].startswith("| few | tiny | real | 30 clips, 3 subjects | not shown of so few |")
    assert f"| {100 * (results['other'].metrics().accuracy or 0):.1f} % |" in rows[1]
    with edited(results["other"].path / "metrics.json") as metrics:
        metrics["accuracy"] = 0.99
    _, reasons = check_lineage(run, None, logged=True)
    assert any("on/other/metrics.json is not what its predictions give" in reason for reason in reasons)
    results["other"].write_job(results["other"].job().model_copy(update={"weights": "of another training"}))
    assert main(["card", str(run.path)]) == DONE
    assert "| other |" not in (run.path / "card.md").read_text()
