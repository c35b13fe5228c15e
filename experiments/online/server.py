"""Check for a reachable W&B server (API key, mode, network), with a clear error for each obstacle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fer_id.errors import FerIdError
from fer_id.loggers.server import has_key, no_answer
from fer_id.loggers.wandb_session import without_reports


class OnlineError(FerIdError):
    """The action needs a W&B server, which is not available or refuses."""


def require_server() -> None:
    """Raise OnlineError where W&B is set to offline, no API key is known, or the server does not answer."""
    without_reports()
    if (mode := os.environ.get("WANDB_MODE")) in ("offline", "disabled", "dryrun"):
        raise OnlineError(f"this needs a W&B server, and WANDB_MODE={mode} forbids to ask one; unset it")
    if not has_key():
        raise OnlineError(
            "this needs a W&B server, and no API key is known: run `wandb login`, or set WANDB_API_KEY "
            "(and WANDB_BASE_URL for a server of your own)"
        )
    if (why := no_answer()) is not None:
        raise OnlineError(f"{why}; is there a network?")


@contextmanager
def asking() -> Iterator[None]:
    """Raise errors of W&B's clients in the block as OnlineError."""
    import wandb

    try:
        yield
    except (wandb.Error, ValueError, OSError) as problem:
        raise OnlineError(f"the W&B server refused: {str(problem).strip() or type(problem).__name__}") from problem
