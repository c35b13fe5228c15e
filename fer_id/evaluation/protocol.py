"""Folds of an evaluation protocol: training, inner validation and test sets that share no subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import SHOWN, DataError, LeakageError, Problems, quoted
from fer_id.evaluation.config import SPLITS, Fold, ProtocolConfig, Rows
from fer_id.evaluation.protocol_modes import EARLIER, IN_THE_GAP, NOT_SHOWN, consent_to, give_access
from fer_id.settings import PATH, is_name
from fer_id.types import AFFECT

NOT_LEARNED, NOT_JUDGED = "no consent for training", "no consent for evaluation"
BEYOND = "beyond protocol.at_most"
NOT_TESTED = "test clips, not judged (protocol.test=false)"
OF_THE_TESTED = (NOT_JUDGED, NOT_SHOWN, EARLIER, IN_THE_GAP)
"""Reasons that count clips of the tested subjects, so that their counts add up over folds."""


def make_folds(
    clips: pd.DataFrame,
    config: ProtocolConfig,
    *,
    seed: int,
    images: bool,
    deduplicate: bool,
    affect: bool = False,
) -> list[Fold]:
    """Make all folds of a protocol; they depend on the seed and on the table alone.

    ``clips`` has one row per clip, as in a store; of several stores with ``store`` and, for images, ``picture``; with
    ``for_training`` and ``for_evaluation`` (bool) where consent limits the use of a subject. With ``images``,
    ``subject_id`` names a group of near-identical images (a benchmark), not a person, and ``deduplicate`` leaves
    repeats out of training. Training is without unlabelled clips, but with ``affect`` for those that have valence or
    arousal. Raise DataError where a split is missing or empty, the group column does not exist, or
    there are too few groups, and LeakageError where a subject stands in two splits of one fold.
    """
    folds = [_official(clips)] if config.name == "official" else _grouped(clips, config, seed)
    unlabelled = without_truth(clips, affect=affect)
    made, unjudged = [], list[str]()
    for fold in folds:
        of_no_split = fold.dropped
        if config.at_most:
            fold = _at_most(clips, fold, config.at_most)
        fold, dropped = _with_consent(clips, fold)
        fold, more = give_access(clips, fold, config)
        dropped |= more
        if dropped and not len(fold.test):
            unjudged.append(fold.name)  # no tested subject consented to evaluation, or none has a later clip
            continue
        dropped |= of_no_split | {"unlabelled": int(unlabelled[fold.train].sum())}
        train = fold.train[~unlabelled[fold.train]]
        validation, test = judged_once(clips, fold.validation), judged_once(clips, fold.test)
        judged = len(validation) + len(test)
        dropped["pictures judged in another store"] = len(fold.validation) + len(fold.test) - judged
        if images and deduplicate:
            validation = validation[~_groups_of(clips, validation, test)]
            dropped["validation images also in test"] = judged - len(validation) - len(test)
            train, more = without_repeats(clips, train, np.concatenate([validation, test]))
            dropped |= more
        if not config.test:  # after what is left out of training because of it: the clips that a later run is judged on
            dropped[NOT_TESTED], test = len(test), test[:0]
        dropped = {reason: count for reason, count in dropped.items() if count}
        made.append(replace(fold, train=train, validation=validation, test=test, dropped=dropped))
    if not made:
        raise DataError(
            "no fold can be judged: nobody in the store consented to evaluation"
            + (", or no clip is late enough in its video" if config.mode == "personalised" else "")
        )
    if unjudged:
        skipped = {f"folds with nobody who may be judged ({', '.join(unjudged)})": len(unjudged)}
        made = [replace(fold, dropped=fold.dropped | skipped) for fold in made]
    own = [clips["subject_id"].iloc[fold.own].value_counts().max() for fold in made if len(fold.own)]
    if config.own_clips and config.own_clips > (most := max(own, default=0)):
        raise DataError(f"protocol.own_clips={config.own_clips}: no child has more than {most} earlier clips")
    check_folds(clips, made, few=config.train_groups is not None, allow_repeats=images and not deduplicate)
    return made


def without_truth(clips: pd.DataFrame, *, affect: bool) -> NDArray[np.bool_]:
    """Return a mask (N,) of the unlabelled clips; with ``affect`` of those without valence and arousal too."""
    none: NDArray[np.bool_] = clips["label"].isna().to_numpy()
    return none & clips[[*AFFECT]].isna().all(axis=1).to_numpy() if affect else none


def _at_most(clips: pd.DataFrame, fold: Fold, most: list[int]) -> Fold:
    """Limit the clips of each split to ``most``: whole subjects, the first of an order that all folds share."""
    names, subject = np.unique(clips["subject_id"].to_numpy(str), return_inverse=True)
    place = np.random.default_rng(0).permutation(len(names))[subject]  # (N,) place of each clip's subject in that order
    parts, beyond = dict[str, Rows](), 0
    for split, limit in zip(SPLITS, most, strict=True):
        rows: Rows = getattr(fold, split)
        places, sizes = np.unique(place[rows], return_counts=True)
        within = np.isin(place[rows], np.union1d(places[np.cumsum(sizes) <= limit], places[:1]))
        parts[split], beyond = rows[within], beyond + int((~within).sum())
    dropped = fold.dropped | ({BEYOND: beyond} if beyond else {})
    return replace(fold, train=parts["train"], validation=parts["validation"], test=parts["test"], dropped=dropped)


def _with_consent(clips: pd.DataFrame, fold: Fold) -> tuple[Fold, dict[str, int]]:
    """Return the fold without clips that lack consent to their use in it, and the number of these clips by reason."""
    needed = {"train": "for_training", "validation": "for_training", "test": "for_evaluation"}
    parts, dropped = dict[str, Rows](), Counter[str](fold.dropped)
    for split, column in needed.items():
        rows: Rows = getattr(fold, split)
        consents = consent_to(column, clips)[rows]
        parts[split] = rows[consents]
        dropped[NOT_LEARNED if column == "for_training" else NOT_JUDGED] += int((~consents).sum())
    counts = {reason: count for reason, count in dropped.items() if count}
    return replace(fold, train=parts["train"], validation=parts["validation"], test=parts["test"]), counts


def without_repeats(clips: pd.DataFrame, train: Rows, judged: Rows) -> tuple[Rows, dict[str, int]]:
    """Remove training images that are near-identical to one of validation and test, or to each other.

    Of each group of near-identical images the first stays; a group under different labels is left out whole. Return the
    remaining training rows, in order, and the number of rows dropped, by reason.
    """
    groups, labels = clips["subject_id"].to_numpy(), clips["label"].to_numpy()
    elsewhere = _groups_of(clips, train, judged)
    rest = pd.DataFrame({"group": groups[train[~elsewhere]], "label": labels[train[~elsewhere]]})
    conflict = (rest.groupby("group")["label"].transform("nunique") > 1).to_numpy()
    repeat = rest["group"].duplicated().to_numpy() & ~conflict
    counts = {
        "also in validation or test": int(elsewhere.sum()),
        "repeats with conflicting labels": int(conflict.sum()),
        "repeats within training": int(repeat.sum()),
    }
    return train[~elsewhere][~conflict & ~repeat], counts


def judged_once(clips: pd.DataFrame, rows: Rows) -> Rows:
    """Remove copies of a picture that several stores bring into a judged split.

    A labelled copy stays, of several that of the store named first. Copies within one store stay as published.
    """
    if "picture" not in clips:
        return rows
    table = clips.iloc[rows].reset_index(drop=True).sort_values("label", key=pd.isna, kind="stable")
    first = table.groupby("picture")["store"].transform("first")
    keep = (table["store"] == first) | table["picture"].isna()
    return rows[keep.sort_index().to_numpy()]


def _groups_of(clips: pd.DataFrame, rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Return a mask (N,) of the ``rows`` whose subject is among those of ``others``."""
    subjects = clips["subject_id"]
    return subjects.iloc[rows].isin(set(subjects.iloc[others])).to_numpy()


