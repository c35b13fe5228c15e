"""Shared features equal those that each fold would compute alone, and are computed once."""

from collections.abc import Callable

import pytest
import torch

from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.network import ClipClassifier
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import AdaptationConfig, LossConfig, OptimConfig
from fer_id.tasks.features import FeatureBank
from fer_id.tasks.strategies import STRATEGIES
from fer_id.types import ClipBatch

MakeBatch = Callable[..., ClipBatch]


@pytest.fixture
def model() -> ClipClassifier:
    torch.manual_seed(0)
    config = ModelConfig(head="lstm", hidden=8, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1])
    return build_model(config, len(TARGET)).eval()


@pytest.fixture
def encoded(model: ClipClassifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of frames of each call of the encoder."""
    seen: list[int] = []
    forward = model.encoder.forward

    def counting(frames: torch.Tensor) -> torch.Tensor:
        seen.append(len(frames))
        return forward(frames)

    monkeypatch.setattr(model.encoder, "forward", counting)
    return seen


def rows(batch: ClipBatch, chosen: list[int]) -> ClipBatch:
    return {  # type: ignore[return-value]
        key: [value[i] for i in chosen] if isinstance(value, list) else value[chosen]  # type: ignore[index]
        for key, value in batch.items()
    }


def test_it_gives_what_the_model_gives(model: ClipClassifier, make_batch: MakeBatch) -> None:
    batch = make_batch([0, 1, 2, 3])
    batch["valid"][1, 0] = False
    batch["valid"][2] = False
    with torch.no_grad():
        alone = model.pool(model.encode(batch["frames"], batch["valid"], batch["landmarks"]), batch["valid"])
    bank = FeatureBank()
    for _ in range(2):
        torch.testing.assert_close(bank.pooled(model, batch, 0), alone)


def test_folds_that_overlap_encode_a_clip_once_an_epoch(
    model: ClipClassifier, make_batch: MakeBatch, encoded: list[int]
) -> None:
    batch, bank = make_batch([0, 1, 2, 3]), FeatureBank()
    first = bank.pooled(model, rows(batch, [0, 1, 2]), 0)
    second = bank.pooled(model, rows(batch, [3, 2, 1]), 0)
    assert len(encoded) == 4
    torch.testing.assert_close(second[1:], first[[2, 1]], rtol=0, atol=0)
    bank.pooled(model, batch, 1)  # another epoch is another augmentation
    bank.pooled(model, batch, None)
    assert len(encoded) == 12


def test_features_do_not_depend_on_the_first_batch(model: ClipClassifier, make_batch: MakeBatch) -> None:
    batch = make_batch([0, 1, 2, 3])
    whole = FeatureBank().pooled(model, batch, 0)
    late = FeatureBank()
    late.pooled(model, rows(batch, [3]), 0)
    assert torch.equal(late.pooled(model, batch, 0), whole)


def test_a_full_bank_computes_again(model: ClipClassifier, make_batch: MakeBatch, encoded: list[int]) -> None:
    batch, bank = make_batch([0, 1]), FeatureBank(limit=8 * 4)
    features = [bank.pooled(model, batch, 0) for _ in range(3)]
    assert len(encoded) == 2 + 1 + 1
    assert torch.equal(features[0], features[2])


@pytest.mark.parametrize(("strategy", "used"), [("linear_probe", True), ("full", False), ("gradual", False)])
def test_it_serves_where_the_classifier_alone_learns(strategy: str, used: bool, model: ClipClassifier) -> None:
    chosen = STRATEGIES[strategy](AdaptationConfig(strategy), {})
    bank = FeatureBank()
    task = ClipClassification(model, TARGET, OptimConfig(), LossConfig(), strategy=chosen, bank=bank)
    assert task.bank is (bank if used else None)
