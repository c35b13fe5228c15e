"""A trained model judged on a store that it did not learn from: predictions, metrics and report in ``RUN/on/STORE``.

That folder is a run of its own kind: it has no weights, its parent is the run whose model judged, and its calibration
children are that run's. ``report``, ``compare`` and a withdrawal of consent treat it as any run.

The models of a cross-validation judge as an ensemble: a clip's probabilities are the mean of those of all folds
(Lakshminarayanan et al. 2017, arXiv:1612.01474), and no clip is judged that any of them learned from. Every child of
the run's store taught some fold, so nobody is left to calibrate the ensemble on.
"""

from __future__ import annotations

import hashlib
import math
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
from experiments.config import TrainConfig
from experiments.settings.loading import read
from experiments.training.overlap import JudgedRows, judged_rows, learned_data
from experiments.training.parents import mappings_of, require_geometry, require_one_mapping
from experiments.training.trained_model import TrainedModel, require_own_kind
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

ENSEMBLE = "ensemble"
"""Name in place of a fold's for the predictions of all models of a cross-validation together."""


def evaluate_on(
    learner: RunDir, store: str | Path, options: Options | None = None, *, other_geometry: bool = False
) -> RunDir:
    """Judge the model of a finished run, or the ensemble of a cross-validation, on another store; return the folder
    ``on/<store>`` of that run, with metrics and report.

    Judged is the published test split, where the store has one, else everybody. Labels are mapped by name; classes that
    the model has not are left out and counted, as are clips without consent to evaluation, children and pictures that
    the model, or any of the ensemble, learned from. Predictions of the same model on the same store are used again.

    Raises:
        LeakageError: the model learned from this very store, or from the pictures that its clips are made of.
        DataError: crops of another geometry, unless ``other_geometry``; landmarks of another mapping, where the model
            takes landmarks; or no clip is left to judge.
        StoreError, ConsentError: the store cannot be opened.
        RunError: the folder holds the results of another store of that name.
    """
    require_own_kind(learner)
    config = read(TrainConfig, learner.path / "config.yaml")
    data = _opened(config, learner, store)
    notes = [*_ensemble_notes(learner), *_require_fit(config, learner, data, other_geometry)]
    run, weights = learner.on(data.stores[0].path.resolve().name), _weights(learner)
    _require_same_place(run, data)
    recorded, judged = run.job() if run.done and run.predicted else Job(), None
    if (recorded.weights, recorded.store.fingerprint) != (weights, data.fingerprint):
        judged = judged_rows(learner, data, learned_data(learner))  # refuses before a folder is made
        judged = judged._replace(notes=[*notes, *judged.notes])
        for line in [*judged.notes, *([f"left out: {reasons_words(judged.dropped)}"] if judged.dropped else [])]:
            say(f"{run.path}: {line}")
    run.figures.mkdir(parents=True, exist_ok=True)
    with locked(run.path, RunError):
        if judged is not None:
            (run.path / "DONE").unlink(missing_ok=True)
            _write(learner, data, run, judged, weights)
        evaluate_run(run, options)
        run.finish()
    return run


def _opened(config: TrainConfig, learner: RunDir, store: str | Path) -> FerDataModule:
    """Return the data module of the store in the classes of the model, not divided into folds."""
    settings = replace(config.data, store=[str(store)], label_space=learner.label_space().name)
    data = FerDataModule(settings, ProtocolConfig(), batch_size=config.batch_size, seed=config.seed)
    data.affect = config.model.affect
    data.config.name = data.stores[0].card.source
    return data


def _ensemble_notes(learner: RunDir) -> list[str]:
    """Return what is to be said of an ensemble; nothing of a single model."""
    if not learner.folds:
        return []
    return [
        f"the mean probability of {len(learner.folds)} models, one of each fold: an ensemble, whose worth is that of "
        "none of them alone, and which is not calibrated, since its models together learned from everybody"
    ]


