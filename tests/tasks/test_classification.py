"""ClipClassification: which clips it learns from and scores, learning-rate schedules, and progressive resizing."""

import copy
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy import ndimage
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from fer_id.tasks.classification import ClipClassification, make_optimiser
from fer_id.tasks.config import OptimConfig
from fer_id.tasks.finite_check import NotFiniteError
from fer_id.tasks.views import views
from fer_id.types import FLIP_68, ClipBatch

from .conftest import fit, make_batch, make_task

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]
LABELS = [0, 1, 2, 3, 4, 0, 1, 2]


class Watch(pl.Callback):
    """Callback that records learning rate, side of the frames and loss of every training step."""

    def __init__(self) -> None:
        self.lr: list[float] = []
        self.sides: list[int] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self.lr.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.sides.append(batch["frames"].shape[-1])


def watched_fit(
    task: ClipClassification, *batches: ClipBatch, epochs: int = 1, validation: Any = None
) -> tuple[pl.Trainer, Watch]:
    watch, loaders = Watch(), [list(batches)] if validation is None else [list(batches), [validation]]
    return fit(task, *loaders, epochs=epochs, callbacks=[watch]), watch


def step(task: ClipClassification, batch: ClipBatch, split: str = "train") -> Tensor | None:
    """One step without a Trainer."""
    task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    return task._judge(task(batch), batch, split)


def loss_of(task: ClipClassification, batch: ClipBatch) -> Tensor:
    loss = step(task, batch)
    assert loss is not None
    return loss


@pytest.mark.parametrize("head", ["mean", "lstm"])
def test_steps_lower_the_loss_of_a_tiny_batch(head: str) -> None:
    task, batch = make_task(head=head, lr=1e-2), make_batch(LABELS)
    before = loss_of(task, batch).item()
    watched_fit(task, batch, epochs=30)
    assert loss_of(task, batch).item() < before / 2


def without_a_face(batch: ClipBatch, *rows: int) -> ClipBatch:
    valid = batch["valid"].clone()
    valid[list(rows)] = False
    return {**batch, "valid": valid}


@pytest.mark.parametrize("head", ["mean", "lstm", "attention", "transformer"])
def test_clips_without_a_face_or_a_label_are_not_learned_from(head) -> None:
    task = make_task(head=head)
    whole = make_batch([*LABELS, 3, -1])
    few = make_batch(LABELS, frames=whole["frames"][:8], landmarks=whole["landmarks"][:8])
    # An unlabelled clip has a face, so it passes through the batch norm: in training it never comes this far.
    hidden = without_a_face(whole, 8, 9)
    other = copy.deepcopy(task)
    loss_of(task, hidden).backward()
    loss_of(other, few).backward()
    for (name, parameter), two in zip(task.model.named_parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, two.grad, msg=lambda text, name=name: f"{name}: {text}")
    for buffer, two in zip(task.model.buffers(), other.model.buffers(), strict=True):
        torch.testing.assert_close(buffer, two)  # nor do they move the batch norm


