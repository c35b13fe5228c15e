"""Mixup: what a blended clip is, and which clips are left alone."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.mixing import mixup
from fer_id.types import ClipBatch

MakeBatch = Callable[..., ClipBatch]
CLASSES = 5


def weights(before: ClipBatch, after: ClipBatch) -> torch.Tensor:
    """How each blended clip is made of the clips before it (B, B), found from the pixels alone."""
    old, new = before["frames"].flatten(1).double(), after["frames"].flatten(1).double()
    return torch.linalg.lstsq(old.T, new.T).solution.T


def test_frames_and_targets_are_blended_alike(make_batch: MakeBatch) -> None:
    batch = make_batch([0, 1, 2, 3, 4, 0])
    torch.manual_seed(3)
    mixed = mixup(batch, 1.0, CLASSES)
    made_of = weights(batch, mixed)
    assert made_of.sum(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    assert (made_of.diagonal() >= 0.5 - 1e-4).all()  # the label stays that of the heavier clip
    expected = made_of.float() @ F.one_hot(batch["label"], CLASSES).float()
    torch.testing.assert_close(mixed["soft_label"], expected, atol=1e-4, rtol=0)
    assert torch.equal(mixed["label"], batch["label"])


def test_soft_labels_are_blended_as_they_are(make_batch: MakeBatch) -> None:
    soft = torch.softmax(torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0)), dim=1)
    batch = make_batch([0, 1, 2, 3], soft_label=soft)
    mixed = mixup(batch, 1.0, CLASSES)
    torch.testing.assert_close(mixed["soft_label"], weights(batch, mixed).float() @ soft, atol=1e-4, rtol=0)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # it is a function
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.1, 0.4, 2.0]))
def test_what_cannot_be_blended_is_left_alone(make_batch: MakeBatch, seed: int, alpha: float) -> None:
    """No clip loses its last face or its label; an unlabelled clip lends nothing to others."""
    draws = torch.Generator().manual_seed(seed)
    valid = torch.rand(8, 3, generator=draws) > 0.5
    labels = torch.randint(-1, CLASSES, (8,), generator=draws)
    batch = make_batch(labels.tolist(), length=3, valid=valid)
    torch.manual_seed(seed)
    mixed = mixup(batch, alpha, CLASSES)
    assert torch.equal(mixed["valid"].any(dim=1), valid.any(dim=1))
    assert not (mixed["valid"] & ~valid).any()
    unlabelled = labels < 0
    assert torch.equal(mixed["frames"][unlabelled], batch["frames"][unlabelled])
    lent = weights(batch, mixed)[~unlabelled][:, unlabelled]
    assert torch.allclose(lent, torch.zeros_like(lent), atol=1e-3)
    torch.testing.assert_close(mixed["soft_label"].sum(dim=1), torch.ones(8))


def test_a_training_step_blends_and_validation_does_not(
    make_task: Callable[..., ClipClassification], make_batch: MakeBatch
) -> None:
    batch = make_batch([0, 1, 2, 3, 4, 0, 1, 2])
    losses = {}
    for alpha in (0.0, 1.0):
        task = make_task(mixup=alpha)
        task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
        task._side = lambda: 64  # type: ignore[method-assign]
        judged = task.eval()._step(batch, "validation")
        torch.manual_seed(1)
        learned = task.train().training_step({**batch}, 0)
        assert judged is not None
        assert learned is not None
        losses[alpha] = (judged.item(), learned.item())
    assert losses[0.0][0] == losses[1.0][0]
    assert losses[0.0][1] != pytest.approx(losses[1.0][1], rel=1e-3)
