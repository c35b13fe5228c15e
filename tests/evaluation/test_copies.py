"""The child as the unit of intervals: copies of clips narrow no interval, more children do."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from fer_id.evaluation.intervals import Interval, ratio_interval
from fer_id.evaluation.metrics import compute_metrics
from fer_id.evaluation.paired import compare_runs
from fer_id.evaluation.predictions import judge
from fer_id.labels import TARGET
from fer_id.runs import records
from fer_id.runs.metrics import Metrics

from .conftest import predictions_table

K = len(TARGET)
FEW, MANY = (2, 9), (42, 48)  # subjects
CALIBRATION = {"brier", "nll", "overconfidence", "ece"}
SELECTIVE = {"aurc", "risk_at_coverage.0.5", "risk_at_coverage.0.8", "risk_at_coverage.0.9"}


def cohort(seed: int, subjects: tuple[int, int], runs: int = 1) -> list[pd.DataFrame]:
    """Draw tables of the same clips: unequal children, unequal numbers of clips, some clips without a face."""
    rng = np.random.default_rng(seed)
    names = [f"s{index}" for index in range(rng.integers(*subjects))]
    who = np.repeat(names, rng.integers(1, 12, len(names)))
    truth = rng.choice(K, len(who), p=(0.4, 0.3, 0.15, 0.1, 0.05))
    missing = np.flatnonzero(rng.random(len(who)) < 0.1)
    ability = dict(zip(names, rng.normal(1.2, 1, len(names)), strict=True))
    tables = []
    for _ in range(runs):
        logits = np.round(rng.normal(size=(len(who), K)), 1)  # ties happen
        logits[np.arange(len(who)), truth] += [ability[name] for name in who]
        table, q = predictions_table(TARGET, truth, logits, who, missing=missing), special.softmax(logits / 2, axis=1)
        q[missing] = np.nan
        tables.append(table.assign(**{f"q_{name}": q[:, index] for index, name in enumerate(TARGET.names)}))
    return tables


def tenfold(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.assign(clip_id=table["clip_id"] + f"-{copy}") for copy in range(10)], ignore_index=True)


def twins(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with every child twice."""
    again = table.assign(clip_id=table["clip_id"] + "-twin", subject_id=table["subject_id"] + "-twin")
    return pd.concat([table, again], ignore_index=True)


def intervals_of(metrics: Metrics) -> dict[str, records.Interval | None]:
    """Return every interval of ``metrics.json``."""
    calibration, calibrated, selective = metrics.calibration, metrics.calibration.calibrated, metrics.selective
    assert set(calibration.intervals) == set(calibrated.intervals) == CALIBRATION
    assert set(selective.intervals) == SELECTIVE
    after = {f"calibrated.{name}": interval for name, interval in calibrated.intervals.items()}
    return metrics.intervals | calibration.intervals | after | selective.intervals


def limits(interval: Interval | records.Interval | None) -> tuple[float, float]:
    """Return low and high; NaN where there is none."""
    if interval is None or interval.low is None or interval.high is None:
        return np.nan, np.nan
    return interval.low, interval.high


def assert_alike(once: dict, copied: dict) -> None:
    assert once.keys() == copied.keys()
    for name, interval in once.items():
        assert limits(copied[name]) == pytest.approx(limits(interval), rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize("subjects", [FEW, MANY])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_copying_every_clip_ten_times_narrows_no_interval_of_a_run(subjects: tuple[int, int], seed: int) -> None:
    (table,) = cohort(seed, subjects)
    once, copied = (compute_metrics(clips, TARGET, "real") for clips in (table, tenfold(table)))
    assert_alike(intervals_of(once), intervals_of(copied))
    assert once.reasons == copied.reasons


@pytest.mark.parametrize("subjects", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_copying_every_clip_ten_times_narrows_no_interval_of_a_comparison(subjects: tuple[int, int], seed: int) -> None:
    tables = cohort(seed, subjects, runs=2)
    plain, tens = ([judge(table, TARGET) for table in some] for some in (tables, [tenfold(table) for table in tables]))
    once, copied = (compare_runs(*pair, K) for pair in (plain, tens))
    assert copied.p == pytest.approx(once.p, nan_ok=True)
    for name, difference in once.differences.items():
        assert limits(copied.differences[name].interval) == pytest.approx(limits(difference.interval), nan_ok=True)
    for kind in ("g", "superiority"):
        assert getattr(copied.effect, kind) == pytest.approx(getattr(once.effect, kind), nan_ok=True)
        ours, theirs = (limits(getattr(comparison.effect, f"{kind}_interval")) for comparison in (copied, once))
        assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("subjects", [FEW, MANY])
@given(seed=st.integers(0, 2**32 - 1))
def test_copying_every_clip_ten_times_narrows_no_interval_of_a_mean(subjects: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"s{index}" for index in range(rng.integers(*subjects))]
    who, ones = np.repeat(names, 3).tolist(), np.ones(3 * len(names))
    values = np.where(rng.random(len(who)) < 0.1, np.nan, rng.normal(size=len(who)))
    once = ratio_interval(values, ones, who, bounds=(-np.inf, np.inf))[1]
    copied = ratio_interval(np.tile(values, 10), np.tile(ones, 10), who * 10, bounds=(-np.inf, np.inf))[1]
    assert limits(copied) == pytest.approx(limits(once), nan_ok=True)


@pytest.mark.parametrize("subjects", [(8, 12), MANY])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_children_narrow_intervals(subjects: tuple[int, int], seed: int) -> None:
    (table,) = cohort(seed, subjects)
    once, doubled = (intervals_of(compute_metrics(clips, TARGET, "real")) for clips in (table, twins(table)))
    for name in ("accuracy", "macro_f1", "macro_recall", "auc", "brier", "nll", "overconfidence", "ece", "aurc"):
        (low, high), (lower, higher) = limits(once[name]), limits(doubled[name])
        assert higher - lower < 0.95 * (high - low), name


def test_intervals_contain_their_value() -> None:
    for seed, subjects in itertools.product(range(10), (FEW, MANY)):
        (table,) = cohort(seed, subjects)
        metrics = compute_metrics(table, TARGET, "real")
        checked = set()
        for section in filter(None, (metrics, metrics.calibration, metrics.calibration.calibrated)):
            for name, interval in section.intervals.items():
                if interval and hasattr(section, name):
                    assert interval.low <= section[name] <= interval.high, name
                    checked.add(name)
        assert checked >= CALIBRATION | {"accuracy"}
