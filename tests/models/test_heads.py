"""Properties of every temporal head: invalid frames change nothing, the order of valid frames counts, any T works."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from fer_id.models.build import HEAD_CLASSES
from fer_id.models.config import HEADS
from fer_id.models.heads import LEAST_VARIANCE, Head, _minus_running_median, minus_median
from fer_id.tasks.numerics import autocast, supports

FEATURES, HIDDEN = 6, 8
every_head = pytest.mark.parametrize("name", HEADS)


def make(name: str) -> Head:
    torch.manual_seed(0)
    return HEAD_CLASSES[name](FEATURES, HIDDEN, 0.1).eval()


def make_for(name: str, features: int) -> Head:
    return HEAD_CLASSES[name](features, HIDDEN, 0.0).eval()


def clips(seed: int, batch: int = 4, steps: int = 5) -> tuple[Tensor, Tensor]:
    """Features and masks of which the first clip has no valid frame and the second has all."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, steps, FEATURES, generator=generator)
    valid = torch.rand(batch, steps, generator=generator) < 0.6
    valid[0], valid[1] = False, True
    return features, valid


def test_every_name_has_a_class_and_none_has_none() -> None:
    assert tuple(HEAD_CLASSES) == HEADS


@every_head
@given(
    seed=st.integers(0, 2**16), steps=st.integers(1, 7), junk=st.sampled_from([0.0, 1e30, float("nan"), float("inf")])
)
def test_invalid_frames_change_nothing(name: str, seed: int, steps: int, junk: float) -> None:
    head = make(name)
    features, valid = clips(seed, steps=steps)
    with torch.no_grad():
        before = head(features, valid)
        after = head(features.masked_fill(~valid.unsqueeze(-1), junk), valid)
    assert before.shape == (len(features), head.dim)
    assert before.isfinite().all()  # the clip without a valid frame included
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "transformer"])
def test_invalid_frames_might_as_well_not_be_there(name: str) -> None:
    """Dropping invalid frames gives the same, except for the transformer, whose frames keep their positions in time."""
    head = make(name)
    features, valid = clips(1)
    with torch.no_grad():
        whole = head(features, valid)
        for index in range(1, len(features)):
            valid_features = features[index][valid[index]].unsqueeze(0)
            alone = head(valid_features, torch.ones(valid_features.shape[:2], dtype=torch.bool))
            torch.testing.assert_close(whole[index], alone[0])


def test_the_transformer_sees_when_a_frame_was() -> None:
    head = make("transformer")
    features, valid = torch.zeros(2, 4, FEATURES), torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1]]).bool()
    features[:, 0], features[0, 1], features[1, 3] = 1.0, 2.0, 2.0
    with torch.no_grad():
        early, late = head(features, valid)
    assert not torch.allclose(early, late)


@every_head
def test_gradients_reach_the_valid_frames_only(name: str) -> None:
    head = make(name).train()
    features, valid = clips(2)
    features.requires_grad_()
    head(features, valid)[1:].square().sum().backward()
    assert features.grad.isfinite().all()
    assert (features.grad[~valid] == 0).all()
    used = valid if name != "last" else valid & (valid.flip(1).cumsum(1).flip(1) == 1)
    assert (features.grad[used].abs().sum(dim=-1)[used[0].sum() :] > 0).all()


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_on_the_cpu(name: str, dtype: torch.dtype) -> None:
    head = make(name).train()
    features, valid = clips(3)
    if dtype == torch.bfloat16 and not supports("bf16", torch.device("cpu")):
        pytest.skip("this CPU has no bf16 arithmetic")
    with autocast("bf16", torch.device("cpu")):
        pooled = head(features.to(dtype).requires_grad_(), valid)
    pooled.float().sum().backward()
    exact = make(name)(features, valid)
    if name != "transformer":  # its dropout is on
        torch.testing.assert_close(pooled.float()[1:], exact[1:], atol=0.03, rtol=0.05)


def test_mean_and_last_by_hand() -> None:
    features = torch.arange(8.0).view(1, 4, 2)
    valid = torch.tensor([[True, False, True, False]])
    mean, last = (HEAD_CLASSES[name](2, 1, 0.0) for name in ("mean", "last"))
    assert mean(features, valid).tolist() == [[2.0, 3.0]]
    assert last(features, valid).tolist() == [[4.0, 5.0]]
    assert mean(features, ~valid | valid).tolist() == [[3.0, 4.0]]
    assert last(features, valid & ~valid).tolist() == [[0.0, 0.0]]


def test_the_set_by_hand() -> None:
    features = torch.tensor([[[1.0], [9.0], [3.0], [5.0]], [[7.0], [0.0], [0.0], [0.0]]])
    valid = torch.tensor([[True, False, True, True], [True, False, False, False]])
    spread, least = math.sqrt(8 / 3), math.sqrt(LEAST_VARIANCE)  # of 1, 3, 5, and of one frame
    expected = torch.tensor([[3.0, 5.0, 1.0, spread], [7.0, 7.0, 7.0, least]])
    torch.testing.assert_close(make_for("set", 1)(features, valid), expected, atol=1e-6, rtol=0)
    own = torch.tensor([[0.0, 2.0, -2.0, spread], [7.0, 7.0, 7.0, least]])  # a single frame has no baseline
    torch.testing.assert_close(make_for("own_set", 1)(features, valid), own, atol=1e-6, rtol=0)
    both = make_for("both_sets", 1)(features, valid)
    torch.testing.assert_close(both, torch.cat([expected, own], dim=1), atol=1e-6, rtol=0)
    even = make_for("own_set", 1)(features, ~torch.zeros_like(valid))
    assert even[:, 1].tolist() == [9.0 - 3.0, 7.0]  # the lower median of 1 3 5 9, and of 0 0 0 7


