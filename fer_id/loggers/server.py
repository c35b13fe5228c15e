"""W&B server: rules for its names, its API key and address, whether it answers, and a clear error where it does not."""

from __future__ import annotations

import http.client
import netrc
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from fer_id.errors import FerIdError

PROJECT = re.compile(r"[^/\\#?%:\s\x00-\x1f\x7f](?:[^/\\#?%:\x00-\x1f\x7f]{0,126}[^/\\#?%:\s\x00-\x1f\x7f])?")
ENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?")
RUN_ID = re.compile(r"[A-Za-z0-9_.=+&$@-]{1,128}")
PROJECT_RULE = "1 to 128 characters without / \\ # ? % : and without line ends"
ENTITY_RULE = "letters, digits, - _ and . only; a team's project is logging.entity=TEAM logging.project=PROJECT"

SECONDS = 5
"""Seconds that a server may take to answer. W&B's own client retries for much longer."""


def has_key() -> bool:
    """Return whether there is an API key, in the environment or where ``wandb login`` left it; W&B's own check would
    prompt or use the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(address().hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def address() -> SplitResult:
    """Return the server's address; raise ValueError where ``WANDB_BASE_URL`` is no http or https address."""
    found = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError(f"WANDB_BASE_URL={found.geturl()[:60]!r} is no address such as https://wandb.example.org")
    return found


def no_answer(seconds: float = SECONDS) -> str | None:
    """Return why the server does not answer within ``seconds``; None where it answers, or a proxy stands before it."""
    try:
        server = address()
        if server.scheme in getproxies():
            return None
        port = server.port or (80 if server.scheme == "http" else 443)
        if server.scheme == "https":  # W&B's client checks the certificate
            socket.create_connection((server.hostname or "", port), timeout=seconds).close()
            return None
        connection = http.client.HTTPConnection(server.hostname or "", port, timeout=seconds)
        try:
            connection.request("HEAD", "/")
            connection.getresponse()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as problem:
        return f"the W&B server {server.hostname} does not answer ({str(problem) or type(problem).__name__})"
    except ValueError as problem:  # of address()
        return str(problem)
    return None


def without_reports() -> None:
    """Disable W&B's reports of its own errors, whose traces name folders; call before ``wandb`` is imported."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"


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
