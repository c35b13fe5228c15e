"""Scores of predicted valence and arousal: the concordance correlation coefficient (CCC), with intervals over subjects.

``CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)``, moments over n, in [-1, 1]: 1 where every prediction
equals the annotation, 0 without relation; unlike a correlation it is lowered by another mean or spread (Lin, 1989,
doi:10.2307/2532051). It is a function of six sums, so leaving one subject out is a subtraction. It is undefined with
fewer than two values, and where all annotations are equal.

Scored are the test clips with the value, a prediction and a face, whether or not they have a class label. Under
cross-validation the clips of all folds are pooled.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import DIFFERENCE_RANGE, Interval, jackknife
from fer_id.evaluation.predictions import PREDICTED_AFFECT
from fer_id.evaluation.scores import Floats, ratio
from fer_id.types import AFFECT

SCORES = (*(f"{name}_ccc" for name in AFFECT), "ccc")
"""Names of the scores in ``metrics.json``: of valence, of arousal, and their mean."""

MOMENTS = 6
_LEAST_SPREAD = 1e-12


def moments(predicted: Floats, truth: Floats) -> Floats:
    """Return the sums of 1, x, y, x^2, y^2, xy of predictions x and truth y (N, ...) as (N, ..., 6), summable over N; 0
    where either is NaN."""
    known = ~np.isnan(predicted) & ~np.isnan(truth)
    x, y = np.where(known, predicted, 0.0), np.where(known, truth, 0.0)
    return np.stack([known.astype(np.float64), x, y, x * x, y * y, x * y], axis=-1)


def concordance(sums: Floats) -> Floats:
    """Return the CCC (...) of summed moments (..., 6); NaN where undefined."""
    n = sums[..., :1]
    x, y, xx, yy, xy = np.moveaxis(ratio(sums[..., 1:], n), -1, 0)
    spread = yy - y * y
    value = ratio(2 * (xy - x * y), (xx - x * x) + spread + (x - y) ** 2)
    return np.where((n[..., 0] >= 2) & (spread > _LEAST_SPREAD), value, np.nan)


def with_mean(values: Floats) -> Floats:
    """Return CCC of valence and arousal (..., 2), and their mean (..., 3); NaN where either is."""
    return np.concatenate([values, values.mean(axis=-1, keepdims=True)], axis=-1)


def has_affect(predictions: pd.DataFrame) -> bool:
    """Return whether the model has a head of valence and arousal."""
    return all(name in predictions for name in (*AFFECT, *PREDICTED_AFFECT))


def affect_clips(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the test clips that have a predicted and an annotated value of either."""
    rows = predictions[predictions["split"] == "test"]
    known = rows[[*AFFECT]].notna().to_numpy() & rows[[*PREDICTED_AFFECT]].notna().to_numpy()
    clips: pd.DataFrame = rows[known.any(axis=1)]
    return clips


def affect_scores(predictions: pd.DataFrame) -> tuple[dict[str, float], dict[str, Interval], dict[str, int]]:
    """Return the CCC by the names of :data:`SCORES` (NaN where undefined), its intervals over subjects, and the number
    of clips ``n_valence`` and ``n_arousal``.

    The interval is that of :func:`fer_id.evaluation.intervals.jackknife` on Fisher's z, as Lin (1989) has it.
    """
    rows = affect_clips(predictions)
    codes, subjects = pd.factorize(rows["subject_id"].astype(str), sort=True)
    each = moments(rows[[*PREDICTED_AFFECT]].to_numpy(np.float64), rows[[*AFFECT]].to_numpy(np.float64))
    by_subject = np.zeros((len(subjects), len(AFFECT), MOMENTS))
    np.add.at(by_subject, codes, each)
    total = by_subject.sum(axis=0)
    values, without = with_mean(concordance(total)), with_mean(concordance(total - by_subject))
    contributes = by_subject[..., 0] > 0
    contributes = np.concatenate([contributes, contributes.any(axis=1, keepdims=True)], axis=1)
    intervals = {
        name: jackknife(float(values[k]), without[contributes[:, k], k], bounds=DIFFERENCE_RANGE, scale="fisher")
        for k, name in enumerate(SCORES)
    }
    counts = {f"n_{name}": int(total[k, 0]) for k, name in enumerate(AFFECT)}
    return dict(zip(SCORES, values.tolist(), strict=True)), intervals, counts


def undefined_reason(name: str, counts: dict[str, int]) -> str:
    """Return why the CCC of this name is undefined, by the number of clips."""
    of = [part for part in AFFECT if name.startswith(part)] or [*AFFECT]
    few = [part for part in of if counts[f"n_{part}"] < 2]
    if few:
        return f"fewer than two test clips have {' and '.join(few)} and a prediction"
    return f"all annotations of {' or of '.join(of)} are equal"
