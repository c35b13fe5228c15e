"""``predictions.parquet`` as arrays: checks of the table, and selection of the rows for evaluation and calibration.

Evaluation uses the labelled test rows. Test rows without a label are counted and left out; a row without a prediction
(no face was found) is counted, and is an error in ``accuracy_with_missing``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from fer_id.errors import SHOWN, DataError, Problems
from fer_id.evaluation.scores import Bools, Floats, Ints, count_clips
from fer_id.labels import SUM_TOLERANCE, LabelSpace
from fer_id.runs.configs import Config
from fer_id.types import AFFECT

SPLITS = ("test", "validation", "calibration")
"""``calibration``: children of training and inner validation, predicted by cross-fitted models not trained on them."""


NO_BASELINE = "no_baseline"
"""Column of ``predictions.parquet``, True for a clip with too few frames with a face for the own baseline that
its model subtracts; predictions of other models lack it."""


PREDICTED_AFFECT = tuple(f"predicted_{name}" for name in AFFECT)
"""Columns of a model with a head of valence and arousal; beside them stand the annotations, under the names of
:data:`fer_id.types.AFFECT`, NaN where there is none."""


@dataclass(frozen=True)
class Judged:
    """The labelled test clips. ``predicted`` is -1, and ``probabilities`` NaN, for a clip without a prediction."""

    truth: Ints  # (N,)
    predicted: Ints  # (N,)
    probabilities: Floats  # (N, K)
    subjects: Ints  # (N,) index into subject_ids
    subject_ids: list[str]  # sorted
    clip_ids: list[str]
    n_unlabelled: int

    @property
    def covered(self) -> np.ndarray:
        """(N,) bool, True where the clip has a prediction."""
        return np.asarray(self.predicted >= 0)

    def counts(self, classes: int) -> Floats:
        """Return the counts of each subject, (S, K, K + 1): see :func:`fer_id.evaluation.scores.count_clips`."""
        return count_clips(self.truth, self.predicted, self.subjects, len(self.subject_ids), classes)


def class_names(predictions: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names in the order of the columns ``logit_<class>``; raise DataError without such a column."""
    names = tuple(str(column).removeprefix("logit_") for column in predictions if str(column).startswith("logit_"))
    if not names:
        raise DataError(
            "predictions: no column logit_<class>, so the classes are unknown; predict again with `fer-id train`"
        )
    return names


def judge(predictions: pd.DataFrame, labels: LabelSpace, *, where: object = "predictions") -> Judged:
    """Return the labelled test rows as arrays, after :func:`check_predictions`."""
    check_predictions(predictions, labels, where)
    return judged_clips(predictions, labels)


def judged_clips(predictions: pd.DataFrame, labels: LabelSpace, *, probabilities: str = "p") -> Judged:
    """Return the labelled test rows of a checked table as arrays, with raw (``p``) or calibrated (``q``) values."""
    rows = judged_rows(predictions)
    codes, subject_ids = pd.factorize(rows["subject_id"].astype(str), sort=True)
    return Judged(
        truth=class_indices(rows["label"], labels),
        predicted=class_indices(rows["predicted"], labels),
        probabilities=class_columns(rows, labels, probabilities),
        subjects=codes.astype(np.int64),
        subject_ids=[str(subject) for subject in subject_ids],
        clip_ids=rows["clip_id"].astype(str).tolist(),
        n_unlabelled=int((predictions["split"] == "test").sum()) - len(rows),
    )


