"""Folds: no subject in two splits, every group tested once, reproducible from the seed."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from fer_id.errors import DataError, LeakageError
from fer_id.evaluation.config import SPLITS, Fold, ProtocolConfig
from fer_id.evaluation.protocol import NOT_TESTED, make_folds

CLASSES = ("happy", "sad")
GROUPED = st.sampled_from(["holdout", "kfold", "loso"])


def people(subjects: int, clips: int = 4, **columns: Any) -> pd.DataFrame:
    """Make a cohort in which every subject has every class."""
    rows = [(f"s{s}", CLASSES[c % 2]) for s in range(subjects) for c in range(clips)]
    table = pd.DataFrame(rows, columns=["subject_id", "label"], dtype=object)
    return table.assign(clip_id=[f"c{i}" for i in range(len(table))], **columns)


def filmed_people(subjects: int, **columns: Any) -> pd.DataFrame:
    """Make a cohort with one video per subject, a clip of two seconds every five."""
    clips = people(subjects, **columns).assign(length=10, fps=5.0)
    return clips.assign(video_id=clips["subject_id"], t0_s=[5.0 * (row % 4) for row in range(len(clips))])


def folds_of(
    clips: pd.DataFrame, seed: int = 0, *, images: bool = False, keep: bool = False, **config: Any
) -> list[Fold]:
    return make_folds(clips, ProtocolConfig(**config), seed=seed, images=images, deduplicate=not keep)


def assert_alike(fold: Fold, other: Fold) -> None:
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(fold, split), getattr(other, split))


def ids(clips: pd.DataFrame, fold: Fold, split: str) -> list[str]:
    return clips["clip_id"].iloc[getattr(fold, split)].tolist()


@st.composite
def cohorts(draw: st.DrawFn) -> pd.DataFrame:
    """Draw cohorts of uneven size in random order; every subject has every class, some clips have no label."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=3, max_size=9))
    rows = [(f"s{s}", CLASSES[c] if c < 2 else None, f"site{s % 4}") for s, n in enumerate(sizes) for c in range(n)]
    table = pd.DataFrame(draw(st.permutations(rows)), columns=["subject_id", "label", "site"], dtype=object)
    return table.assign(clip_id=[f"c{i}" for i in range(len(table))])


def test_without_a_test_the_rest_is_as_with_it() -> None:
    clips = people(9).assign(split=np.repeat(["train", "train", "train", "validation", "test", "test"], 6))
    clips["subject_id"] = clips["clip_id"]  # groups of one picture each
    clips.loc[0, "subject_id"] = clips["subject_id"].iloc[-1]  # a picture of the test, in training
    tested, untested = (folds_of(clips, images=True, name="official", test=test)[0] for test in (True, False))
    assert len(tested.test) == 12
    assert untested.test.tolist() == []
    for split in ("train", "validation"):
        np.testing.assert_array_equal(getattr(tested, split), getattr(untested, split))
    assert 0 not in untested.train
    assert untested.dropped == {**tested.dropped, NOT_TESTED: 12}


@given(cohorts(), GROUPED, st.integers(2, 3), st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
def test_no_subject_is_in_two_splits_and_no_clip_is_lost(clips, name, folds, test, validation, seed) -> None:
    config: dict[str, Any] = {"folds": folds, "test_fraction": test, "validation_fraction": validation}
    groups = clips["subject_id"].nunique()
    if name == "kfold" and groups == 3 and folds == 2:
        with pytest.raises(DataError, match="1 groups of subject_id to learn from"):  # one fold tests two of three
            folds_of(clips, seed, name=name, **config)
        return
    made = folds_of(clips, seed, name=name, **config)
    for fold in made:
        sides = [set(clips["subject_id"].iloc[getattr(fold, split)]) for split in SPLITS]
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides)) == groups
        used = np.concatenate([fold.train, fold.validation, fold.test])
        assert len(np.unique(used)) == len(used)
        assert len(used) + sum(fold.dropped.values()) == len(clips)
        assert clips["label"].iloc[fold.train].notna().all()
    tested = np.concatenate([fold.test for fold in made])
    if name != "holdout":
        np.testing.assert_array_equal(np.sort(tested), np.arange(len(clips)))  # everybody, once
    if name == "loso":
        assert [set(clips["subject_id"].iloc[fold.test]) for fold in made] == [{fold.name} for fold in made]


