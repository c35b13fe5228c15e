"""Monte-Carlo dropout: repeated predictions of one model with dropout switched on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fer_id.errors import CheckpointError
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """Return the dropout layers with a probability above 0."""
    return [layer for layer in model.modules() if isinstance(layer, DROPOUT) and layer.p > 0]


@contextmanager
def dropping(model: nn.Module) -> Iterator[None]:
    """Put the model, its batch norm too, into evaluation mode but for its dropout; CheckpointError if it has none."""
    if not (layers := dropout_layers(model)):
        raise CheckpointError(
            "no layer of the model drops anything (model.dropout=0), so its answers would all be the same: train one "
            "with model.dropout=0.3, or give several runs that differ in their seed"
        )
    model.eval()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # in evaluation mode the fast path skips a transformer's dropout
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(fast)


def sampled_answers(
    model: ClipClassifier, batches: Iterable[ClipBatch], members: int, *, seed: int
) -> tuple[list[str], Any]:
    """Return the names of N clips, without those that show no face, and their probabilities, float64 (members, N, K).

    Each of the ``members`` is a draw of dropout; the draws depend on ``seed`` and on the batch size. Raise
    CheckpointError where the model has no dropout.
    """
    device = next(model.parameters()).device
    once = not dropout_layers(model.encoder)  # without dropout in the encoder every clip is encoded once
    names: list[str] = []
    parts = []
    with dropping(model), torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for batch in batches:
            covered = batch["valid"].any(dim=1)
            if not bool(covered.any()):
                continue
            frames, valid, points = (batch[key][covered].to(device) for key in ("frames", "valid", "landmarks"))
            features = model.encode(frames, valid, points)
            answers = []
            for draw in range(members):
                if draw and not once:
                    features = model.encode(frames, valid, points)
                answers.append(model.classify(model.pool(features, valid)).double().softmax(dim=-1).cpu())
            parts.append(torch.stack(answers))
            names += [name for name, seen in zip(batch["clip_id"], covered.tolist(), strict=True) if seen]
    return names, torch.cat(parts, dim=1).numpy() if parts else torch.zeros(members, 0, 0).numpy()
