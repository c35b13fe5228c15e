"""A W&B server as far as it can be known without W&B's library: its names, a key for it, and whether it answers."""

from __future__ import annotations

import http.client
import netrc
import os
import re
import socket
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

PROJECT = re.compile(r"[^/\\#?%:\s\x00-\x1f\x7f](?:[^/\\#?%:\x00-\x1f\x7f]{0,126}[^/\\#?%:\s\x00-\x1f\x7f])?")
ENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?")
RUN_ID = re.compile(r"[A-Za-z0-9_.=+&$@-]{1,128}")
PROJECT_RULE = "1 to 128 characters without / \\ # ? % : and without line ends"
ENTITY_RULE = "letters, digits, - _ and . only; a team's project is logging.entity=TEAM logging.project=PROJECT"

SECONDS = 5
"""How long a server may take to answer at all. W&B's own clients go on trying for much longer."""


def has_key() -> bool:
    """Return whether an API key is known; asked here because W&B's own check prompts or goes to the network."""
    return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc()


def _in_netrc() -> bool:
    """Return whether ``wandb login`` left a key."""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(address().hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def address() -> SplitResult:
    """Return the server's address.

    Raises:
        ValueError: ``WANDB_BASE_URL`` is none.
    """
    found = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError(f"WANDB_BASE_URL={found.geturl()[:60]!r} is no address such as https://wandb.example.org")
    return found


def no_answer(seconds: float = SECONDS) -> str | None:
    """Return why the server cannot be asked, within so many seconds; None where it answers, or a proxy has to know."""
    try:
        server = address()
        if server.scheme in getproxies():
            return None
        port = server.port or (80 if server.scheme == "http" else 443)
        if server.scheme == "https":  # whether its certificate is good is for W&B's client to say
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
    except ValueError as problem:  # an address that is none
        return str(problem)
    return None
