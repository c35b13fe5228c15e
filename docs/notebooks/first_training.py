# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A first training
#
# Drawn children, a CNN-LSTM, and a run that every command of `fer-id` takes. The data come from
# `fer-id synth out=data/drawn subjects=12 seed=7`. As a notebook: `jupytext --to ipynb first_training.py`. Two cores
# take about a quarter of an hour (`max_epochs=2` goes the whole way in two minutes).

# %%
import pytorch_lightning as pl

from data_modules import SyntheticDataModule  # FER2013DataModule, AffectNetDataModule, CohortDataModule, ...
from fer_id import ClipClassification, RunDir, build_model, evaluate, write_report
from fer_id.callbacks import ClassMetrics, GradCamPanel, SubgroupFairness
from fer_id.loggers import PrivateWandbLogger, RunLogger

# %% [markdown]
# The data module opens the store and divides its children into training, inner validation and test. The task trains any
# `nn.Module` that takes `(frames, valid, landmarks)` and returns logits; `build_model` makes one of ours by name.

# %%
pl.seed_everything(0)  # before the model draws its weights
data = SyntheticDataModule("data/drawn", protocol="holdout", batch_size=32, seed=0)
task = ClipClassification(build_model("cnn_lstm", data.labels), data.labels, lr=3e-4)

# %% [markdown]
# The run records configuration, data and subjects. Its callbacks write checkpoints and predictions and resume an
# interrupted training; the others add numbers and pictures. `PrivateWandbLogger` decides itself what may leave the
# machine. The Trainer computes in float32; `fer-id train` times a few steps and takes bfloat16 where it is faster: here
# that is `precision="bf16-mixed"`.

# %%
run = RunDir.begin("runs/mine/first", task=task, data=data)
trainer = pl.Trainer(
    max_epochs=20,
    logger=[RunLogger(run), PrivateWandbLogger(run, project="fer-id")],
    callbacks=[ClassMetrics(), SubgroupFairness(), GradCamPanel(clips=8), *run.callbacks()],
)
trainer.fit(task, data)

# %% [markdown]
# `trainer.test` writes the predictions, `evaluate` the metrics, figures and `DONE`, `write_report` the page
# `report.html`.

# %%
trainer.test(task, data, ckpt_path="best")  # the numbers of metrics.json
evaluate(run, task, data)
write_report(run)
