"""Cross-fitting: predictions for a fold's training and validation children by models that were not trained on them.

Inner validation of a small cohort is two or three children, too few for a threshold or for prediction sets. So the
children of training and inner validation are divided into parts, and each part is predicted by a further training that
uses none of it, neither as training data nor to choose its epoch. The clips of a part then represent new children,
slightly pessimistically, since these trainings have fewer children than the fold's own. The tested children take no
part. With ``protocol.group=site`` whole sites are divided instead, since a new site is what the fold tests.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import DataError, LeakageError
from fer_id.evaluation.config import Fold, ProtocolConfig
from fer_id.evaluation.predictions import counted_units
from fer_id.evaluation.protocol import check_folds, split_off


def cross_fit(clips: pd.DataFrame, fold: Fold, config: ProtocolConfig, *, seed: int) -> list[Fold]:
    """Divide training and validation of a fold into ``config.cross_fit`` parts (2 or more), and return a fold per part.

    The part's children are ``test``, the others training and validation; no part divides a group of ``config.unit``.
    Raise DataError where there are too few children or groups, or a part leaves a class without a training clip,
    LeakageError where a child is in two splits, or is tested by the fold itself.
    """
    subjects, groups = clips["subject_id"].to_numpy(str), clips[config.unit].to_numpy(str)
    rows = np.concatenate([fold.train, fold.validation])
    names: NDArray[np.str_] = np.unique(groups[rows])
    if tested := sorted(set(subjects[rows]) & set(subjects[fold.test])):
        raise LeakageError(f"fold {fold.name}: {', '.join(tested[:5])} would calibrate it, and be tested by it")
    if len(names) < max(config.cross_fit, 3):
        raise DataError(
            f"protocol.cross_fit={config.cross_fit}: fold {fold.name} has {counted_units(len(names), config.unit)} in "
            f"training and inner validation, expected {max(config.cross_fit, 3)} at least"
        )
    order = np.random.default_rng([seed, len(names)]).permutation(names)
    divisions = []
    for number, part in enumerate(np.array_split(order, config.cross_fit)):
        validation, train = split_off(order[~np.isin(order, part)], config.validation_fraction)
        of_train, of_validation, of_part = (
            np.sort(rows[np.isin(groups[rows], side)]) for side in (train, validation, part)
        )
        learned = clips["label"].notna().to_numpy()[of_train] | np.isin(of_train, fold.train)
        divisions.append(Fold(fold.name, of_train[learned], of_validation, of_part, {}, part=number))
    check_folds(clips, divisions, few=config.train_groups is not None, allow_repeats=False)
    return divisions