def test_a_batch_without_anything_to_learn_changes_no_weight() -> None:
    task = make_task(lr=0.1)
    before = copy.deepcopy(task.model.state_dict())
    watched_fit(task, without_a_face(make_batch([0, 1]), 0, 1), make_batch([-1, -1]))
    for name, parameter in task.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_logged_scores_are_sklearns_over_judged_clips() -> None:
    task = make_task(lr=1e-6)
    batch = without_a_face(make_batch([0, 1, 2, 3, 4, 4, -1, 2, 0, 1]), 7, 8)
    trainer, _ = watched_fit(task, make_batch(LABELS), validation=batch)
    task.eval()
    with torch.no_grad():
        logits = task(batch)[[0, 1, 2, 3, 4, 5, 9]]
    truth, predicted = np.array([0, 1, 2, 3, 4, 4, 1]), logits.argmax(1).numpy()
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["val/accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert logged["val/macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert logged["val/loss"] == pytest.approx(float(F.cross_entropy(logits, torch.from_numpy(truth))), rel=1e-4)


def test_predictions_say_who_was_covered() -> None:
    batch = without_a_face(make_batch([0, 1, -1]), 1)
    task = make_task().eval()
    with torch.no_grad():
        predicted = task.predict_step(batch, 0)
    assert predicted["clip_id"] == batch["clip_id"]
    assert predicted["covered"].tolist() == [True, False, True]
    torch.testing.assert_close(predicted["logits"], task(batch).detach())


def test_flip_is_the_mean_over_a_clip_and_its_mirror_image() -> None:
    task, plain, batch = make_task(task={"test_views": "flip"}).eval(), make_task().eval(), make_batch([0, 1])
    landmarks = batch["landmarks"][:, :, list(FLIP_68)]
    mirrored: ClipBatch = {
        **batch,
        "frames": torch.from_numpy(np.ascontiguousarray(batch["frames"].numpy()[..., ::-1])),
        "landmarks": torch.stack([63 - landmarks[..., 0], landmarks[..., 1]], dim=-1),
    }
    with torch.no_grad():
        once, twice = plain(batch), plain(mirrored)
        assert not torch.allclose(once, twice)
        torch.testing.assert_close(task.predict_step(batch, 0)["logits"], (once + twice) / 2)
        torch.testing.assert_close(task.predict_step(mirrored, 0)["logits"], (once + twice) / 2)


def test_the_mirror_image_mirrors_landmarks_for_models_that_look() -> None:
    class Points(nn.Module):
        def forward(self, frames: Tensor, valid: Tensor, landmarks: Tensor) -> Tensor:
            return landmarks[:, 0, [36, 45, 8]].flatten(1)

    task, batch = make_task(task={"test_views": "flip"}), make_batch([0])
    task.model = Points()  # type: ignore[assignment]
    outer_left, outer_right, chin = batch["landmarks"][0, 0, [36, 45, 8]]
    flipped = torch.stack([outer_right, outer_left, chin]) * torch.tensor([-1, 1]) + torch.tensor([63, 0])
    expected = (torch.stack([outer_left, outer_right, chin]) + flipped) / 2
    torch.testing.assert_close(task.predict_step(batch, 0)["logits"], expected.flatten()[None])


def test_ten_views_are_a_clip_in_place_and_aside_and_their_mirror_images() -> None:
    batch = make_batch([0, 1])
    seen = list(views(batch, "ten"))
    assert len(seen) == 10
    assert seen[0] is batch
    for view, (right, down) in zip(seen[::2], [(0, 0), (-3, 0), (3, 0), (0, -3), (0, 3)], strict=True):
        moved = ndimage.shift(batch["frames"].numpy(), (0, 0, 0, down, right), order=0, mode="nearest")
        np.testing.assert_array_equal(view["frames"].numpy(), moved)
        torch.testing.assert_close(view["landmarks"], batch["landmarks"] + torch.tensor([right, down]))
    for view, mirrored in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(mirrored["frames"], list(views(view, "flip"))[1]["frames"])


def test_soft_labels_are_the_target_where_there_are_some() -> None:
    soft = torch.rand(8, 5).softmax(dim=1)
    task, batch = make_task().eval(), make_batch(LABELS)
    votes: ClipBatch = {**batch, "soft_label": soft}
    expected = -(soft * task(batch).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss_of(task, votes), expected)
    certain: ClipBatch = {**batch, "soft_label": F.one_hot(batch["label"], 5).float()}
    torch.testing.assert_close(loss_of(task, certain), loss_of(task, batch))


def test_votes_are_mixed_into_the_targets_of_training_alone() -> None:
    task, batch = make_task(votes=0.3).eval(), make_batch(LABELS)
    soft, hard = torch.rand(8, 5).softmax(dim=1), F.one_hot(batch["label"], 5).float()
    votes: ClipBatch = {**batch, "soft_label": soft}
    expected = -((0.7 * hard + 0.3 * soft) * task(batch).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(step(task, votes), expected)
    torch.testing.assert_close(step(task, votes, "validation"), step(task, batch, "validation"))


def test_a_second_classifier_learns_the_votes_alone() -> None:
    task, batch = make_task(votes=0, votes_head=0.3).eval(), make_batch(LABELS)
    votes: ClipBatch = {**batch, "soft_label": torch.rand(8, 5).softmax(dim=1)}
    task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    pooled = task.model.pool(task.model.encode(batch["frames"], batch["valid"]), batch["valid"])
    of_votes = -(votes["soft_label"] * task.voter(pooled).log_softmax(dim=1)).sum(dim=1).mean()
    task._trainer = pl.Trainer(max_epochs=1, logger=False, barebones=True)
    loss = task.training_step(votes, 0)
    torch.testing.assert_close(loss, step(task, batch) + 0.3 * of_votes)
    learned = {id(p) for group in task.configure_optimizers().param_groups for p in group["params"]}
    assert {id(p) for p in task.voter.parameters()} <= learned
    assert not any("voter" in name for name, _ in task.model.named_parameters())


def test_smoothing_is_of_training_only() -> None:
    task, plain, batch = make_task(label_smoothing=0.3).eval(), make_task().eval(), make_batch(LABELS)
    log_p = plain(batch).log_softmax(dim=1)
    expected = 0.7 * loss_of(plain, batch) - 0.3 * log_p.mean()
    torch.testing.assert_close(step(task, batch), expected)
    torch.testing.assert_close(step(task, batch, "validation"), step(plain, batch, "validation"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_split_and_clips(value) -> None:
    batch = make_batch([0, 1])
    batch["frames"][1] = value
    message = r"train loss is nan in epoch 0, step 0, at .*; clips of the batch: clip0, clip1"
    with pytest.raises(NotFiniteError, match=message):
        watched_fit(make_task(), batch)


OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@pytest.mark.parametrize(("name", "kind"), OPTIMISERS.items())
def test_weight_decay_spares_norms_and_biases(name: str, kind: type) -> None:
    model = make_task(head="lstm").model
    optimiser = make_optimiser(OptimConfig(name, lr=0.1, weight_decay=0.05), [(model, 1.0)])
    assert type(optimiser) is kind
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decay.keys() == {id(p) for p in model.parameters()}
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    for key, parameter in model.named_parameters():
        spared = id(parameter) in norms or "bias" in key
        assert decay[id(parameter)] == (0.0 if spared else 0.05), key


def test_frozen_weights_are_left_out() -> None:
    task = make_task(name="adamw", lr=0.1, weight_decay=0.5)
    task.model.encoder.requires_grad_(False)
    before = copy.deepcopy(dict(task.model.encoder.named_parameters()))
    watched_fit(task, make_batch(LABELS))
    assert all(torch.equal(p, before[name]) for name, p in task.model.encoder.named_parameters())


def test_sgd_takes_steps_of_nesterov_momentum() -> None:
    """By hand, on the loss w^2 / 2: v <- m v + w, w <- w - lr (w + m v)."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimiser = make_optimiser(OptimConfig("sgd", lr=0.1, momentum=0.8), [(layer, 1.0)])
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        optimiser.zero_grad()
        (layer.weight.square().sum() / 2).backward()
        optimiser.step()
        velocity = 0.8 * velocity + weight
        weight -= 0.1 * (weight + 0.8 * velocity)
        assert layer.weight.item() == pytest.approx(weight)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_schedule_rises_to_its_peak_and_ends_low(name: str) -> None:
    task = make_task(name=name, lr=0.01, schedule="one_cycle", warmup=0.3)
    trainer, watch = watched_fit(task, *[make_batch([0, 1], seed=i) for i in range(4)], epochs=5)
    assert len(watch.lr) == 20
    assert watch.lr[0] == pytest.approx(0.01 / 25)
    assert max(watch.lr) == pytest.approx(0.01, rel=0.05)
    assert watch.lr.index(max(watch.lr)) in (5, 6)
    assert watch.lr[-1] < 0.01 / 1000
    assert watch.lr[6:] == sorted(watch.lr[6:], reverse=True)
    assert name != "sgd" or trainer.optimizers[0].param_groups[0]["momentum"] == 0.9  # not cycled


@pytest.mark.parametrize(("warmup", "epochs"), [(0.2, 5), (0.5, 2), (0.0, 4), (0.2, 1), (0.99, 3)])
def test_a_schedule_fits_any_number_of_steps(warmup, epochs) -> None:
    _, watch = watched_fit(make_task(lr=0.01, schedule="one_cycle", warmup=warmup), make_batch([0, 1]), epochs=epochs)
    assert len(watch.lr) == epochs
    assert watch.lr[-1] < 0.01 / 1000


def test_the_papers_learning_rate_is_constant() -> None:
    _, watch = watched_fit(make_task(), make_batch([0, 1]), epochs=3)
    assert watch.lr == [1e-4] * 3


def test_frames_grow_over_the_training_and_are_whole_when_judged() -> None:
    task = make_task(task={"resolution": [(0.0, 32), (0.4, 48), (0.8, 64)]})
    judged: list[int] = []
    task.model.encoder.register_forward_pre_hook(
        lambda module, args: None if module.training else judged.append(args[0].shape[-1])
    )
    batches = [make_batch([0, 1], seed=seed) for seed in range(2)]
    trainer, watch = watched_fit(task, *batches, epochs=1, validation=batches[0])
    assert watch.sides == [32, 32]
    assert judged == [64]
    trainer.fit_loop.max_epochs = 10
    sides = []
    for epoch in range(10):
        trainer.fit_loop.epoch_progress.current.completed = epoch
        sides.append(task._side())
    assert sides == [32] * 4 + [48] * 4 + [64] * 2


def test_shrinking_keeps_the_picture() -> None:
    from fer_id.tasks.classification import _shrink

    ramp = torch.linspace(0, 1, 64).expand(2, 3, 3, 64, 64)
    small = _shrink(ramp, 16)
    assert small.shape == (2, 3, 3, 16, 16)
    torch.testing.assert_close(small[0, 0, 0, 0, 1:-1], ramp[0, 0, 0, 0].view(16, 4).mean(1)[1:-1], atol=1e-3, rtol=0)
