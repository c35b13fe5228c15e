"""The cache of frame features: what it holds, whose it is, and its principal components against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from data_modules import SyntheticDataModule
from fer_id.errors import RunError
from fer_id.models.build import ModelConfig, build_model
from fer_id.readers.frame_features import FrameFeatures, Origin

MODEL = ModelConfig("tiny", "conv4", "mean", widths=[4, 4, 8, 8], convs=[1, 1, 1, 1])


@pytest.fixture
def cached(tiny_store, tmp_path):
    """A data module, a model, and the cached features of all its clips."""
    data = SyntheticDataModule(tiny_store(), protocol="holdout", batch_size=7)
    data.config.num_workers = 0
    model = build_model(MODEL, data.labels).eval()
    origin = Origin.of("weights", data.fingerprint, data.clips["clip_id"].tolist())
    batches = data.plain_batches(np.arange(len(data.clips)))
    return data, model, origin, FrameFeatures.write(tmp_path / "run" / "features", model, batches, (40, 3), origin)


def test_the_features_are_those_of_the_encoder(cached):
    data, model, origin, features = cached
    (batch,) = data.plain_batches(np.array([5]))
    with torch.inference_mode():
        expected = model.encode(batch["frames"], batch["valid"], batch["landmarks"])
    np.testing.assert_allclose(features.values[5], expected[0], atol=2e-3, rtol=2e-3)
    assert np.array_equal(features.valid[5], batch["valid"][0])
    again = FrameFeatures.open(features.folder, origin)
    assert isinstance(again.values, np.memmap)
    assert np.array_equal(again.values, features.values)


@pytest.mark.parametrize(
    ("part", "words"), [("weights", "other weights"), ("store", "another store"), ("clips", "clips")]
)
def test_features_of_something_else_are_refused_with_the_remedy(cached, part, words):
    *_, origin, features = cached
    other = origin.model_copy(update={part: "another"})
    with pytest.raises(RunError, match=f"{words}.*the same command.*rm -r"):
        FrameFeatures.open(features.folder, other)


def test_damaged_features_are_refused(cached):
    *_, origin, features = cached
    (features.folder / "values.npy").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read"):
        FrameFeatures.open(features.folder, origin)


def test_the_components_are_those_of_the_training_frames(cached):
    *_, features = cached
    rows = np.arange(30)
    reduced = features.reduced(rows, 3, block=8)
    frames = features.values[rows][features.valid[rows]].astype(float)
    pca = PCA(3).fit(frames)
    expected = pca.transform(features.values.reshape(120, -1).astype(float)).reshape(40, 3, 3)
    expected /= np.sqrt(pca.explained_variance_.mean() * (len(frames) - 1) / len(frames))
    np.testing.assert_allclose(np.abs(reduced), np.abs(expected * features.valid[..., None]), atol=2e-2)
    assert reduced.dtype == np.float32
