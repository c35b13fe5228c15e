"""Temporal heads: features of a clip's frames (B, T, D) and their validity (B, T) -> one vector (B, H).

Invalid frames change nothing: their features are set to zero before any computation, and get no weight. A clip without
a valid frame gets finite but meaningless values; the caller finds such clips by ``valid.any(1)``. Any T from 1 works.

The recurrent heads move the valid frames to the front (in their own order), run over the whole row, and take the state
at the last valid step. A state depends only on the steps before it, so this equals packing, without the lengths on the
host that packing needs (a wait for the GPU), and it works in every precision of autocast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fer_id.models.config import TRANSFORMER_HEADS

LEAST_VARIANCE = 1e-8
"""Added to a variance before its root, which has no gradient at 0."""

FEWEST = 2
"""Fewest valid frames of a baseline; with fewer the features enter as they are."""

WINDOW = 64
"""Frames of a running baseline: the exact median of all frames needs them all, and a step of a stream holds so many."""


class Head(nn.Module):
    """Base class of temporal heads; ``dim`` is H, the size of a clip's vector, here that of a frame's features."""

    own_baseline = (
        False  # True where a baseline of the clip's own is subtracted, which needs :data:`FEWEST` valid frames
    )

    def __init__(self, dim: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Pool features (B, T, D) with valid bool (B, T) -> (B, H)."""
        return self.reduce(features.masked_fill(~valid.unsqueeze(-1), 0.0), valid)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        """Pool features whose invalid frames are zero already; shapes as in ``forward``."""
        raise NotImplementedError


class Mean(Head):
    """Mean over the valid frames; zero without one."""

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return features.sum(dim=1) / valid.sum(dim=1, keepdim=True).clamp(min=1)


class Last(Head):
    """The last valid frame; zero without one."""

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        steps = torch.arange(valid.shape[1], device=valid.device)
        return _at(features, (steps * valid).amax(dim=1))


