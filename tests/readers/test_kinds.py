"""Readers on features of which the answer is known, and their parts against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from fer_id.readers.baselines import minus_child_median
from fer_id.readers.config import READERS, SEEDED
from fer_id.readers.kinds import apex_frames, fit_reader
from fer_id.readers.networks import Lesson, balanced_loss
from fer_id.tasks.features import linear_reader

FITTED = [name for name in READERS if name != "child_set"]


def accuracy(name, clips_of, kind, seed=0):
    train, validation, test = (clips_of(kind, number, at) for at, number in enumerate((400, 100, 300)))
    apex = torch.full((400,), 3)
    logits = fit_reader(name, Lesson(train, validation, apex, 2, updates=60), seed)(test)
    return float((logits.argmax(dim=1) == test.label).double().mean())


@pytest.mark.parametrize(("name", "knows"), [("lstm", True), ("set", False), ("shuffled_lstm", False), ("mean", False)])
def test_readers_of_order_alone_know_the_order(clips_of, name, knows):
    value = accuracy(name, clips_of, "order")
    assert value > 0.95 if knows else value < 0.65


@pytest.mark.parametrize("name", ["own_set", "both_sets", "running_set", "own_lstm"])
def test_an_own_baseline_shows_a_change_that_persons_hide(clips_of, name):
    assert accuracy(name, clips_of, "change") > 0.85
    assert accuracy("mean", clips_of, "change") < 0.75


@pytest.mark.parametrize("name", FITTED)
def test_a_seed_matters_to_networks_alone_and_a_fit_is_repeatable(clips_of, name):
    train, validation = clips_of("change", 60, 0), clips_of("change", 30, 1)
    lesson = Lesson(train, validation, torch.full((60,), 3), 2, updates=4)
    first, again, other = (fit_reader(name, lesson, seed)(validation) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name not in SEEDED)
    assert torch.isfinite(first).all()


def test_the_frame_reader_averages_probabilities_over_valid_frames(clips_of):
    train, test = clips_of("order", 200, 0), clips_of("order", 20, 1)
    test.valid[:, 2:] = False
    lesson = Lesson(train, clips_of("order", 50, 2), torch.where(train.label == 0, 1, 4), 2)
    logits = fit_reader("frame", lesson)(test)
    alone = [fit_reader("frame", lesson)(type(test)(test.values[:, [t]], test.valid[:, [t]], test.label, test.clip_ids))
             for t in (0, 1)]  # fmt: skip
    torch.testing.assert_close(logits.exp(), torch.stack([a.exp() for a in alone]).mean(0))


def test_the_apex_is_the_strongest_valid_frame_and_of_a_neutral_clip_the_middle_one():
    intensity = torch.tensor([[0.0, 0.2, 0.9, 0.4], [0.0, 0.2, 0.9, 0.4], [0.0, 0.0, 0.0, 0.0]])
    valid = torch.tensor([[True] * 4, [True, True, False, True], [False, True, True, True]])
    assert apex_frames(intensity, valid).tolist() == [2, 3, 2]


def test_the_childs_baseline_is_the_median_of_its_other_clips(clips_of):
    clips = clips_of("change", 12, 0)
    subjects = [f"s{row // 3}" for row in range(11)] + ["alone"]
    x, valid = clips.values.numpy(), clips.valid.numpy()
    child = minus_child_median(clips, subjects).values.numpy()
    for row, t in zip(*np.nonzero(valid), strict=True):
        others = [other for other in range(12) if subjects[other] == subjects[row] and other != row]
        pool = np.sort(np.concatenate([x[other][valid[other]] for other in others]), axis=0) if others else x[:1, 0] * 0
        assert child[row, t] == pytest.approx(x[row, t] - pool[(len(pool) - 1) // 2], abs=1e-5)
    assert not child[~valid].any()
    later = clips_of("change", 3, 1)  # of which the first two show children that the protocol knows earlier clips of
    own = minus_child_median(later, ["s0", "alone", "new"], (clips, subjects)).values
    for row, earlier in enumerate(([0, 1, 2], [11])):
        median = np.sort(np.concatenate([x[other][valid[other]] for other in earlier]), axis=0)
        changed = later.values[row].numpy() - median[(len(median) - 1) // 2]
        np.testing.assert_allclose(own[row], changed * later.valid[row].numpy()[:, None], atol=1e-5)
    assert torch.equal(own[2], later.values[2])


def test_a_balanced_linear_reader_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    label = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    x = rng.standard_normal((300, 5)) + label[:, None] * [1, 0, 0, -0.5, 0]
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    weights = compute_sample_weight("balanced", label)
    sklearn = LogisticRegression(C=1 / (0.1 * 300), tol=1e-10, max_iter=1000).fit(x, label, sample_weight=weights)
    logits = linear_reader(torch.from_numpy(x), torch.from_numpy(label), 3, 0.1, balanced=True)(torch.from_numpy(x))
    ours = logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, sklearn.predict_proba(x), atol=1e-4)
    loss = float(balanced_loss(logits, torch.from_numpy(label)))
    assert loss == pytest.approx(log_loss(label, ours, sample_weight=weights))
