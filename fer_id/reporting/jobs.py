"""``job.json`` as the pages read it: every key is there, None or empty where the run did not record it."""

from __future__ import annotations

from typing import Any

_COST: dict[str, Any] = {"parameters": None, "multiply_adds_per_clip": None}
_STORE: dict[str, Any] = dict.fromkeys(("name", "provenance", "label_space", "shard_by", "fingerprint"))
_PLAIN = ("command", "git_commit", "seed", "seconds", "machine", "precision", "memory_format", "model", "dataset")
_TABLES = ("versions", "subjects", "clips", "dropped")


def described(job: dict[str, Any]) -> dict[str, Any]:
    """A job with its absent keys filled in."""
    filled = dict.fromkeys(_PLAIN) | job
    filled |= {key: job.get(key) or {} for key in _TABLES}
    filled["cost"] = _COST | (job.get("cost") or {})
    filled["store"] = {**_STORE, "audit": {}} | (job.get("store") or {})
    return filled
