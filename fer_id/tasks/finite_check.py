"""Check for NaN and infinite losses or weights, which ends a training and keeps its last good checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fer_id.errors import FerIdError

NAMED = 64
"""Maximum number of names in a message."""

HINT = (
    "The checkpoint of the last whole epoch stays. If the clips are sound, train under another name= (a run goes on "
    "with the settings it was begun with): lower optim.lr, or say trainer.gradient_clip=1 or trainer.precision=32."
)


class NotFiniteError(FerIdError):
    """A loss or weight became NaN or infinite; the message names the epoch, the step and the clips."""


def require_finite(
    loss: Tensor, sound: Callable[[], Tensor], clips: Sequence[str], split: str, when: Callable[[], str]
) -> None:
    """Raise NotFiniteError where a loss, a scalar, is NaN or infinite.

    ``sound`` returns whether the own loss of each of the B clips is finite, ``when`` epoch, step and learning rate.
    """
    if bool(torch.isfinite(loss)):
        return
    spoilt = [name for name, is_sound in zip(clips, sound().tolist(), strict=True) if not is_sound]
    cause = f" Not finite is that of {_named(spoilt)}." if 0 < len(spoilt) < len(clips) else ""
    raise NotFiniteError(
        f"{split} loss is {loss.item()} in {when()}; clips of the batch: {_named(clips)}.{cause} {HINT}"
    )


def require_finite_weights(model: nn.Module, when: Callable[[], str]) -> None:
    """Raise NotFiniteError where weights or running statistics, about to be saved, are NaN or infinite."""
    numbers = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    wrong = [name for name, tensor in numbers.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise NotFiniteError(f"weights are not finite after {when()}, so they are not saved: {_named(wrong)}. {HINT}")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
