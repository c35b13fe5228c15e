"""The mirror of a run in Weights & Biases: how it is opened and closed, and which settings it is told.

Numbers, figures without people, and no code, environment, host, path or command line. ``logging.wandb=auto`` is online
where an API key is set and offline otherwise. The run's own folder stays the record; what it tells is in
``fer_id.callbacks.telling`` and ``fer_id.callbacks.curves``.
"""

from __future__ import annotations

import netrc
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from fer_id.files import atomic_write_text

if TYPE_CHECKING:
    import wandb

PRIVATE_KEYS = frozenset(
    {
        *("source", "store", "root", "run", "encoder_from", "weights", "entity"),
        *("votes", "row_flags", "images", "face_landmarker"),
        *("only", "corrections", "annotator"),
    }
)
"""Settings whose values are paths, names of places, or of people (a fold is named after its child): never sent."""

NAME_KEYS = frozenset({"name", "group", "tags", "monitor", "encoder"})
"""Settings that hold a slash, or a list of words, and are no path. Any other such value stays here."""

TAG = 64
"""Characters of a tag at most; W&B refuses longer ones."""


def wandb_mode(mode: str) -> str:
    """``auto`` resolved: online where an API key is known (environment or netrc file), else offline."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return os.environ["WANDB_MODE"]
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether an API key is known; asked here because W&B's own check prompts or goes to the network."""
    return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc()


def _in_netrc() -> bool:
    """Whether ``wandb login`` left a key."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def without_reports() -> None:
    """Keeps W&B's library from sending reports of its own errors, whose traces name folders; before it is imported."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"


def open_mirror(
    folder: Path,
    *,
    mode: str,
    project: str,
    entity: str | None,
    group: str,
    job_type: str,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
) -> wandb.Run | None:
    """Starts a W&B run that lies inside the RunDir; None where ``mode`` is disabled, or another process tells it.

    A folder keeps its W&B run: opened again, as by a training that resumes, it is the same one, told anew from its
    beginning.

    Args:
        folder: the RunDir.
        mode: ``auto``, ``online``, ``offline`` or ``disabled``.
        group: the study; its folds share it.
        job_type: ``train``, ``fold``, ``study`` or ``trial``.
        config: the resolved configuration; :func:`public` says what of it is sent.
    """
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    mode = wandb_mode(mode)
    if mode == "disabled" or getattr(rank_zero_only, "rank", None):
        return None
    # Its cache and staging folders would else be in the home directory, with copies of the tables.
    os.environ |= dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), str(folder / "wandb"))
    without_reports()
    import wandb

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    (folder / "wandb").chmod(0o700)  # it may hold pictures of children who agreed
    close_mirror()
    settings = wandb.Settings(
        console="off",
        quiet=True,
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
        host="hidden",
        program="fer-id",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    wandb.setup(settings)
    run = wandb.init(
        id=_identity(folder / "wandb"),
        name=name,
        dir=folder,
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        tags=list(dict.fromkeys(tag[:TAG] for tag in tags)),
        config=public(config),
        mode=mode,  # type: ignore[arg-type]  # one of W&B's own words
        settings=settings,
    )
    run.define_metric("epoch")
    for numbers in ("train/*", "val/*", "lr", "seconds", "folds"):
        run.define_metric(numbers, step_metric="epoch")
    return run


def _identity(folder: Path) -> str:
    """The id of the W&B run of a RunDir: an agent's, where one started this process; else made once and kept.

    What an earlier, interrupted opening left to be synced is removed, since all of it is told again.
    """
    from wandb.sdk.lib.runid import generate_id

    kept = folder / "id"
    identity = os.environ.get("WANDB_RUN_ID") or (kept.read_text("utf-8").strip() if kept.is_file() else "")
    if not identity:
        identity = generate_id()
    atomic_write_text(kept, identity)
    for before in folder.glob(f"offline-run-*-{identity}"):
        shutil.rmtree(before)
    return identity


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the settings that hold paths or names of people."""
    return {
        key: public(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in PRIVATE_KEYS and (key in NAME_KEYS or not holds_place(value))
    }


def holds_place(value: object) -> bool:
    """Whether a value may be a path, or a list of names of anything."""
    if isinstance(value, list | tuple):
        return any(isinstance(item, str | Path) or holds_place(item) for item in value)
    return isinstance(value, str | Path) and bool(set(str(value)) & set("/\\~"))


def close_mirror() -> None:
    """Ends the active W&B run, if there is one, and removes W&B's own logs, which name folders of this machine."""
    import wandb

    if wandb.run is None:
        return
    logs = Path(wandb.run.settings.log_dir)
    wandb.finish()
    shutil.rmtree(logs, ignore_errors=True)
    for link in logs.parent.parent.glob("debug*.log"):
        link.unlink(missing_ok=True)
