"""Temporal heads: features of a clip's frames (B, T, D) and which of them are valid (B, T) -> one vector (B, H).

A frame that is not valid changes nothing: its features are set to zero before anything is computed, and never weighed.
A clip without one valid frame gets finite values that mean nothing; ``valid.any(1)`` tells the caller which clips those
are. Any T from 1 works.

The recurrent heads move the valid frames to the front (in their own order), run over the whole row, and take the state
at the last valid step. A state depends on the steps before it only, so this equals packing, without the lengths on the
host that packing needs (a wait for the GPU), and under autocast it works in every precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fer_id.models.config import TRANSFORMER_HEADS


class Head(nn.Module):
    """Base of the heads.

    Attributes:
        dim: H, the size of what a clip becomes.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Features (B, T, D), valid bool (B, T) -> (B, H)."""
        return self.reduce(features.masked_fill(~valid.unsqueeze(-1), 0.0), valid)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        """As ``forward``, where the features of invalid frames are already zero."""
        raise NotImplementedError


class Mean(Head):
    """Mean over the valid frames; zero without one."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(features)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        return features.sum(dim=1) / valid.sum(dim=1, keepdim=True).clamp(min=1)


class Last(Head):
    """The last valid frame; zero without one."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(features)

    def reduce(self, features: Tensor, valid: Tensor) -> Tensor:
        steps = torch.arange(valid.shape[1], device=valid.device)
        return _at(features, (steps * valid).amax(dim=1))


class Attention(Head):
    """Attention pooling: a softmax over the valid frames of w tanh(V x) (Ilse et al., 2018, equation 8)."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__(features)
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def weights(self, features: Tensor, valid: Tensor) -> Tensor:
        """Weight of every frame (B, T): zero where not valid, else they sum to one."""
        scores: Tensor = self.score(features).squeeze(-1).float()
        lowest = torch.finfo(scores.dtype).min  # not -inf: a row of them would be NaN
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


class BiLSTM(Head):
    """One LSTM forwards and one backwards over the valid frames; both last states, H = 2 ``hidden``."""

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
    """A small pre-norm transformer (two layers, four heads) over the valid frames and a class token, which it returns.

    Frames keep their own time (sinusoidal positions, Vaswani et al., 2017), so a gap of invalid frames stays a gap.
    """

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


def _valid_first(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Order (B, T) that puts the valid frames first and keeps their own order; position (B,) of the last of them."""
    places = valid.shape[1] * valid.int() - torch.arange(valid.shape[1], device=valid.device)
    order = places.argsort(dim=1, descending=True)  # no two are equal; ONNX knows no stable sort
    return order, (valid.sum(dim=1) - 1).clamp(min=0)


def _take(features: Tensor, order: Tensor) -> Tensor:
    """Features (B, T, D) in the order (B, T)."""
    return features.gather(1, order.unsqueeze(-1).expand_as(features))


def _at(features: Tensor, step: Tensor) -> Tensor:
    """Features (B, T, D) at one step (B,) of each clip -> (B, D)."""
    return features[torch.arange(len(features), device=features.device), step]


def _positions(steps: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (steps, dim), in the type and on the device of ``like``."""
    rate = torch.exp(torch.arange(0, dim, 2, device=like.device) * (-math.log(10_000.0) / dim))
    angle = torch.arange(steps, device=like.device).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)
