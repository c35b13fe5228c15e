"""``predictions.parquet`` as arrays: checks of the table, and selection of the rows for evaluation and calibration.

Evaluation uses the labelled test rows. Test rows without a label are counted and left out; a row without a prediction
(no face was found) is counted, and is an error in ``accuracy_with_missing``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from fer_id.errors import SHOWN, DataError, Problems
from fer_id.evaluation.scores import Bools, Floats, Ints
from fer_id.labels import SUM_TOLERANCE, LabelSpace

SPLITS = ("test", "validation", "calibration")
"""``calibration``: children of training and inner validation, predicted by cross-fitted models not trained on them."""

_KEYS = ["clip_id", "fold", "split"]


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


def class_names(predictions: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names in the order of the columns ``logit_<class>``.

    Raises:
        DataError: there is no such column.
    """
    names = tuple(str(column).removeprefix("logit_") for column in predictions if str(column).startswith("logit_"))
    if not names:
        raise DataError(
            "predictions: no column logit_<class>, so the classes are unknown; predict again with `fer-id train`"
        )
    return names


def judge(
    predictions: pd.DataFrame, labels: LabelSpace, *, probabilities: str = "p", where: object = "predictions"
) -> Judged:
    """Check a table of predictions and return its labelled test rows as arrays.

    Args:
        probabilities: prefix of the probability columns: ``p`` (raw) or ``q`` (calibrated).
        where: the file, for the message.

    Raises:
        DataError: columns are missing, or rows contradict the contract; every kind of problem is listed.
    """
    check_predictions(predictions, labels, where)
    return judged_clips(predictions, labels, probabilities=probabilities)


def judged_clips(predictions: pd.DataFrame, labels: LabelSpace, *, probabilities: str = "p") -> Judged:
    """Return the labelled test rows of a checked table as arrays; see :func:`judge`."""
    rows = judged_rows(predictions)
    codes, subject_ids = pd.factorize(rows["subject_id"].astype(str), sort=True)
    return Judged(
        truth=_indices(rows["label"], labels),
        predicted=_indices(rows["predicted"], labels),
        probabilities=_numbers(rows, [f"{probabilities}_{name}" for name in labels.names]),
        subjects=codes.astype(np.int64),
        subject_ids=[str(subject) for subject in subject_ids],
        clip_ids=rows["clip_id"].astype(str).tolist(),
        n_unlabelled=int((predictions["split"] == "test").sum()) - len(rows),
    )


def judged_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled test rows in their order."""
    rows: pd.DataFrame = predictions[(predictions["split"] == "test") & predictions["label"].notna()]
    return rows


def calibration_rows(fold: pd.DataFrame) -> Bools:
    """Select the rows of one fold that temperature, threshold and prediction sets are fitted on.

    These are the labelled clips with a prediction, of cross-fitting (``calibration``) where there are any, else of
    inner validation; never a test row.

    Args:
        fold: rows of ``predictions.parquet`` of one fold.

    Returns:
        (N,) mask.
    """
    split = fold["split"].to_numpy(str)
    chosen = "calibration" if (split == "calibration").any() else "validation"
    known = (split == chosen) & fold["label"].notna().to_numpy() & fold["predicted"].notna().to_numpy()
    return np.asarray(known, dtype=np.bool_)


def check_answers(predictions: pd.DataFrame, labels: LabelSpace, where: object = "predictions") -> None:
    """Raise DataError where ``predicted`` is not the class of the highest logit, or ``p_<class>`` not its softmax.

    For a table that :func:`check_predictions` accepted: a training writes all three from the same logits, so a row in
    which they differ was edited.
    """
    rows = predictions[predictions["predicted"].notna()]
    logits, p = (_numbers(rows, [f"{prefix}_{name}" for name in labels.names]) for prefix in ("logit", "p"))
    predicted = np.take_along_axis(logits, _indices(rows["predicted"], labels)[:, None], axis=1)[:, 0]
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
    logits, raw = ([f"{prefix}_{name}" for name in labels.names] for prefix in ("logit", "p"))
    needed = ["clip_id", "subject_id", "fold", "split", "label", "predicted", *logits, *raw]
    for column in needed:
        if column not in predictions:
            problems.add(f"column {column} is missing")
    hint = f"expected one row per (clip_id, fold, split) over the classes {', '.join(labels.names)}"
    problems.raise_if_any(DataError, hint)

    for column in ("clip_id", "subject_id"):
        _add(problems, predictions, predictions[column].isna().to_numpy(), f"{column} is empty")
    _add(problems, predictions, predictions.duplicated(_KEYS).to_numpy(), "(clip_id, fold, split) occurs twice")
    _add(problems, predictions, ~predictions["split"].isin(SPLITS).to_numpy(), f"split is none of {', '.join(SPLITS)}")
    for column in ("label", "predicted"):
        known = predictions[column].isna() | predictions[column].isin(labels.names)
        names = ", ".join(sorted({repr(value) for value in predictions[column][~known]})[:5])
        _add(problems, predictions, ~known.to_numpy(), f"{column} is no class of {labels.name} ({names})")
    _check_numbers(problems, predictions, logits, raw)
    problems.raise_if_any(DataError, hint)


def _check_numbers(problems: Problems, predictions: pd.DataFrame, logits: list[str], raw: list[str]) -> None:
    answered = predictions["predicted"].notna().to_numpy()
    logit, p = _numbers(predictions, logits), _numbers(predictions, raw)
    finite = np.isfinite(p).all(1)
    _add(problems, predictions, answered & ~np.isfinite(logit).all(1), "a logit is NaN or infinite")
    _add(problems, predictions, answered & ~finite, "a probability p_<class> is NaN or infinite")
    outside = answered & finite & ((p < 0) | (p > 1)).any(1)
    _add(problems, predictions, outside, "a probability is outside [0, 1]")
    off = answered & finite & (np.abs(p.sum(1) - 1) > SUM_TOLERANCE)
    _add(problems, predictions, off, "the probabilities do not sum to 1")
    _add(problems, predictions, ~answered & np.isfinite(p).any(1), "there are probabilities but no predicted class")


def _add(problems: Problems, predictions: pd.DataFrame, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        clips = ", ".join(str(clip) for clip in predictions["clip_id"][wrong][:3])
        problems.add(f"{what} in {int(wrong.sum())} of {len(predictions)} rows (first clips: {clips})")


def _indices(column: pd.Series, labels: LabelSpace) -> Ints:
    return np.asarray(pd.Categorical(column, categories=list(labels.names)).codes, dtype=np.int64)


def probabilities(rows: pd.DataFrame, labels: LabelSpace, *, prefix: str = "p") -> Floats:
    """Return the columns ``p_<class>`` (or ``q_``, ``logit_``) of a checked table, (N, K); NaN where null."""
    return _numbers(rows, [f"{prefix}_{name}" for name in labels.names])


def _numbers(rows: pd.DataFrame, columns: list[str]) -> Floats:
    """Return the columns as floats, (N, len(columns)); text becomes NaN, which the checks report."""
    try:
        numbers = rows[columns].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        numbers = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.asarray(numbers, dtype=np.float64)
