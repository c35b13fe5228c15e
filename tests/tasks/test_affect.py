"""The second head: what it learns from, what it predicts, and that a model without it is as before."""

import pytest
import torch

from fer_id.tasks.strategies import stages

from .conftest import fit, make_batch, make_task, small_model

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
LABELS = [0, 1, 2, 3, 4, 0, 1, 2]


def test_it_learns_from_clips_with_and_without_a_label() -> None:
    brightness = torch.tensor(LABELS) / 4
    affect = torch.stack([brightness - 0.5, torch.full_like(brightness, float("nan"))], dim=1)
    task = make_task(affect=True, lr=1e-2)
    batch = make_batch(LABELS, affect=affect, label=torch.full((len(LABELS),), -1))
    trainer = fit(task, [batch], [make_batch(LABELS, affect=affect)], epochs=40)
    assert float(trainer.callback_metrics["val/valence_ccc"]) > 0.7
    assert not {"val/arousal_ccc", "val/ccc"} & set(trainer.callback_metrics)
    assert set(trainer.callback_metrics) >= {"train/affect_loss", "val/loss"}
    predicted = task.eval().predict_step(batch, 0)
    assert predicted["affect"].shape == (len(LABELS), 2)
    assert predicted["affect"].abs().max() <= 1


def test_a_batch_without_it_trains_as_without_the_head() -> None:
    batch = make_batch(LABELS, affect=torch.full((len(LABELS), 2), float("nan")))
    plain, rated = make_task(lr=1e-2), make_task(affect=True, lr=1e-2)
    before = rated.model.affect[1].weight.clone()
    for task in (plain, rated):
        fit(task, [batch], epochs=2)
    weights = rated.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in plain.model.state_dict().items())
    assert torch.equal(rated.model.affect[1].weight, before)


def test_both_heads_are_the_last_stages() -> None:
    model = small_model(affect=True)
    assert stages(model)[-2:] == [model.affect, model.classifier]
    assert small_model().rate(torch.zeros(1, 8)) is None
