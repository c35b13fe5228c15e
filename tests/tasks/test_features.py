"""Cached and shared features give the model's own logits, computed once; the linear reader is logistic regression."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fer_id.labels import TARGET
from fer_id.models.network import ClipClassifier
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import AdaptationConfig, LossConfig, OptimConfig
from fer_id.tasks.features import FeatureBank, Features, linear_reader
from fer_id.tasks.strategies import STRATEGIES
from fer_id.types import ClipBatch

from .conftest import make_batch, small_model


@pytest.fixture
def model() -> ClipClassifier:
    return small_model().eval()


@pytest.fixture
def batch() -> ClipBatch:
    valid = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) > 0.3
    valid[5] = False
    return make_batch([0, 1, -1, 3, 4, 0], length=4, valid=valid, clip_id=list("abcdef"))


def test_cached_features_give_the_models_logits(model: ClipClassifier, batch: ClipBatch) -> None:
    features = Features.of(model, [batch, batch])
    assert features.clip_ids == [*"abdef"] * 2  # without the clip that has no label
    known = batch["label"] >= 0
    with torch.inference_mode():
        order = torch.tensor([3, 2, 1, 0])
        whole = model(batch["frames"][known], batch["valid"][known])
        backwards = model(batch["frames"][known][:, order], batch["valid"][known][:, order])
        third = model(batch["frames"][known][:, 2:3], batch["valid"][known][:, 2:3])
    covered = features.covered[:5]
    torch.testing.assert_close(features.judged(model)[:5][covered], whole[covered])
    torch.testing.assert_close(features.reversed().judged(model)[:5][covered], backwards[covered])
    single = features.frames.judged(model).reshape(10, 4, 5)[:5, 2]
    with_face = batch["valid"][known][:, 2]
    torch.testing.assert_close(single[with_face], third[with_face])


def test_shuffling_keeps_each_clips_frames_with_their_faces(model: ClipClassifier, batch: ClipBatch) -> None:
    features = Features.of(model, [batch])
    shuffled = features.shuffled(0)
    assert not torch.equal(shuffled.values, features.values)
    torch.testing.assert_close(shuffled.mean, features.mean)
    torch.testing.assert_close(shuffled.values.sort(dim=1).values, features.values.sort(dim=1).values)
    assert bool((shuffled.values.abs().sum(-1) > 0).eq(shuffled.valid).all())
    torch.testing.assert_close(features.shuffled(0).values, shuffled.values)
    assert not torch.equal(features.shuffled(1).values, shuffled.values)


def test_the_nearest_face_stands_for_a_frame_without_one() -> None:
    steps = torch.arange(6.0).view(1, 6, 1)
    valid = torch.tensor([[False, True, False, False, False, True], [False] * 6])
    filled = Features(torch.cat([steps, steps]), valid, torch.zeros(2), ["a", "b"]).filled
    assert filled.values[0, :, 0].tolist() == [1, 1, 1, 1, 5, 5]
    assert filled.valid.tolist() == [[True] * 6, [False] * 6]


@given(st.integers(0, 2**16), st.integers(1, 12))
def test_filling_takes_the_nearest_face_and_keeps_what_is_there(seed: int, steps: int) -> None:
    valid = torch.rand(5, steps, generator=torch.Generator().manual_seed(seed)) < 0.4
    values = torch.arange(steps).float().expand(5, steps).unsqueeze(-1)
    filled = Features(values, valid, torch.zeros(5), list("abcde")).filled
    for taken, seen in zip(filled.values[..., 0].int().tolist(), valid, strict=True):
        places = seen.nonzero()[:, 0].tolist()
        for step in range(steps if places else 0):
            assert taken[step] in places
            assert abs(taken[step] - step) == min(abs(place - step) for place in places)


def test_the_linear_reader_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 300)
    x = rng.normal(size=(300, 6)) * [1, 10, 0.1, 3, 1, 1] + np.eye(6)[label] * 1.5
    reader = linear_reader(torch.from_numpy(x), torch.from_numpy(label), 4, penalty=0.05)
    scaled = (x - x.mean(0)) / x.std(0, ddof=1)
    theirs = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-8, max_iter=1000).fit(scaled, label)
    ours = reader(torch.from_numpy(x)).softmax(dim=-1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled), atol=1e-4)


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


def test_it_gives_what_the_model_gives(model: ClipClassifier) -> None:
    batch = make_batch([0, 1, 2, 3])
    batch["valid"][1, 0] = False
    batch["valid"][2] = False
    with torch.no_grad():
        alone = model.pool(model.encode(batch["frames"], batch["valid"], batch["landmarks"]), batch["valid"])
    bank = FeatureBank()
    for _ in range(2):
        torch.testing.assert_close(bank.pooled(model, batch, 0), alone)


def test_folds_that_overlap_encode_a_clip_once_an_epoch(model, encoded) -> None:
    batch, bank = make_batch([0, 1, 2, 3]), FeatureBank()
    first = bank.pooled(model, rows(batch, [0, 1, 2]), 0)
    second = bank.pooled(model, rows(batch, [3, 2, 1]), 0)
    assert len(encoded) == 4
    torch.testing.assert_close(second[1:], first[[2, 1]], rtol=0, atol=0)
    bank.pooled(model, batch, 1)  # another epoch is another augmentation
    bank.pooled(model, batch, None)
    assert len(encoded) == 12


def test_features_do_not_depend_on_the_first_batch(model: ClipClassifier) -> None:
    batch = make_batch([0, 1, 2, 3])
    whole = FeatureBank().pooled(model, batch, 0)
    late = FeatureBank()
    late.pooled(model, rows(batch, [3]), 0)
    assert torch.equal(late.pooled(model, batch, 0), whole)


def test_a_full_bank_computes_again(model: ClipClassifier, encoded: list[int]) -> None:
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
