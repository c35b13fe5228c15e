"""ClassMetrics: values against scikit-learn, and what other loggers than ours are sent."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.loggers import CSVLogger
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fer_id.callbacks import ClassMetrics
from fer_id.errors import ConfigError
from fer_id.labels import TARGET
from tests.callbacks.conftest import validate

K = len(TARGET)


def validate_twice(pairs: list[tuple[int, int]], trainer: Any = None) -> tuple[ClassMetrics, dict[str, float], bool]:
    """Two validations of clips with a true and a predicted class, of which the second counts from nothing."""
    callback, (truth, predicted) = ClassMetrics(), zip(*pairs, strict=True)
    clips = [f"c{i}" for i in range(len(pairs))]
    validate(callback, clips, truth, predicted, trainer)
    return callback, *validate(callback, clips, truth, predicted, trainer)


CLASS = st.integers(0, K - 1)


@given(st.lists(st.tuples(CLASS, CLASS), min_size=1, max_size=40))
def test_scores_of_each_class_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    callback, logged, _ = validate_twice(pairs)
    truth, predicted = np.array(pairs).T
    assert callback.confusion.tolist() == confusion_matrix(truth, predicted, labels=range(K)).tolist()
    with np.errstate(all="ignore"):
        expected = precision_recall_fscore_support(truth, predicted, labels=range(K), zero_division=np.nan)
    for k, name in enumerate(TARGET.names):
        for score, value in zip(("precision", "recall", "f1"), (column[k] for column in expected[:3]), strict=True):
            if score == "f1" and k not in truth:
                value = np.nan  # of a class without a clip; scikit-learn gives 0 where it was predicted
            if np.isnan(value):
                assert f"val/{name}/{score}" not in logged
            else:
                assert logged[f"val/{name}/{score}"] == pytest.approx(value)
        negatives = truth != k
        if negatives.any():
            assert logged[f"val/{name}/specificity"] == pytest.approx((predicted[negatives] != k).mean())


def test_clips_without_a_face_or_label_do_not_count() -> None:
    callback, trainer = ClassMetrics(), SimpleNamespace(loggers=[], sanity_checking=False, testing=False)
    module: Any = SimpleNamespace(labels=TARGET, log_dict=lambda numbers, logger, batch_size: None)
    callback.on_validation_epoch_start(trainer, module)  # type: ignore[arg-type]
    batch = {"clip_id": ["a", "b", "c"], "label": torch.tensor([0, 1, -1])}
    batch["valid"] = torch.tensor([[True], [False], [True]])
    outputs = {"predicted": torch.tensor([0, 1, 2])}
    callback.on_validation_batch_end(trainer, module, outputs, batch, 0)  # type: ignore[arg-type]
    callback.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert callback.confusion.sum() == callback.confusion[0, 0] == 1


@pytest.mark.parametrize(("children", "sent"), [(0, True), (4, False), (5, True), (None, False)])
def test_another_logger_gets_nothing_of_few_children(children: int | None, sent: bool, tmp_path: Any) -> None:
    data = SimpleNamespace(fold=SimpleNamespace(validation=[]), n_children=lambda rows: children)
    trainer = SimpleNamespace(loggers=[CSVLogger(tmp_path)], sanity_checking=False, testing=False, datamodule=data)
    if children is None:
        del data.n_children  # a data module that does not say
    assert validate_twice([(0, 0)], trainer)[2] is sent


def test_a_step_that_returns_no_prediction_is_an_error_that_says_what_to_return() -> None:
    callback, trainer, module = ClassMetrics(), SimpleNamespace(loggers=[]), SimpleNamespace(labels=TARGET)
    callback.on_validation_epoch_start(trainer, module)  # type: ignore[arg-type]
    batch = {"label": torch.tensor([0]), "valid": torch.ones(1, 1, dtype=torch.bool)}
    with pytest.raises(ConfigError, match=r"ClassMetrics: the step .* returned Tensor, expected a dict"):
        callback.on_validation_batch_end(trainer, module, torch.tensor(0.5), batch, 0)  # type: ignore[arg-type]