def _weights(learner: RunDir) -> str:
    """Return the SHA-256 of the checkpoint; of an ensemble that of the hashes of all, in their order."""
    prints = [sha256(training.checkpoint()) for training in learner.folds or [learner]]
    return prints[0] if not learner.folds else hashlib.sha256(" ".join(prints).encode()).hexdigest()


def _require_fit(config: TrainConfig, learner: RunDir, data: FerDataModule, other_geometry: bool) -> list[str]:
    """Raise DataError where crops or landmarks of the store are made otherwise; return what is to be said of them."""
    job = learner.job()
    known = {str(learner.path): mappings_of(job.store.mesh_mappings, drawn=job.drawn), **data.mesh_mappings}
    require_one_mapping(known, landmarks=config.model.landmarks > 0)
    hint = "; or say other_geometry=true: the scores then hold for faces cropped otherwise"
    notes = require_geometry(learner, data, hint, allowed=other_geometry)
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


def _write(learner: RunDir, data: FerDataModule, run: RunDir, judged: JudgedRows, weights: str) -> None:
    """Predict the judged clips; write configuration, record and predictions, with those that calibrate a model."""
    before, rows, own = learner.job(), judged.rows, learner.predictions()
    name = ENSEMBLE if learner.folds else str(own["fold"].iloc[0])
    none = np.empty(0, np.int64)
    described = data.describe([Fold(name, none, none, rows, judged.dropped)])
    table = prediction_table(
        _predicted(learner, data, rows),
        data.clips.iloc[rows],
        learner.label_space(),
        fold=name,
        split="test",
        groups=data.groups,
    )
    calibration = own[(own["split"] != "test") & (own["fold"] == name)].reindex(columns=table.columns)
    config = Config(**learner.config())
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
        "parents": [str(learner.path)],
        "weights": weights,
        "notes": judged.notes,
        **dict.fromkeys(("seconds", "peak_memory_bytes")),
    }
    run.write_job(before.model_copy(update=changes))
    run.write_predictions(pd.concat([calibration, table], ignore_index=True) if len(calibration) else table)


def _predicted(learner: RunDir, data: FerDataModule, rows: Rows) -> list[Predicted]:
    """Return the predictions of the clips: the logits of a model, averaged over the views of the training's test; of
    an ensemble the logarithm of the mean probability, whose softmax is that mean, and mean valence and arousal."""
    if not learner.folds:
        return list(_of_model(TrainedModel.open(learner), data, rows))
    parts = [list(_of_model(TrainedModel.open(fold), data, rows)) for fold in learner.folds]
    mean = list[Predicted]()
    for batches in zip(*parts, strict=True):
        logs = torch.stack([batch["logits"].double().log_softmax(dim=1) for batch in batches])
        log_mean = logs.logsumexp(dim=0) - math.log(len(batches))
        clips, covered = batches[0]["clip_id"], batches[0]["covered"]
        mean.append({"clip_id": clips, "logits": log_mean, "covered": covered})
        if "affect" in batches[0]:
            mean[-1]["affect"] = torch.stack([batch["affect"] for batch in batches]).mean(dim=0)
    return mean


def _of_model(trained: TrainedModel, data: FerDataModule, rows: Rows) -> Iterator[Predicted]:
    """Yield the predictions of the clips, averaged over the views of the training's test."""

    def answer(view: ClipBatch) -> tuple[Tensor, Tensor | None]:
        return trained.model.answer(*(view[key].to(trained.device) for key in ("frames", "valid", "landmarks")))

    with torch.inference_mode(), trained.autocast():
        for batch in data.plain_batches(rows):
            logits, affect = averaged(answer, batch, trained.config.trainer.test_views)
            predicted = Predicted(clip_id=batch["clip_id"], logits=logits, covered=batch["valid"].any(dim=1))
            yield predicted if affect is None else {**predicted, "affect": affect}