@given(cohorts(), GROUPED, st.integers(0, 2**32 - 1))
def test_folds_are_a_function_of_the_seed(clips: pd.DataFrame, name: str, seed: int) -> None:
    first, second = (folds_of(clips, seed, name=name, folds=3) for _ in range(2))
    for fold, again in zip(first, second, strict=True):
        assert_alike(fold, again)


@pytest.mark.parametrize("name", ["holdout", "kfold"])
def test_another_seed_gives_another_division(name: str) -> None:
    clips = people(12)
    divisions = {tuple(ids(clips, folds_of(clips, seed, name=name)[0], "test")) for seed in range(8)}
    assert len(divisions) > 4


@pytest.mark.parametrize("name", ["kfold", "loso"])
def test_one_fold_alone_is_the_same_as_among_all(name: str) -> None:
    clips = people(6)
    wanted = folds_of(clips, name=name, folds=3)[-1]
    (alone,) = folds_of(clips, name=name, folds=3, only=[wanted.name])
    assert_alike(alone, wanted)


def test_fractions_are_shares_of_the_groups() -> None:
    clips = people(20)
    (fold,) = folds_of(clips, name="holdout", test_fraction=0.25, validation_fraction=0.2)
    assert [clips["subject_id"].iloc[getattr(fold, split)].nunique() for split in SPLITS] == [12, 3, 5]


def test_leaving_one_site_out_keeps_its_children_together() -> None:
    clips = people(8)
    clips["site"] = ["north" if subject in ("s0", "s1", "s2") else f"site-{subject}" for subject in clips["subject_id"]]
    fold = next(fold for fold in folds_of(clips, name="loso", group="site") if fold.name == "north")
    assert set(clips["subject_id"].iloc[fold.test]) == {"s0", "s1", "s2"}


@pytest.mark.parametrize("mode", ["inductive", "personalised"])
def test_a_group_that_divides_a_subject_is_leakage_in_every_mode(mode: str) -> None:
    clips = filmed_people(6, context=["school", "home", "clinic", "home"] * 6)
    with pytest.raises(LeakageError, match=r"fold clinic: 6 in train and test: s0, s1, s2, s3, s4\n"):
        folds_of(clips, name="loso", group="context", mode=mode)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "loso", "group": "school"}, r"group=school: no such column; the clips have subject_id, label"),
        ({"name": "kfold", "folds": 9}, r"protocol.folds=9, but there are only 4 groups"),
        ({"name": "loso", "only": ["s9", "s1"]}, r"no fold named s9; the folds are s0, s1, s2, s3"),
        ({"name": "kfold", "folds": 2, "only": ["2"]}, r"no fold named 2; the folds are 00, 01"),
        ({"name": "loso", "group": "site"}, r"protocol.group=site: 2 of 16 clips have no value"),
        ({"name": "loso", "group": "ward"}, r"'\.\.', '\.\./up' cannot name a fold's folder"),
        ({"name": "official"}, r"the store has no train and no validation and no test split; use protocol=holdout"),
    ],
)
def test_an_impossible_division_is_refused_with_its_reason(config: dict[str, Any], message: str) -> None:
    clips = people(4, split=None)
    clips["site"] = [None if row < 2 else subject for row, subject in enumerate(clips["subject_id"])]
    clips["ward"] = clips["subject_id"].map({"s0": "../up", "s1": "..", "s2": "a", "s3": "b"})
    with pytest.raises(DataError, match=message):
        folds_of(clips, **config)


@pytest.mark.parametrize("name", ["holdout", "kfold", "loso"])
def test_two_people_are_too_few(name: str) -> None:
    with pytest.raises(DataError, match="needs at least 3 groups of subject_id, the store has 2"):
        folds_of(people(2), name=name)


def test_a_fold_without_a_training_clip_of_a_class_is_refused() -> None:
    clips = people(4)
    clips.loc[clips["subject_id"] != "s2", "label"] = "happy"  # sad is s2's alone
    with pytest.raises(DataError, match="fold s2: no training clip of sad"):
        folds_of(clips, name="loso")


