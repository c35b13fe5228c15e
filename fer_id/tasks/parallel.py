"""Training in several processes, each with a share of every batch: weights of the loss, values of all processes."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


def processes() -> int:
    """Return the number of processes that train together; 1 for a single process."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def of_all_processes(values: dict[str, Value]) -> dict[str, Value]:
    """Return the values of all processes by key, such as a clip id: each once, even where two processes have it."""
    if (count := processes()) == 1:
        return values
    shares: list[Any] = [None] * count
    distributed.all_gather_object(shares, values)
    return {clip: value for share in shares for clip, value in share.items()}


def share_of_loss(loss: Tensor | None, judged: int, module: nn.Module) -> Tensor | None:
    """Return the loss of one process, weighted so that the mean of the processes' gradients is that of the whole batch.

    ``loss`` is the mean over this process's ``judged`` clips with a face and a label, None where it has none; but it
    must still contribute gradients, because the others wait for them.
    """
    if (count := processes()) == 1:
        return loss
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    total = torch.tensor(float(judged), device=learning[0].device)
    distributed.all_reduce(total)
    if loss is None:
        return torch.stack([parameter.sum() for parameter in learning]).sum() * 0.0
    return loss * (judged * count / total)
