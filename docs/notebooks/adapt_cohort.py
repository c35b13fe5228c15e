# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Adaptation to a cohort, leave-one-child-out
#
# A trained model is fitted to a site's children, once without each child, and judged on the child that was left out,
# as `fer-id adapt` does, in a plain loop. The run comes from `first_training.py`; the store from
# `fer-id prepare data=cohort data.source=FOLDER out=data/site_a_store`, or drawn:
# `fer-id synth out=data/site_a_store subjects=6 seed=21`.

# %%
import pandas as pd
import pytorch_lightning as pl

from data_modules import CohortDataModule
from fer_id import ClipClassification, RunDir, build_model, evaluate
from fer_id.evaluation.metrics import compute_metrics
from fer_id.loggers import RunLogger
from fer_id.models.transfer import transfer
from fer_id.tasks.config import AdaptationConfig
from fer_id.tasks.strategies import Gradual

pl.seed_everything(0)
source, store = RunDir.open("runs/mine/first"), "data/site_a_store"

# %% [markdown]
# Each child has a run of its own. `transfer` loads the encoder, the temporal head and the rows of the classes that
# both label spaces name; `Gradual` lets one stage after another learn. `start=source` records the parent and refuses a
# source that learned from the child who is tested. The loop can be run again: a finished child is kept, an interrupted
# one goes on from its last whole checkpoint.

# %%
predictions = []
for child in [fold.name for fold in CohortDataModule(store, protocol="loso").folds]:
    data = CohortDataModule(store, protocol="loso", fold=child)
    model = build_model("cnn_lstm", data.labels)
    taken = transfer(model, source.checkpoint(), source.label_space(), data.labels)
    task = ClipClassification(model, data.labels, strategy=Gradual(AdaptationConfig(), taken.weights))
    run = RunDir.begin(f"runs/site_a/{child}", task=task, data=data, start=source)
    if not run.done:
        trainer = pl.Trainer(max_epochs=10, logger=RunLogger(run), callbacks=run.callbacks())
        trainer.fit(task, data)
        trainer.test(task, data, ckpt_path="best")
        evaluate(run, task, data)
    predictions.append(run.predictions())

# %% [markdown]
# The predictions of all children together, with intervals that resample children.

# %%
metrics = compute_metrics(pd.concat(predictions), data.labels, data.provenance)
print(metrics.accuracy, metrics.interval("accuracy"))
