"""Whether a W&B server can be asked: a key, the mode, and somebody who answers; each told apart in one clear error."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse
from urllib.request import getproxies

from fer_id.callbacks.mirror import has_key, without_reports
from fer_id.errors import FerIdError

SECONDS = 10
"""How long a server may take to answer at all. W&B's own clients go on trying for much longer."""


class OnlineError(FerIdError):
    """What was asked for needs a W&B server, and there is none to ask."""


def require_server() -> None:
    """Raises what stands between this machine and a W&B server.

    Raises:
        OnlineError: W&B is set to offline, no API key is known, or the server does not answer.
    """
    without_reports()
    if (mode := os.environ.get("WANDB_MODE")) in ("offline", "disabled", "dryrun"):
        raise OnlineError(f"this needs a W&B server, and WANDB_MODE={mode} forbids to ask one; unset it")
    if not has_key():
        raise OnlineError(
            "this needs a W&B server, and no API key is known: run `wandb login`, or set WANDB_API_KEY "
            "(and WANDB_BASE_URL for a server of your own)"
        )
    address = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if address.scheme in getproxies():
        return  # the proxy finds it, or not
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=SECONDS).close()
    except OSError as problem:
        host = address.hostname
        raise OnlineError(f"the W&B server {host} does not answer ({problem}); is there a network?") from None


@contextmanager
def asking() -> Iterator[None]:
    """Errors of W&B's clients as one of ours."""
    import wandb

    try:
        yield
    except (wandb.Error, ValueError, OSError) as problem:
        raise OnlineError(f"the W&B server refused: {str(problem).strip() or type(problem).__name__}") from problem
