"""One training in several processes, each with its share of every batch: what makes them learn as one would."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


def processes() -> int:
    """How many processes train together; 1: this one alone."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def share_of_loss(loss: Tensor | None, judged: int, module: nn.Module) -> Tensor | None:
    """The loss of one process, weighted so that the mean of the processes' gradients is that of the whole batch.

    Each process knows the mean over its own clips, and one may have fewer that count, or none; its gradients must come
    all the same, because the others wait for them.

    Args:
        loss: mean over this process's clips that count; None where none does.
        judged: how many do.
        module: whose parameters learn.

    Returns:
        ``loss`` itself where this process is alone.
    """
    if (count := processes()) == 1:
        return loss
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    total = torch.tensor(float(judged), device=learning[0].device)
    distributed.all_reduce(total)
    if loss is None:
        return torch.stack([parameter.sum() for parameter in learning]).sum() * 0.0
    return loss * (judged * count / total)