def test_a_fold_without_labelled_validation_is_refused() -> None:
    clips = people(3)
    clips.loc[clips["subject_id"] == "s0", "label"] = None
    with pytest.raises(DataError, match=r"no labelled validation clip"):
        folds_of(clips, name="loso")


# --- official splits and near-identical images ------------------------------------------------------------------------


def official(rows: list[tuple[str, str | None, str]], *, filled: bool = True) -> pd.DataFrame:
    """Tabulate images given as (group of near-identical images, label, split), with further ones that fill every
    split."""
    filler = [(f"filler {split} {label}", label, split) for split in SPLITS for label in CLASSES]
    table = pd.DataFrame(rows + filler * filled, columns=["subject_id", "label", "split"], dtype=object)
    return table.assign(clip_id=[f"i{i}" for i in range(len(table))])


def test_the_official_splits_hold() -> None:
    clips = official([])
    (fold,) = folds_of(clips, images=True)
    assert fold.name == "official"
    assert all(clips["split"].iloc[getattr(fold, split)].eq(split).all() for split in SPLITS)
    assert fold.dropped == {}


def test_clips_of_no_official_split_are_counted() -> None:
    (fold,) = folds_of(official([("a", "happy", "tset"), ("b", "sad", "")]), images=True)
    assert fold.dropped == {"split is none of train, validation, test": 2}


def test_one_missing_split_is_named() -> None:
    clips = official([])
    with pytest.raises(DataError, match="the store has no validation split"):
        folds_of(clips[clips["split"] != "validation"], images=True)


def test_people_in_two_official_splits_are_leakage() -> None:
    clips = official([("child", "happy", "train"), ("child", "sad", "test")])
    with pytest.raises(LeakageError, match="fold official: 1 in train and test: child"):
        folds_of(clips)


def test_training_drops_judged_repeated_and_contradictory_images() -> None:
    clips = official(
        [
            ("in test", "happy", "train"),  # 0
            ("in test", "happy", "test"),
            ("in validation", "sad", "train"),  # 2
            ("in validation", "sad", "validation"),
            ("validation and test", "sad", "validation"),  # 4
            ("validation and test", "sad", "test"),
            ("repeated", "happy", "train"),  # 6: kept, the first
            ("repeated", "happy", "train"),
            ("repeated", "happy", "train"),
            ("contradicts", "happy", "train"),  # 9
            ("contradicts", "sad", "train"),
            ("unlabelled", None, "train"),  # 11
        ]
    )
    (fold,) = folds_of(clips, images=True)
    remaining = [f"i{i}" for i in (6, 12, 13)]
    assert ids(clips, fold, "train") == remaining
    assert "i4" not in ids(clips, fold, "validation")
    assert {"i1", "i5"} <= set(ids(clips, fold, "test"))  # the test set stays as published
    assert fold.dropped == {
        "unlabelled": 1,
        "validation images also in test": 1,
        "also in validation or test": 2,
        "repeats with conflicting labels": 2,
        "repeats within training": 2,
    }


def test_repeats_stay_without_deduplication() -> None:
    clips = official([("in test", "happy", "train"), ("in test", "happy", "test"), ("unlabelled", None, "train")])
    (fold,) = folds_of(clips, images=True, keep=True)
    assert "i0" in ids(clips, fold, "train")
    assert fold.dropped == {"unlabelled": 1}


def test_a_training_set_contained_in_test_is_refused() -> None:
    clips = official([(f"g{i}", CLASSES[i % 2], split) for split in SPLITS for i in range(4)], filled=False)
    with pytest.raises(DataError, match="fold official: no training clip of happy, sad") as caught:
        folds_of(clips, images=True)
    assert "no labelled validation clip" in str(caught.value)


IMAGES = st.tuples(st.integers(0, 12).map(str), st.sampled_from([*CLASSES, None]), st.sampled_from(SPLITS))


@given(st.lists(IMAGES, max_size=40))
def test_after_deduplication_no_image_is_in_two_splits_and_counts_add_up(rows: list[tuple]) -> None:
    clips = official(rows)
    (fold,) = folds_of(clips, images=True)
    sides = [set(clips["subject_id"].iloc[getattr(fold, split)]) for split in SPLITS]
    assert len(set.union(*sides)) == sum(map(len, sides))
    train = clips.iloc[fold.train]
    assert not train["subject_id"].duplicated().any()
    assert train["label"].notna().all()
    assert sum(len(getattr(fold, split)) for split in SPLITS) + sum(fold.dropped.values()) == len(clips)
    np.testing.assert_array_equal(np.sort(fold.train), fold.train)


