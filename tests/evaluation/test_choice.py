"""Choice by the paired NLL of inner validation: by hand, against scipy, and without a look at the test; the average."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fer_id.errors import RunError
from fer_id.evaluation.averaged import averaged_predictions
from fer_id.evaluation.choice import loss_difference, validation_losses
from fer_id.evaluation.metrics import compute_metrics
from fer_id.evaluation.predictions import PREDICTED_AFFECT
from fer_id.labels import TARGET


def validated(random_table, **settings) -> pd.DataFrame:
    """Return inner-validation rows, each of a subject of its own, and test rows."""
    table = random_table(TARGET, clips=60, subjects=60, **settings)
    return pd.concat([table.assign(split="validation"), table.assign(split="test")], ignore_index=True)


def test_a_paired_difference_and_its_error(random_table) -> None:
    weak, strong = (validated(random_table, skill=skill) for skill in (0.5, 2.0))
    losses = [validation_losses(table, TARGET) for table in (strong, weak)]
    difference = loss_difference(*losses)
    true = [np.array([row[f"p_{row['label']}"] for _, row in table.iloc[:60].iterrows()]) for table in (strong, weak)]
    by_hand = -np.log(true[0]) + np.log(true[1])
    assert difference.value == pytest.approx(by_hand.mean())
    assert difference.error == pytest.approx(stats.sem(by_hand))
    assert (difference.clips, difference.verdict) == (60, "better")
    assert loss_difference(*losses[::-1]).verdict == "worse"
    assert loss_difference(losses[0], losses[0]).verdict == "not shown"


def test_clips_of_one_subject_count_together(random_table) -> None:
    weak, strong = (validated(random_table, skill=skill) for skill in (0.5, 2.0))
    once = loss_difference(validation_losses(strong, TARGET), validation_losses(weak, TARGET))
    twice = [pd.concat([t, t.assign(clip_id=t["clip_id"] + "b")], ignore_index=True) for t in (strong, weak)]
    both = loss_difference(*(validation_losses(table, TARGET) for table in twice))
    assert (both.value, both.error) == pytest.approx((once.value, once.error))


def test_test_rows_change_nothing_and_other_clips_are_not_paired(random_table) -> None:
    table = validated(random_table)
    losses = validation_losses(table, TARGET)
    pd.testing.assert_frame_equal(validation_losses(table[table["split"] == "validation"], TARGET), losses)
    assert loss_difference(losses, losses.iloc[1:]) is None
    assert loss_difference(losses.iloc[:0], losses.iloc[:0]) is None


def test_an_average_is_the_mean_of_the_probabilities(random_table, table_from) -> None:
    first, second = (validated(random_table, seed=0, skill=skill) for skill in (0.5, 2.0))
    columns = [f"p_{name}" for name in TARGET.names]
    second.loc[3, ["predicted", *columns, *(f"logit_{name}" for name in TARGET.names)]] = None
    mean = averaged_predictions([("a", first), ("b", second.sample(frac=1, random_state=0))])
    assert compute_metrics(mean, TARGET, "synthetic").n_clips == 60
    ours = mean.set_index(["split", "clip_id"])
    theirs = [table.set_index(["split", "clip_id"]).loc[ours.index, columns].astype(float) for table in (first, second)]
    pd.testing.assert_frame_equal(ours[columns].astype(float), (theirs[0] + theirs[1]) / 2)
    lost = ours.loc[(first["split"][3], first["clip_id"][3])]
    assert pd.isna(lost["predicted"])
    assert lost["flagged"]
    with pytest.raises(RunError, match="b predicts other clips, or has other labels of them, than a"):
        averaged_predictions([("a", first), ("b", first.iloc[1:])])


def test_an_average_rates_valence_and_arousal_where_every_member_does(random_table) -> None:
    rng = np.random.default_rng(0)
    plain = validated(random_table, seed=0)
    first, second = (plain.assign(**{name: rng.uniform(-1, 1, len(plain)) for name in PREDICTED_AFFECT}) for _ in "ab")
    mean = averaged_predictions([("a", first), ("b", second)]).set_index(["split", "clip_id"])
    for name in PREDICTED_AFFECT:
        by_hand = (first.set_index(["split", "clip_id"])[name] + second.set_index(["split", "clip_id"])[name]) / 2
        pd.testing.assert_series_equal(mean[name], by_hand.loc[mean.index])
    for tables in ([("a", first), ("b", plain)], [("a", plain), ("b", first)]):
        assert not set(PREDICTED_AFFECT) & set(averaged_predictions(tables))
