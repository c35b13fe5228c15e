"""Supported precisions of a device, and the timing of candidates, which leaves model and random state unchanged."""

import copy
import itertools
import os
import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch import Tensor

from fer_id.tasks import numerics
from fer_id.tasks.numerics import FORMATS, FRAMES, PRECISIONS, STEPS, autocast, measure, supports, usable

from .conftest import make_task

CPU = torch.device("cpu")
ASK = "import torch; from fer_id.tasks.numerics import supports; print(supports('bf16', torch.device('cpu')))"


class Timed(torch.nn.Module):
    """A model with its own clock, which advances by the cost of the precision; it counts its steps and clips."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 1, 1, 1))
        self.seconds, self.clock = seconds, [0.0]
        self.steps: Counter[tuple[str, str]] = Counter()
        self.shapes: set[tuple[int, ...]] = set()
        monkeypatch.setattr(numerics, "perf_counter", lambda: self.clock[0])

    def __deepcopy__(self, memo: object) -> "Timed":
        return copy.copy(self)  # with a format of its own, and the same clock

    def to(self, *args: object, **names: object) -> "Timed":  # type: ignore[override]
        if "memory_format" in names:
            self.format = next(name for name, value in FORMATS.items() if value == names["memory_format"])
        return self

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        precision = "bf16" if torch.is_autocast_enabled("cpu") else "32"
        self.steps[precision, self.format] += 1
        self.shapes.add(tuple(valid.shape))
        self.clock[0] += self.seconds.get(f"{precision}_{self.format}", 1.0)
        return frames.mean(dim=(1, 2, 3, 4)).unsqueeze(1) * self.weight.flatten()


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "_has_bf16", lambda device_type: True)


def test_a_limit_of_onednn_takes_bf16_away() -> None:
    """The limit makes the processor look like one without bf16."""
    limited = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", ASK], env=limited, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_supported_precision_runs() -> None:
    assert supports("32", CPU)
    state = torch.random.get_rng_state()
    numerics._has_bf16.cache_clear()
    features = torch.rand(2, 3, 4)
    torch.random.set_rng_state(state)
    supports("bf16", CPU)
    assert torch.equal(torch.random.get_rng_state(), state)  # the check draws no random number
    with autocast("bf16", CPU):
        states = torch.nn.LSTM(4, 5, batch_first=True)(features)[0]
    assert states.dtype == (torch.bfloat16 if supports("bf16", CPU) else torch.float32)
    states.sum().backward()


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16", "avx512_f"])
def test_the_processor_is_asked_as_well_as_onednn(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN takes bfloat16 on any AVX-512, and emulates it where the processor has no instruction for it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, instruction: True})
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(numerics, "_lstm_in_bf16", lambda: True)
    assert numerics._has_bf16.__wrapped__("cpu") == (instruction != "avx512_f")


def test_a_missing_precision_falls_back_to_float32_with_one_message(without_bf16, capsys) -> None:
    for _ in range(3):
        assert usable("bf16", CPU) == "32"
        with autocast("bf16", CPU):
            assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32
    assert capsys.readouterr().err.count("no bf16 arithmetic") == 1
    assert usable("32", CPU) == "32"
    assert not capsys.readouterr().err


def test_measuring_changes_neither_model_nor_random_state() -> None:
    model = make_task(head="lstm").model.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    timed = measure(model, (2, 3), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.stride() == before[name].stride(), name
    supported = [precision for precision in PRECISIONS if supports(precision, CPU)]
    assert {candidate[:2] for candidate in timed} == set(itertools.product(supported, ("contiguous", "channels_last")))
    assert [candidate.seconds for candidate in timed] == sorted(candidate.seconds for candidate in timed)
    assert timed[0].seconds > 0


def test_only_the_given_candidates_are_timed() -> None:
    (candidate,) = measure(make_task().model, (2, 1), device=CPU, precisions=["32"], formats=["channels_last"])
    assert (candidate.precision, candidate.memory_format) == ("32", "channels_last")


def test_a_precision_that_the_device_lacks_is_not_tried(without_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(monkeypatch)
    timed = measure(model, (4, 2), device=CPU)
    assert model.steps == {("32", "channels_last"): 1 + STEPS, ("32", "contiguous"): 1 + STEPS}
    assert {candidate.precision for candidate in timed} == {"32"}


def test_a_hopeless_candidate_takes_one_step(with_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(monkeypatch, **{"32_contiguous": 2.9, "bf16_contiguous": 3.1, "bf16_channels_last": 0.9})
    timed = measure(model, (4, 2), device=CPU)
    each = dict.fromkeys(itertools.product(("32", "bf16"), ("channels_last", "contiguous")), 1 + STEPS)
    assert model.steps == each | {("bf16", "contiguous"): 1}
    assert [round(candidate.seconds, 6) for candidate in timed] == [0.9, 1.0, 2.9, 3.1]
    assert timed[0][:2] == ("bf16", "channels_last")


def test_a_burst_of_other_load_changes_no_ranking(without_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load adds a second to three successive steps: once all the timed ones of the faster candidate."""

    class Loaded(Timed):
        def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
            if 1 <= self.steps.total() < 4:
                self.clock[0] += 1.0
            return super().forward(frames, valid)

    model = Loaded(monkeypatch, **{"32_contiguous": 1.5})
    timed = measure(model, (4, 2), device=CPU)
    assert [(each.memory_format, each.seconds) for each in timed] == [("channels_last", 1.0), ("contiguous", 1.5)]


def test_a_slow_first_candidate_stops_no_other(with_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(monkeypatch, **{"32_channels_last": 100.0})
    assert measure(model, (4, 2), device=CPU)[-1][:2] == ("32", "channels_last")
    assert set(model.steps.values()) == {1 + STEPS}


@pytest.mark.parametrize(
    ("batch", "timed"),
    [((16, 10), (3, 10)), ((16, 1), (16, 1)), ((256, 1), (FRAMES, 1)), ((1, 10), (1, 10)), ((8, 40), (2, 40))],
)
def test_a_cpu_is_timed_on_a_few_whole_clips(batch, timed, monkeypatch) -> None:
    model = Timed(monkeypatch)
    measure(model, batch, device=CPU)
    assert model.shapes == {timed}


def test_a_candidate_without_an_operator_is_left_out_with_a_line(with_bf16, monkeypatch, capsys) -> None:
    class Partial(Timed):
        def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("could not create a primitive descriptor\nand so on")
            return super().forward(frames, valid)

    assert {candidate.precision for candidate in measure(Partial(monkeypatch), (2, 1), device=CPU)} == {"32"}
    message = capsys.readouterr().err
    assert "bf16 channels_last is not tried: could not create a primitive descriptor\n" in message
    assert "and so on" not in message


def test_the_random_state_survives_a_model_that_fails() -> None:
    class Broken(torch.nn.Module):
        def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
            raise RuntimeError("no kernel for this precision")

    state = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="no kernel"):
        measure(Broken(), (2, 1), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