def test_only_subjects_with_consent_are_trained_on_and_tested() -> None:
    clips = people(6)
    clips["for_training"] = clips["subject_id"] != "s0"
    clips["for_evaluation"] = ~clips["subject_id"].isin(["s1", "s2"])
    folds = folds_of(clips, name="loso")
    assert [fold.name for fold in folds] == ["s0", "s3", "s4", "s5"]
    for fold in folds:
        assert clips["for_training"].iloc[fold.train].all()
        assert clips["for_training"].iloc[fold.validation].all()
        assert clips["for_evaluation"].iloc[fold.test].all()
        assert fold.dropped["folds with nobody who may be judged (s1, s2)"] == 2
    s3 = folds[1]
    assert s3.dropped["no consent for training"] == 4
    with pytest.raises(DataError, match="nobody in the store consented to evaluation"):
        folds_of(clips.assign(for_evaluation=False), name="loso")


# --- clips of the tested subjects in training -------------------------------------------------------------------------


@st.composite
def filmed(draw: st.DrawFn) -> pd.DataFrame:
    """Draw children with one to three videos of several clips, in random order; all may share their first video."""
    rows, together = [], draw(st.booleans())
    for child in range(draw(st.integers(3, 5))):
        for video in range(draw(st.integers(1, 3))):
            shared = together and not video
            name, start = ("all", 100.0 * child) if shared else (f"v{child}-{video}", 0.0)
            rows += [(f"s{child}", name, start + 3.0 * clip, clip) for clip in range(draw(st.integers(2, 6)))]
    table = pd.DataFrame(draw(st.permutations(rows)), columns=["subject_id", "video_id", "t0_s", "clip"])
    label = [CLASSES[clip % 2] for clip in table.pop("clip")]
    return table.assign(label=label, length=10, fps=5.0, clip_id=[f"c{i}" for i in range(len(table))])


@settings(max_examples=20)  # each makes the folds twice
@given(filmed(), st.floats(0.1, 0.9), st.integers(0, 2), st.floats(0, 4))
def test_personalised_training_clips_precede_the_tested_ones(clips, share, own, gap) -> None:
    settings: dict[str, Any] = {"mode": "personalised", "own_fraction": share, "gap_s": gap}
    try:
        folds = folds_of(clips, name="loso", own_clips=own, **settings)
        every = folds_of(clips, name="loso", **settings)
    except DataError:
        reject()  # all that is left is within the gap, or nobody has so many earlier clips
    assert [fold.name for fold in folds] == [fold.name for fold in every]
    for fold, with_all in zip(folds, every, strict=True):
        np.testing.assert_array_equal(fold.test, with_all.test)  # so that numbers of own clips compare
        mine = clips.iloc[fold.train][clips["subject_id"].iloc[fold.train] == fold.name]
        more = clips.iloc[with_all.train][clips["subject_id"].iloc[with_all.train] == fold.name]
        assert len(mine) == min(own, len(more))
        assert set(mine["clip_id"]) <= set(more["clip_id"])
        assert not set(clips["subject_id"].iloc[fold.validation]) & {fold.name}
        for video, later in clips.iloc[fold.test].groupby("video_id"):
            before = more[more["video_id"] == video]
            assert (before["t0_s"].max() + 10 / 5.0 + gap <= later["t0_s"].min()) or before.empty
        used = len(fold.train) + len(fold.validation) + len(fold.test)
        assert used + sum(n for why, n in fold.dropped.items() if "folds" not in why) == len(clips)


def test_transductive_mode_uses_test_clips_of_children_with_training_consent() -> None:
    clips = people(5)
    clips["for_training"] = clips["subject_id"] != "s0"
    clips["for_evaluation"] = True
    for fold in folds_of(clips, name="loso", mode="transductive"):
        expected = [] if fold.name == "s0" else fold.test.tolist()
        assert fold.unlabelled.tolist() == expected
    assert all(not len(fold.unlabelled) for fold in folds_of(clips, name="loso"))