class Set(Head):
    """Mean, maximum, minimum and standard deviation over the valid frames side by side, H = 4 D: peak and contrast,
    whatever the order. Zero without a valid frame."""

    def __init__(self, features: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(4 * features)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return _summary(features, valid)


class OwnSet(Head):
    """:class:`Set` of the features minus the clip's own baseline, their median over its valid frames: about the child's
    own neutral face, since a face rests most of the time. It needs the whole clip, so it does not stream; a clip with
    fewer than two valid frames has no baseline, and none is subtracted."""

    own_baseline = True

    def __init__(self, features: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(4 * features)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return _summary(minus_median(features, valid), valid)


class BothSets(Head):
    """:class:`Set` and :class:`OwnSet` side by side, H = 8 D."""

    own_baseline = True

    def __init__(self, features: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(8 * features)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return torch.cat([_summary(features, valid), _summary(minus_median(features, valid), valid)], dim=-1)


class RunningSet(Set):
    """:class:`Set` of the features minus a running baseline, the median of each valid frame and the valid ones before
    it, :data:`WINDOW` at most, so it streams. The first valid frame has no baseline: it is left out of the set unless
    the clip has no other, and then enters as it is."""

    own_baseline = True

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        changes, present = _minus_running_median(features, valid)
        later = torch.arange(valid.shape[1], device=valid.device) > 0
        used = present & (later | (present.sum(dim=1, keepdim=True) < FEWEST))
        return _summary(changes.masked_fill(~used.unsqueeze(-1), 0.0), used)


class Attention(Head):
    """Attention pooling: a softmax over the valid frames of w tanh(V x) (Ilse et al., 2018, equation 8)."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(features)
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def weights(self, features: Tensor, valid: Tensor) -> Tensor:
        """Return the weight of every frame (B, T): zero for invalid frames, summing to one over the others."""
        scores: Tensor = self.score(features).squeeze(-1).float()
        lowest = torch.finfo(scores.dtype).min  # not -inf: a row of -inf would give NaN
        return scores.masked_fill(~valid, lowest).softmax(dim=1).masked_fill(~valid, 0.0)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return torch.einsum("bt,btd->bd", self.weights(features, valid), features.float())


class Recurrent(Head):
    """State of a one-layer LSTM or GRU after the last valid frame."""

    cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(hidden)
        self.rnn = self.cell(features, hidden, batch_first=True)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        order, last = _valid_first(valid)
        return _at(self.rnn(_take(features, order))[0], last)


class LSTM(Recurrent):
    """The paper's head: one LSTM (Hochreiter & Schmidhuber, 1997)."""


class GRU(Recurrent):
    """One GRU (Cho et al., 2014)."""

    cell = nn.GRU


class OwnLSTM(Head):
    """One LSTM over the features minus the clip's own baseline, as :class:`OwnSet` takes it."""

    own_baseline = True

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(hidden)
        self.lstm = LSTM(features, hidden, dropout)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return self.lstm.reduce(minus_median(features, valid), valid)


class RunningLSTM(LSTM):
    """One LSTM over the features minus a running baseline, as :class:`RunningSet` takes it, so it streams; the first
    valid frame, which has none, enters as it is."""

    own_baseline = True

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return super().reduce(*_minus_running_median(features, valid))


class BiLSTM(Head):
    """Two LSTMs over the valid frames, forwards and backwards; both last states, H = 2 ``hidden``."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(2 * hidden)
        self.forwards = nn.LSTM(features, hidden, batch_first=True)
        self.backwards = nn.LSTM(features, hidden, batch_first=True)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        order, last = _valid_first(valid)
        mirrored, _ = _valid_first(valid.flip(1))
        ahead = self.forwards(_take(features, order))[0]
        behind = self.backwards(_take(features.flip(1), mirrored))[0]
        return torch.cat([_at(ahead, last), _at(behind, last)], dim=-1)


class Transformer(Head):
    """A small pre-norm transformer (two layers, four heads) over the valid frames and a class token, its output. Frames
    keep their positions in time (sinusoidal, Vaswani et al., 2017), so a gap of invalid frames stays a gap."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(hidden)
        self.project = nn.Linear(features, hidden)
        self.token = nn.Parameter(torch.zeros(1, 1, hidden))
        layer = nn.TransformerEncoderLayer(
            hidden, TRANSFORMER_HEADS, 2 * hidden, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(hidden), enable_nested_tensor=False)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        x = self.project(features)
        x = x + _positions(x.shape[1], self.dim, x)
        x = torch.cat([self.token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        absent = torch.cat([valid.new_zeros(len(x), 1), ~valid], dim=1)
        return self.layers(x, src_key_padding_mask=absent)[:, 0]  # type: ignore[no-any-return]


def _summary(features: Tensor, valid: Tensor) -> Tensor:
    """Return mean, maximum, minimum and standard deviation over the valid frames, (B, T, D) -> (B, 4 D), in float32."""
    x, absent, counts = features.float(), ~valid.unsqueeze(-1), valid.sum(dim=1, keepdim=True).clamp(min=1)
    extreme, none = torch.finfo(x.dtype).max, ~valid.any(dim=1, keepdim=True)
    mean = x.sum(dim=1) / counts
    squares = (x - mean.unsqueeze(1)).masked_fill(absent, 0.0).square().sum(dim=1)
    highest = x.masked_fill(absent, -extreme).amax(dim=1).masked_fill(none, 0.0)
    lowest = x.masked_fill(absent, extreme).amin(dim=1).masked_fill(none, 0.0)
    return torch.cat([mean, highest, lowest, spread(squares, counts)], dim=-1)


def spread(squares: Tensor, counts: Tensor) -> Tensor:
    """Return the standard deviation (B, D) of summed squares of deviations (B, D) of ``counts`` (B, 1) frames. The
    least variance is added before the division: the export to ONNX drops a constant so small."""
    return ((squares + LEAST_VARIANCE * counts) / counts).sqrt()


def minus_median(features: Tensor, valid: Tensor) -> Tensor:
    """Return features (B, T, D) minus their median over the valid frames, the lower one of an even number; invalid
    frames stay zero, and clips with fewer than two valid frames as they are."""
    x, absent = features.float(), ~valid.unsqueeze(-1)
    return (x - baseline(x, valid).unsqueeze(1)).masked_fill(absent, 0.0)


def _minus_running_median(features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return features (B, T, D) in float32 with the valid frames first, each but the first minus the median of the
    frames up to it, :data:`WINDOW` at most and the lower one of an even number; and which steps (B, T) are valid."""
    order, _ = _valid_first(valid)
    x, present = _take(features, order).float(), valid.gather(1, order)
    changes = [x[:, 0]]
    for step in range(1, x.shape[1]):
        ascending = x[:, max(0, step + 1 - WINDOW) : step + 1].sort(dim=1).values
        changes.append(x[:, step] - ascending[:, (ascending.shape[1] - 1) // 2])
    return torch.stack(changes, dim=1).masked_fill(~present.unsqueeze(-1), 0.0), present


def baseline(features: Tensor, valid: Tensor) -> Tensor:
    """Return the median (B, D) of float32 features (B, T, D) over the valid frames, the lower one of an even number; 0
    for fewer than :data:`FEWEST`."""
    counts = valid.sum(dim=1)
    ascending = features.masked_fill(~valid.unsqueeze(-1), torch.finfo(features.dtype).max).sort(dim=1).values
    median = _at(ascending, (counts - 1).clamp(min=0) // 2)
    return median.masked_fill((counts < FEWEST).unsqueeze(-1), 0.0)


def _valid_first(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order (B, T) with the valid frames first, as they came, and the position (B,) of the last."""
    places = valid.shape[1] * valid.int() - torch.arange(valid.shape[1], device=valid.device)
    order = places.argsort(dim=1, descending=True)  # without ties, since ONNX has no stable sort
    return order, (valid.sum(dim=1) - 1).clamp(min=0)


def _take(features: Tensor, order: Tensor) -> Tensor:
    """Return features (B, T, D) in the order (B, T)."""
    return features.gather(1, order.unsqueeze(-1).expand_as(features))


def _at(features: Tensor, step: Tensor) -> Tensor:
    """Return the features (B, D) at one step (B,) of each clip."""
    return features[torch.arange(len(features), device=features.device), step]


def _positions(steps: int, dim: int, like: Tensor) -> Tensor:
    """Return sinusoidal positions (steps, dim), in the type and on the device of ``like``."""
    rate = torch.exp(torch.arange(0, dim, 2, device=like.device) * (-math.log(10_000.0) / dim))
    angle = torch.arange(steps, device=like.device).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)
