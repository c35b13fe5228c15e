"""A training that has left the numbers stops at once, and says where: what it learned until then stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fer_id.errors import FerIdError

NAMED = 64
"""Clips that a message names at most."""

HINT = (
    "The checkpoint of the last whole epoch stays. If the clips are sound, train under another name= (a run goes on "
    "with the settings it was begun with): lower optim.lr, or say trainer.gradient_clip=1 or trainer.precision=32."
)


class NotFiniteError(FerIdError):
    """The loss or the weights became NaN or infinite; the message names the epoch, the step and the clips."""


def require_finite(
    loss: Tensor, sound: Callable[[], Tensor], clips: Sequence[str], what: str, when: Callable[[], str]
) -> None:
    """Checks a loss.

    Args:
        loss: a scalar.
        sound: tells of each clip (B,) whether it alone would be finite.
        clips: names of the B clips.
        what: whose loss: ``train``, ``validation``, ``test``.
        when: tells epoch, step and learning rate.

    Raises:
        NotFiniteError: it is NaN or infinite.
    """
    if bool(torch.isfinite(loss)):
        return
    spoilt = [name for name, is_sound in zip(clips, sound().tolist(), strict=True) if not is_sound]
    whose = f" Not finite is that of {_named(spoilt)}." if 0 < len(spoilt) < len(clips) else ""
    raise NotFiniteError(
        f"{what} loss is {loss.item()} in {when()}; clips of the batch: {_named(clips)}.{whose} {HINT}"
    )


def require_finite_weights(model: nn.Module, when: Callable[[], str]) -> None:
    """Checks weights and running statistics before they are saved.

    Raises:
        NotFiniteError: some are NaN or infinite.
    """
    wrong = [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if wrong:
        raise NotFiniteError(f"weights are not finite after {when()}, so they are not saved: {_named(wrong)}. {HINT}")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