def _official(clips: pd.DataFrame) -> Fold:
    split = clips["split"].to_numpy()
    rows = {name: np.flatnonzero(split == name) for name in SPLITS}
    if empty := [name for name in SPLITS if not len(rows[name])]:
        raise DataError(
            f"the store has no {' and no '.join(empty)} split; "
            "use protocol=holdout, kfold or loso, which make their own"
        )
    others = len(clips) - sum(map(len, rows.values()))
    dropped = {f"split is none of {', '.join(SPLITS)}": others} if others else {}
    return Fold("official", rows["train"], rows["validation"], rows["test"], dropped)


def _grouped(clips: pd.DataFrame, config: ProtocolConfig, seed: int) -> Iterator[Fold]:
    if config.group not in clips:
        raise DataError(f"protocol.group={config.group}: no such column; the clips have {', '.join(clips.columns)}")
    if empty := int(clips[config.group].isna().sum()):
        raise DataError(f"protocol.group={config.group}: {empty} of {len(clips)} clips have no value there")
    of_row = clips[config.group].to_numpy(str)
    groups: NDArray[np.str_] = np.unique(of_row)
    if (size := len(groups)) < 3:
        raise DataError(f"protocol={config.name} needs at least 3 groups of {config.group}, the store has {size}")
    trainable: NDArray[np.str_] = np.unique(of_row[consent_to("for_training", clips)])
    order = np.random.default_rng(seed).permutation(groups)
    names, tests = _test_groups(groups, order, config)
    for number, (name, test) in enumerate(zip(names, tests, strict=True)):
        if config.only and name not in config.only:
            continue
        rest = np.random.default_rng([seed, number]).permutation(np.setdiff1d(trainable, test))
        if len(rest) < 2:
            raise DataError(
                f"fold {name}: {len(rest)} groups of {config.group} to learn from, expected at least 2, one of them "
                "for inner validation; the others are tested, or did not consent to training"
            )
        validation, train = split_off(rest, config.validation_fraction)
        limit = len(train) if config.train_groups is None else config.train_groups
        if limit > len(train):
            raise DataError(f"protocol.train_groups={limit}: fold {name} has {len(train)} to learn from")
        # Always the first groups: a larger train_groups adds to the groups of a smaller one.
        parts = [np.flatnonzero(np.isin(of_row, part)) for part in (train[:limit], validation, test, train[limit:])]
        of_train, of_validation, of_test, beyond = parts
        dropped = {NOT_LEARNED: len(of_row) - sum(map(len, parts)), "beyond protocol.train_groups": len(beyond)}
        yield Fold(name, of_train, of_validation, of_test, {reason: n for reason, n in dropped.items() if n})


