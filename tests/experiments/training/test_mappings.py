"""Landmarks of two mappings of MediaPipe's mesh do not meet in a model that takes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_modules.config import DataConfig
from experiments.config import InitConfig, TrainConfig
from experiments.settings.loading import plain
from experiments.training import parents
from experiments.training.job import describe_job
from experiments.training.parents import open_parent
from experiments.training.setup import open_data
from fer_id.errors import DataError, StoreError
from fer_id.evaluation.config import ProtocolConfig
from fer_id.files import read_json, write_json
from fer_id.models.config import ModelConfig
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture

Factory = Callable[..., Path]
DIFFERENT = "landmarks of different mappings from MediaPipe's mesh"


@pytest.fixture(autouse=True)
def nothing_said_before() -> None:
    parents._warn.cache_clear()


@pytest.fixture
def store(tiny_store: Factory) -> Factory:
    """``store("a", "mesh-1")``: a store whose landmarks come from there; None writes no such field, as older ones."""

    def make(name: str, landmarks_from: str | None, **changes: Any) -> Path:
        path = tiny_store(name, seed=len(name))
        card = read_json(path / "card.json", StoreError) | {"landmarks_from": landmarks_from} | changes
        write_json(path / "card.json", {key: value for key, value in card.items() if value is not None})
        return path

    return make


def training(*stores: Path, landmarks: int, **init: Any) -> TrainConfig:
    data = DataConfig(name="synthetic", store=[str(path) for path in stores])
    model = ModelConfig(name="small", widths=[4, 4, 4, 4], hidden=8, landmarks=landmarks)
    return TrainConfig(data=data, protocol=ProtocolConfig("holdout"), model=model, init=InitConfig(**init))


def finished(path: Path, config: TrainConfig, **record: Any) -> RunDir:
    """A finished run whose record of its store says ``record`` too."""
    data = open_data(config, None)
    job = describe_job(config, data, [data.fold], [None])
    run = RunDir.create(path, plain(config), job.model_copy(update={"store": job.store.model_copy(update=record)}))
    (run.path / "checkpoints" / "best.ckpt").touch()
    run.finish()
    return run


def opened(config: TrainConfig) -> RunDir | None:
    data = open_data(config, None)
    return open_parent(config, data, data.fold)


def test_pooled_stores_of_two_mappings_are_refused_where_landmarks_are_an_input(
    store: Factory, capsys: Capture
) -> None:
    stores = store("first", None), store("second", "mesh-2")
    with pytest.raises(
        DataError, match=f"{DIFFERENT}: .*first .mesh-1., .*second .mesh-2..*model.landmarks"
    ) as refused:
        open_data(training(*stores, landmarks=8), None)
    assert len(str(refused.value)) < 2000
    for _ in range(2):
        open_data(training(*stores, landmarks=0), None)
    assert capsys.readouterr().err.count(DIFFERENT) == 1


@pytest.mark.parametrize("other", ["drawn", "published", "none", "mesh-2"])
def test_other_origins_mix_with_every_mapping(store: Factory, capsys: Capture, other: str) -> None:
    stores = store("first", "mesh-2"), store("second", other)
    data = open_data(training(*stores, landmarks=8), None)
    assert not capsys.readouterr().err
    assert describe_job(training(*stores, landmarks=8), data, [data.fold], [None]).store.mesh_mappings == ["mesh-2"]


@pytest.mark.parametrize(
    ("record", "refused"),
    [
        ({"mesh_mappings": ["mesh-1"]}, True),
        ({"mesh_mappings": ["mesh-2"]}, False),
        ({"mesh_mappings": []}, False),
        ({"mesh_mappings": None}, True),  # an older run tells none
    ],
)
def test_weights_of_another_mapping_are_refused(
    store: Factory, tmp_path: Path, capsys: Capture, record: dict[str, Any], refused: bool
) -> None:
    before, now = store("before", "none"), store("now", "mesh-2")
    run = finished(tmp_path / "run", training(before, landmarks=8), **record)
    if record["mesh_mappings"] is None:
        run.write_job(run.job().model_copy(update={"dataset": "cohort"}))
    for init in ({"run": str(run.path)}, {"run": str(run.path), "transfer": True}):
        if refused:
            with pytest.raises(DataError, match=f"{DIFFERENT}: .*run .mesh-1., .*now .mesh-2."):
                opened(training(now, landmarks=8, **init))
        else:
            assert opened(training(now, landmarks=8, **init)) is not None
        assert opened(training(now, landmarks=0, **init)) is not None
    assert capsys.readouterr().err.count(DIFFERENT) == refused
    # Takes no weight that sees landmarks.
    assert opened(training(now, landmarks=8, encoder_from=str(run.path))) is not None


def test_an_older_run_on_drawings_has_no_mapping(store: Factory, tmp_path: Path) -> None:
    run = finished(tmp_path / "run", training(store("before", "drawn"), landmarks=8), mesh_mappings=None)
    assert opened(training(store("now", "mesh-2"), landmarks=8, run=str(run.path))) is not None
