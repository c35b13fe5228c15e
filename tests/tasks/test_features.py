"""Cached features give the model's own logits, and the linear reader is logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fer_id.models.build import build_model
from fer_id.models.config import ModelConfig
from fer_id.models.network import ClipClassifier
from fer_id.tasks.features import Features, linear_reader
from fer_id.types import ClipBatch


@pytest.fixture
def model() -> ClipClassifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], hidden=8), 5).eval()


@pytest.fixture
def batch() -> ClipBatch:
    torch.manual_seed(1)
    valid = torch.rand(6, 4) > 0.3
    valid[5] = False
    return {
        "frames": torch.rand(6, 4, 3, 64, 64),
        "valid": valid,
        "landmarks": torch.rand(6, 4, 68, 2),
        "label": torch.tensor([0, 1, -1, 3, 4, 0]),
        "clip_id": list("abcdef"),
        "subject_id": list("abcdef"),
    }


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


def test_the_linear_reader_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 300)
    x = rng.normal(size=(300, 6)) * [1, 10, 0.1, 3, 1, 1] + np.eye(6)[label] * 1.5
    reader = linear_reader(torch.from_numpy(x), torch.from_numpy(label), 4, penalty=0.05)
    scaled = (x - x.mean(0)) / x.std(0, ddof=1)
    theirs = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-8, max_iter=1000).fit(scaled, label)
    ours = reader(torch.from_numpy(x)).softmax(dim=-1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled), atol=1e-4)