def split_off(names: NDArray[np.str_], fraction: float, rest: int = 1) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Divide names into this share of them, at least one name, and the others, at least ``rest`` names."""
    number = min(max(1, round(fraction * len(names))), len(names) - rest)
    return names[:number], names[number:]


def _test_groups(
    groups: NDArray[np.str_], order: NDArray[np.str_], config: ProtocolConfig
) -> tuple[list[str], list[NDArray[np.str_]]]:
    if config.name == "loso":
        names, tests = groups.tolist(), [np.array([group]) for group in groups]
        if unfit := [name for name in names if "/" in name or not is_name(name, PATH)]:
            examples = ", ".join(map(quoted, unfit[:SHOWN]))
            raise DataError(f"protocol.group={config.group}: {examples} cannot name a fold's folder")
    elif config.name == "kfold":
        if config.folds > len(groups):
            raise DataError(f"protocol.folds={config.folds}, but there are only {len(groups)} groups of {config.group}")
        tests = np.array_split(order, config.folds)
        names = [f"{number:02d}" for number in range(config.folds)]
    else:
        names, tests = ["holdout"], [split_off(order, config.test_fraction, rest=2)[0]]
    if unknown := sorted(set(config.only) - set(names)):
        raise DataError(f"protocol.only: no fold named {', '.join(unknown)}; the folds are {', '.join(names)}")
    return names, tests


def check_folds(clips: pd.DataFrame, folds: list[Fold], *, few: bool, allow_repeats: bool) -> None:
    """Check that folds leak no subject and can be trained.

    Earlier clips of a tested child (``own``) may be in training. With ``few`` training groups, as in an adaptation
    curve, a class may be absent from training. Raise LeakageError where a subject is in two splits of a fold, unless
    ``allow_repeats``; DataError for a class without a training clip, or a fold without a labelled validation clip.
    """
    problems, lacking = Problems("the splits share subjects"), Problems("a fold cannot be trained")
    subjects, labels = clips["subject_id"].astype(str).to_numpy(), clips["label"].to_numpy()
    classes = set(clips["label"].dropna())
    for fold in folds:
        others = np.setdiff1d(fold.train, fold.own)
        rows = {"train": others, "validation": fold.validation, "test": fold.test}
        parts = {split: set(subjects[part]) for split, part in rows.items()}
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if (shared := sorted(parts[first] & parts[second])) and not allow_repeats:
                problems.add(f"fold {fold.name}: {len(shared)} in {first} and {second}: {', '.join(shared[:5])}")
        if not few and (missing := sorted(classes - set(labels[fold.train]))):
            lacking.add(f"fold {fold.name}: no training clip of {', '.join(missing)}")
        if not classes & set(labels[fold.validation]):
            lacking.add(f"fold {fold.name}: no labelled validation clip to choose the best epoch by")
    problems.raise_if_any(LeakageError, "A protocol.group must not divide a subject; subject_id never does.")
    lacking.raise_if_any(DataError, "Use other folds or fractions, another protocol.group, or a store with more clips.")