def judged_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled test rows in their order."""
    rows: pd.DataFrame = predictions[(predictions["split"] == "test") & predictions["label"].notna()]
    return rows


def by_fold(predictions: pd.DataFrame) -> Iterator[tuple[str, Ints, pd.DataFrame]]:
    """Yield each fold: its name, its row numbers and its rows."""
    for fold, rows in predictions.groupby("fold").indices.items():
        yield str(fold), np.asarray(rows), predictions.iloc[rows]


def calibration_rows(fold: pd.DataFrame) -> Bools:
    """Return the mask (N,) of the rows of one fold that temperature, threshold and prediction sets are fitted on.

    These are the labelled clips with a prediction, of cross-fitting (``calibration``) where there are any, else of
    inner validation; never a test row.
    """
    split = fold["split"].to_numpy(str)
    chosen = "calibration" if (split == "calibration").any() else "validation"
    known = (split == chosen) & fold["label"].notna().to_numpy() & fold["predicted"].notna().to_numpy()
    return np.asarray(known, dtype=np.bool_)


def calibration_unit(config: Config, predictions: pd.DataFrame) -> str:
    """Return the column whose groups are exchangeable with new ones: ``protocol.group`` where the predictions have it
    and the protocol divides by it, else ``subject_id``. Clips of known sites say little about a new site."""
    protocol = config.get("protocol", {})
    group = "subject_id" if protocol.get("name") == "official" else protocol.get("group", "subject_id")
    return group if group in predictions else "subject_id"


def counted_units(number: int, unit: str) -> str:
    """Format ``1 subject``, ``5 subjects``, ``5 groups of site``."""
    noun = f"{'subject' if unit == 'subject_id' else 'group'}{'' if number == 1 else 's'}"
    return f"{number} {noun}" if unit == "subject_id" else f"{number} {noun} of {unit}"


def check_answers(predictions: pd.DataFrame, labels: LabelSpace, where: object = "predictions") -> None:
    """Raise DataError where ``predicted`` is not the class of the highest logit, or ``p_<class>`` not its softmax.

    For a table that :func:`check_predictions` accepted: a training writes all three from the same logits, so a row in
    which they differ was edited.
    """
    rows = predictions[predictions["predicted"].notna()]
    logits, p = (class_columns(rows, labels, prefix) for prefix in ("logit", "p"))
    predicted = np.take_along_axis(logits, class_indices(rows["predicted"], labels)[:, None], axis=1)[:, 0]
    wrong = (predicted < logits.max(axis=1, initial=-np.inf)) | (np.abs(softmax(logits, axis=1) - p) > 1e-3).any(axis=1)
    if wrong.any():
        clips = ", ".join(rows["clip_id"].astype(str)[wrong].head(SHOWN))
        raise DataError(
            f"{where}: {int(wrong.sum())} rows whose predicted class, logits and probabilities contradict each other "
            f"({clips}), so the file was edited; the same `fer-id train` command, without the file, predicts again"
        )


def check_predictions(predictions: pd.DataFrame, labels: LabelSpace, where: object = "predictions") -> None:
    """Raise DataError, if there is any problem, with every problem of the table (``where``: its file)."""
    problems = Problems(str(where))
    numbers = [f"{prefix}_{name}" for prefix in ("logit", "p") for name in labels.names]
    for column in ("clip_id", "subject_id", "fold", "split", "label", "predicted", *numbers):
        if column not in predictions:
            problems.add(f"column {column} is missing")
    hint = f"expected one row per (clip_id, fold, split) over the classes {', '.join(labels.names)}"
    problems.raise_if_any(DataError, hint)

    for column in ("clip_id", "subject_id"):
        _add(problems, predictions, predictions[column].isna().to_numpy(), f"{column} is empty")
    twice = predictions.duplicated(["clip_id", "fold", "split"]).to_numpy()
    _add(problems, predictions, twice, "(clip_id, fold, split) occurs twice")
    _add(problems, predictions, ~predictions["split"].isin(SPLITS).to_numpy(), f"split is none of {', '.join(SPLITS)}")
    for column in ("label", "predicted"):
        known = predictions[column].isna() | predictions[column].isin(labels.names)
        names = ", ".join(sorted({repr(value) for value in predictions[column][~known]})[:5])
        _add(problems, predictions, ~known.to_numpy(), f"{column} is no class of {labels.name} ({names})")
    answered = predictions["predicted"].notna().to_numpy()
    logit, p = (class_columns(predictions, labels, prefix) for prefix in ("logit", "p"))
    finite = np.isfinite(p).all(1)
    for what, wrong in {
        "a logit is NaN or infinite": answered & ~np.isfinite(logit).all(1),
        "a probability p_<class> is NaN or infinite": answered & ~finite,
        "a probability is outside [0, 1]": answered & finite & ((p < 0) | (p > 1)).any(1),
        "the probabilities do not sum to 1": answered & finite & (np.abs(p.sum(1) - 1) > SUM_TOLERANCE),
        "there are probabilities but no predicted class": ~answered & np.isfinite(p).any(1),
    }.items():
        _add(problems, predictions, wrong, what)
    for what, wrong in _outside(predictions).items():
        _add(problems, predictions, wrong, what)
    problems.raise_if_any(DataError, hint)


def _outside(predictions: pd.DataFrame) -> dict[str, Bools]:
    """Return the fault of each column of valence and arousal -> the rows (N,) with it; empty without such columns."""
    wrong = dict[str, Bools]()
    for name in [name for name in (*AFFECT, *PREDICTED_AFFECT) if name in predictions]:
        numbers = pd.to_numeric(predictions[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong[f"{name} is no number from -1 to 1"] = predictions[name].notna().to_numpy() & ~(np.abs(numbers) <= 1)
    return wrong


def _add(problems: Problems, predictions: pd.DataFrame, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        clips = ", ".join(str(clip) for clip in predictions["clip_id"][wrong][:3])
        problems.add(f"{what} in {int(wrong.sum())} of {len(predictions)} rows (first clips: {clips})")


def class_indices(column: pd.Series, labels: LabelSpace) -> Ints:
    """Return the class index of each label, (N,); -1 where it is null."""
    return np.asarray(pd.Categorical(column, categories=list(labels.names)).codes, dtype=np.int64)


def class_columns(rows: pd.DataFrame, labels: LabelSpace, prefix: str = "p") -> Floats:
    """Return the columns ``<prefix>_<class>`` (p, q or logit), (N, K); NaN where one is absent, null or text."""
    columns = rows.reindex(columns=[f"{prefix}_{name}" for name in labels.names])
    try:
        numbers = columns.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        numbers = columns.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.asarray(numbers, dtype=np.float64)