def test_earlier_clips_need_consent_for_training_too() -> None:
    clips = filmed_people(5)
    clips["for_training"], clips["for_evaluation"] = clips["subject_id"] != "s0", True
    folds = {fold.name: fold for fold in folds_of(clips, name="loso", mode="personalised")}
    assert "s0" not in set(clips["subject_id"].iloc[folds["s0"].train])
    assert folds["s0"].dropped["earlier clips of the tested, not learned from"] == 2
    assert ids(clips, folds["s0"], "test") == ["c2", "c3"]


def test_videos_of_one_clip_have_no_earlier_ones() -> None:
    clips = filmed_people(4)
    with pytest.raises(DataError, match="no video has two clips"):
        folds_of(clips.assign(video_id=clips["clip_id"]), name="loso", mode="personalised")


def test_fewer_training_groups_are_a_subset_of_more() -> None:
    clips = people(9)
    made = [folds_of(clips, name="loso", train_groups=number) for number in (1, 2, 4)]
    for few, more, most in zip(*made, strict=True):
        seen = [set(clips["subject_id"].iloc[fold.train]) for fold in (few, more, most)]
        assert [len(subjects) for subjects in seen] == [1, 2, 4]
        assert seen[0] < seen[1] < seen[2]
        assert few.dropped["beyond protocol.train_groups"] == 4 * (6 - 1)
        np.testing.assert_array_equal(few.validation, most.validation)
    with pytest.raises(DataError, match=r"protocol.train_groups=7: fold s0 has 6 to learn from"):
        folds_of(clips, name="loso", train_groups=7)


def test_two_children_in_one_video_have_earlier_clips_of_their_own() -> None:
    """One fold tests both children: the second child's clips are not later clips of the first."""
    clips = people(6, clips=6).assign(length=10, fps=5.0, site="b", video_id="one")
    clips["t0_s"] = 5.0 * np.arange(len(clips))
    clips.loc[clips["subject_id"].isin(["s0", "s1"]), "site"] = "a"
    clips.loc[clips["subject_id"].isin(["s2", "s3"]), "site"] = "c"
    fold = next(f for f in folds_of(clips, name="loso", group="site", mode="personalised") if f.name == "a")
    tested, own = (clips.iloc[rows]["subject_id"].value_counts().to_dict() for rows in (fold.test, fold.own))
    assert tested == own == {"s0": 3, "s1": 3}


@pytest.mark.parametrize("column", ["video_id", "t0_s", "fps"])
def test_clips_without_times_have_no_earlier_ones(column: str) -> None:
    clips = filmed_people(4)
    clips.loc[clips["clip_id"] == "c1", column] = None
    with pytest.raises(DataError, match="1 clips of fold s0 do not say when they were filmed"):
        folds_of(clips, name="loso", mode="personalised")


def test_more_own_clips_than_available_are_refused() -> None:
    with pytest.raises(DataError, match="no child has more than 2 earlier clips"):
        folds_of(filmed_people(4), name="loso", mode="personalised", own_clips=3)


def test_few_training_children_may_lack_a_class() -> None:
    clips = people(6)
    sad = (clips["label"] == "sad") & clips["subject_id"].isin(["s1", "s2", "s3", "s4"])
    assert len(folds_of(clips[~sad].reset_index(drop=True), name="loso", train_groups=1)) == 6


def test_at_most_takes_whole_subjects_the_same_for_every_seed() -> None:
    clips = people(30).assign(split=np.repeat(["train", "validation", "test"], 40))
    folds = [folds_of(clips, seed, name="official", at_most=[22, 4, 1])[0] for seed in (0, 1)]
    fold = folds[0]
    assert [len(getattr(fold, split)) for split in SPLITS] == [20, 4, 4]  # four clips each, at least one subject
    for split in SPLITS:
        subjects = clips["subject_id"].iloc[getattr(fold, split)]
        assert subjects.value_counts().eq(4).all()
        assert ids(clips, fold, split) == ids(clips, folds[1], split)
    assert fold.dropped == {"beyond protocol.at_most": 120 - 28}
    more = folds_of(clips, name="official", at_most=[30, 4, 1])[0]
    assert set(ids(clips, fold, "train")) < set(ids(clips, more, "train"))
