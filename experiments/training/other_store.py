"""A trained model judged on a store that it did not learn from: predictions, metrics and report in ``RUN/on/STORE``.

That folder is a run of its own kind: it has no weights, its parent is the run whose model judged, and its calibration
children are that run's. ``report``, ``compare`` and a withdrawal of consent treat it as any run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data_modules.base import FerDataModule
from experiments.training.overlap import JudgedRows, judged_rows, learned_data
from experiments.training.parents import mappings_of, require_geometry, require_one_mapping
from experiments.training.trained_model import TrainedModel
from fer_id.errors import RunError
from fer_id.evaluation.config import Fold, ProtocolConfig, Rows
from fer_id.evaluation.evaluate import Options
from fer_id.files import locked, sha256
from fer_id.progress import say
from fer_id.reporting.audit import reasons_words
from fer_id.reporting.report import evaluate_run
from fer_id.runs.configs import Config
from fer_id.runs.description import environment
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.tabulate import prediction_table
from fer_id.tasks.views import averaged
from fer_id.types import ClipBatch, Predicted


def evaluate_on(
    trained: TrainedModel, store: str | Path, options: Options | None = None, *, other_geometry: bool = False
) -> RunDir:
    """Judge a trained model on another store; return the folder ``on/<store>`` of its run, with metrics and report.

    Judged is the published test split, where the store has one, else everybody. Labels are mapped by name; classes that
    the model has not are left out and counted, as are clips without consent to evaluation, children and pictures that
    the model learned from. Predictions of the same model on the same store are used again.

    Raises:
        LeakageError: the model learned from this very store, or from the pictures that its clips are made of.
        DataError: crops of another geometry, unless ``other_geometry``; landmarks of another mapping, where the model
            takes landmarks; or no clip is left to judge.
        StoreError, ConsentError: the store cannot be opened.
        RunError: the folder holds the results of another store of that name.
    """
    data = _opened(trained, store)
    notes = _require_fit(trained, data, other_geometry)
    run, fingerprint = trained.run.on(data.stores[0].path.resolve().name), sha256(trained.run.checkpoint())
    _require_same_place(run, data)
    recorded, judged = run.job() if run.done and run.predicted else Job(), None
    if (recorded.weights, recorded.store.fingerprint) != (fingerprint, data.fingerprint):
        judged = judged_rows(trained.run, data, learned_data(trained.run))  # refuses before a folder is made
        judged = judged._replace(notes=[*notes, *judged.notes])
        for line in [*judged.notes, *([f"left out: {reasons_words(judged.dropped)}"] if judged.dropped else [])]:
            say(f"{run.path}: {line}")
    run.figures.mkdir(parents=True, exist_ok=True)
    with locked(run.path, RunError):
        if judged is not None:
            (run.path / "DONE").unlink(missing_ok=True)
            _write(trained, data, run, judged, fingerprint)
        evaluate_run(run, options)
        run.finish()
    return run


def _opened(trained: TrainedModel, store: str | Path) -> FerDataModule:
    """Return the data module of the store in the classes of the model, not divided into folds."""
    config = replace(trained.config.data, store=[str(store)], label_space=trained.labels.name)
    data = FerDataModule(config, ProtocolConfig(), batch_size=trained.config.batch_size, seed=trained.config.seed)
    data.affect = trained.config.model.affect
    data.config.name = data.stores[0].card.source
    return data


def _require_fit(trained: TrainedModel, data: FerDataModule, other_geometry: bool) -> list[str]:
    """Raise DataError where crops or landmarks of the store are made otherwise; return what is to be said of them."""
    job = trained.run.job()
    known = {str(trained.run.path): mappings_of(job.store.mesh_mappings, drawn=job.drawn), **data.mesh_mappings}
    require_one_mapping(known, landmarks=trained.config.model.landmarks > 0)
    hint = "; or say other_geometry=true: the scores then hold for faces cropped otherwise"
    notes = require_geometry(trained.run, data, hint, allowed=other_geometry)
    return [*notes, "a picture cropped otherwise is not recognised as one that was learned from"] if notes else []


def _require_same_place(run: RunDir, data: FerDataModule) -> None:
    """Raise RunError where the folder holds results on a store of this name from another place."""
    if not (run.path / "config.yaml").is_file():
        return
    before = (run.config().get("data") or {}).get("store") or [""]
    if Path(before[0]).resolve() != data.stores[0].path.resolve():
        raise RunError(
            f"{run.path} holds the results on {before[0]}, another store of the name {run.path.name}: rename one of "
            "the stores, or remove that folder"
        )


def _write(trained: TrainedModel, data: FerDataModule, run: RunDir, judged: JudgedRows, weights: str) -> None:
    """Predict the judged clips; write configuration, record and predictions, those of the calibration included."""
    before, rows = trained.run.job(), judged.rows
    calibration = trained.run.predictions().query("split != 'test'")
    name = str(trained.run.predictions()["fold"].iloc[0])
    none = np.empty(0, np.int64)
    described = data.describe([Fold(name, none, none, rows, judged.dropped)])
    table = prediction_table(
        list(_predicted(trained, data, rows)),
        data.clips.iloc[rows],
        trained.labels,
        fold=name,
        split="test",
        groups=data.groups,
    )
    kept = calibration.reindex(columns=table.columns)
    config = Config(**trained.run.config())
    config["data"] = {**config["data"], "store": [str(data.stores[0].path)]}
    config["name"] = f"{config.get('name')} on {run.path.name}"
    run.write_config(config)
    changes = {
        **environment(shlex.join(["fer-id", *sys.argv[1:]])),
        **{key: described[key] for key in ("mode", "dataset", "store")},
        "clips": {**before.clips, "test": len(rows)},
        "children": before.children and {**before.children, "test": described["children"]["test"]},
        "subjects": {**before.subjects, "test": described["subjects"]["test"]},
        "dropped": judged.dropped,
        "parents": [str(trained.run.path)],
        "weights": weights,
        "notes": judged.notes,
        **dict.fromkeys(("seconds", "peak_memory_bytes")),
    }
    run.write_job(before.model_copy(update=changes))
    run.write_predictions(pd.concat([kept, table], ignore_index=True) if len(kept) else table)


def _predicted(trained: TrainedModel, data: FerDataModule, rows: Rows) -> Iterator[Predicted]:
    """Yield the predictions of the clips, averaged over the views of the training's test."""

    def answer(view: ClipBatch) -> tuple[Tensor, Tensor | None]:
        return trained.model.answer(*(view[key].to(trained.device) for key in ("frames", "valid", "landmarks")))

    with torch.inference_mode(), trained.autocast():
        for batch in data.plain_batches(rows):
            logits, affect = averaged(answer, batch, trained.config.trainer.test_views)
            predicted = Predicted(clip_id=batch["clip_id"], logits=logits, covered=batch["valid"].any(dim=1))
            yield predicted if affect is None else {**predicted, "affect": affect}
