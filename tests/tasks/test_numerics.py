"""Timing training steps leaves everything as it was."""

import copy
from collections.abc import Callable

import pytest
import torch

from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.numerics import measure

CPU = torch.device("cpu")


def test_measuring_changes_neither_model_nor_random_state(make_task: Callable[..., ClipClassification]) -> None:
    model = make_task(head="lstm").model.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    found = measure(model, (2, 3), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.stride() == before[name].stride(), name
    assert {(one.precision, one.memory_format) for one in found} == {
        *(("32", "contiguous"), ("32", "channels_last"), ("bf16", "contiguous"), ("bf16", "channels_last"))
    }
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    assert found[0].seconds > 0


def test_only_the_candidates_asked_for_are_timed(make_task: Callable[..., ClipClassification]) -> None:
    (one,) = measure(make_task().model, (2, 1), device=CPU, precisions=["32"], formats=["channels_last"])
    assert (one.precision, one.memory_format) == ("32", "channels_last")


def test_the_random_state_survives_a_model_that_fails() -> None:
    class Broken(torch.nn.Module):
        def forward(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no kernel for this precision")

    state = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="no kernel"):
        measure(Broken(), (2, 1), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
