"""W&B server without W&B's library: rules for its names, its API key and address, and whether it answers."""

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
"""Seconds that a server may take to answer. W&B's own client retries for much longer."""


def has_key() -> bool:
    """Return whether there is an API key; W&B's own check would prompt or use the network."""
    return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc()


def _in_netrc() -> bool:
    """Return whether ``wandb login`` left a key."""
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
