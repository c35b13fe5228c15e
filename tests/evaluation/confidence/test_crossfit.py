import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.errors import DataError, LeakageError
from fer_id.evaluation.confidence.crossfit import cross_fit
from fer_id.evaluation.config import Fold, ProtocolConfig
from fer_id.evaluation.protocol import make_folds
from fer_id.labels import TARGET


def cohort(children, clips=2):
    rows = [(f"s{child:02d}", label) for child in range(children) for label in TARGET.names for _ in range(clips)]
    return pd.DataFrame(rows, columns=["subject_id", "label"]).assign(split=None)


@given(st.integers(6, 14), st.integers(2, 5), st.sampled_from(["loso", "kfold", "holdout"]), st.integers(0, 2**32 - 1))
def test_calibration_training_validation_and_test_children_are_disjoint(children, parts, name, seed):
    clips = cohort(children)
    config = ProtocolConfig(name=name, folds=3, cross_fit=parts)
    subjects = clips["subject_id"].to_numpy(str)
    for fold in make_folds(clips, config, seed=seed, images=False, deduplicate=True):
        learned = np.concatenate([fold.train, fold.validation])
        if len(set(subjects[learned])) < max(parts, 3):
            with pytest.raises(DataError, match="cross_fit"):
                cross_fit(clips, fold, config, seed=seed)
            continue
        made = cross_fit(clips, fold, config, seed=seed)
        predicted = np.concatenate([part.test for part in made])
        assert sorted(predicted) == sorted(learned)  # every child of training and inner validation once
        assert [part.part for part in made] == list(range(parts))
        for part in made:
            sides = [set(subjects[rows]) for rows in (part.train, part.validation, part.test, fold.test)]
            assert all(sides)
            assert sum(map(len, sides)) == len(set().union(*sides))
            assert sorted(np.concatenate([part.train, part.validation, part.test])) == sorted(learned)
        again = cross_fit(clips, fold, config, seed=seed)
        assert all((first.test == second.test).all() for first, second in zip(made, again, strict=True))


def test_a_site_is_calibrated_by_models_that_never_saw_it():
    """With ``protocol.group=site`` a part of the calibration holds whole sites, as the tested site is new."""
    clips = cohort(20).assign(site=lambda table: table["subject_id"].str[1:].astype(int) % 5)
    config = ProtocolConfig(name="loso", group="site", cross_fit=4)
    sites = clips["site"].to_numpy()
    for fold in make_folds(clips, config, seed=0, images=False, deduplicate=True):
        made = cross_fit(clips, fold, config, seed=0)
        assert sorted(np.concatenate([sites[part.test] for part in made])) == sorted(sites[sites != int(fold.name)])
        for part in made:
            assert not {*sites[part.test]} & {*sites[part.train], *sites[part.validation], *sites[fold.test]}
    with pytest.raises(DataError, match="has 4 groups of site in training and inner validation, expected 5"):
        cross_fit(clips, fold, ProtocolConfig(name="loso", group="site", cross_fit=5), seed=0)


def test_a_tested_child_in_training_is_leakage():
    clips = cohort(6)
    rows = clips.groupby("subject_id").indices
    train = np.concatenate([rows[f"s{child:02d}"] for child in range(4)])
    fold = Fold("a", train, rows["s04"], rows["s03"], {})
    with pytest.raises(LeakageError, match="s03"):
        cross_fit(clips, fold, ProtocolConfig(cross_fit=2), seed=0)


def test_unlabelled_clips_are_predicted_but_not_trained_on():
    clips = cohort(8)
    clips.loc[::7, "label"] = None
    config = ProtocolConfig(name="holdout", cross_fit=3)
    fold = make_folds(clips, config, seed=0, images=False, deduplicate=True)[0]
    for part in cross_fit(clips, fold, config, seed=0):
        assert clips["label"].iloc[part.train].notna().all()


def test_a_class_of_one_child_alone_cannot_be_cross_fitted():
    clips = cohort(8)
    clips["label"] = clips["label"].where((clips["label"] != "happy") | (clips["subject_id"] == "s00"))
    of = {name: np.flatnonzero(clips["subject_id"] == name) for name in ("s06", "s07")}
    fold = Fold("a", np.flatnonzero(clips["subject_id"] < "s06"), of["s06"], of["s07"], {})
    with pytest.raises(DataError, match="no training clip of happy"):
        cross_fit(clips, fold, ProtocolConfig(cross_fit=2), seed=0)


def test_one_part_and_other_modes_are_refused():
    assert [clash.keys for clash in ProtocolConfig(name="loso", cross_fit=1).clashes()] == [("cross_fit",)]
    clashes = ProtocolConfig(name="loso", cross_fit=2, mode="personalised").clashes()
    assert [clash.keys for clash in clashes] == [("cross_fit", "mode")]
    assert not list(ProtocolConfig(name="loso", cross_fit=2).clashes())