@pytest.mark.parametrize("name", ["own_set", "own_lstm"])
@given(seed=st.integers(0, 2**16), steps=st.integers(2, 9))
def test_the_own_baseline_takes_a_constant_of_the_clip_away(name: str, seed: int, steps: int) -> None:
    """A face that rests differently in the same way all clip long reads the same."""
    head = make(name)
    features, valid = clips(seed, steps=steps)
    valid[:, :2] = True
    with torch.no_grad():
        other = features + 3 * torch.randn(len(features), 1, FEATURES)
        torch.testing.assert_close(head(other, valid), head(features, valid), atol=2e-3, rtol=1e-3)


def test_a_running_baseline_is_the_median_of_the_frames_so_far() -> None:
    """On a prefix of a clip the last frame is what the offline baseline of that prefix makes of it."""
    features, valid = clips(8, steps=9)
    for end in range(1, 10):
        prefix, known = features[1:2, :end], valid[1:2, :end]
        offline = minus_median(prefix, known)[:, -1]
        running = _minus_running_median(prefix, known)[0][:, -1]
        torch.testing.assert_close(running, offline)
        expected = prefix[0, -1].double().numpy() - statistics_median(prefix[0]) if end > 1 else prefix[0, -1].numpy()
        np.testing.assert_allclose(running[0].numpy(), expected, atol=1e-6)


def statistics_median(frames: Tensor) -> np.ndarray:
    return np.array([statistics.median_low(column) for column in frames.double().T.tolist()])


def test_running_heads_by_hand() -> None:
    features, valid = torch.tensor([[[1.0], [4.0], [9.0], [2.0]]]), torch.tensor([[True, True, False, True]])
    changes = torch.tensor([[[1.0], [4.0 - 1.0], [2.0 - 2.0]]])  # as it is; minus the lower of 1 4; minus that of 1 4 2
    whole = torch.ones(1, 3, dtype=torch.bool)
    running, lstm = make_for("running_set", 1), make_for("running_lstm", 1)
    torch.testing.assert_close(running(features, valid), make_for("set", 1)(changes[:, 1:], whole[:, 1:]))
    torch.testing.assert_close(running(features[:, :1], valid[:, :1]), torch.tensor([[1.0, 1.0, 1.0, 1e-4]]))
    plain = make_for("lstm", 1)
    plain.load_state_dict(lstm.state_dict())
    torch.testing.assert_close(lstm(features, valid), plain(changes, whole))


def test_heads_say_whether_they_subtract_a_baseline() -> None:
    own = {name for name, head in HEAD_CLASSES.items() if head.own_baseline}
    assert own == {"own_set", "both_sets", "own_lstm", "running_set", "running_lstm"}


@pytest.mark.parametrize("name", ["set", "own_set", "both_sets"])
def test_a_set_has_no_order(name: str) -> None:
    head = make(name)
    features, valid = clips(7, steps=6)
    order = torch.randperm(6)
    torch.testing.assert_close(head(features[:, order], valid[:, order]), head(features, valid))


def packed_states(rnn: nn.RNNBase, features: Tensor, valid: Tensor) -> Tensor:
    """torch's own way: last states of packed sequences, (directions, B, H)."""
    rows = [row[keep] for row, keep in zip(features, valid, strict=True)]
    lengths = torch.tensor([len(row) for row in rows])
    packed = pack_padded_sequence(pad_sequence(rows, batch_first=True), lengths, batch_first=True, enforce_sorted=False)
    state = rnn(packed)[1]
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_heads_equal_packed_sequences(name: str) -> None:
    head = make(name)
    features, valid = (part[1:] for part in clips(4, batch=9))
    valid[:, 0] = True  # packing allows no empty row
    with torch.no_grad():
        torch.testing.assert_close(head(features, valid), packed_states(head.rnn, features, valid)[0])


def test_the_two_directions_equal_a_packed_bidirectional_lstm() -> None:
    head = make("bilstm")
    reference = nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
    weights = dict(head.forwards.state_dict())
    weights |= {f"{key}_reverse": value for key, value in head.backwards.state_dict().items()}
    reference.load_state_dict(weights)
    features, valid = (part[1:] for part in clips(5, batch=9))
    valid[:, -1] = True
    with torch.no_grad():
        ahead, behind = packed_states(reference, features, valid)
        torch.testing.assert_close(head(features, valid), torch.cat([ahead, behind], dim=-1))


def test_attention_weights_are_a_distribution_over_the_valid_frames() -> None:
    head = make("attention")
    features, valid = clips(6)
    weights = head.weights(features, valid)
    assert (weights[~valid] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), valid.any(dim=1).float())
