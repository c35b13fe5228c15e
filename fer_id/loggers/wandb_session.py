"""Opening and closing of a W&B run inside a RunDir, without code, environment, host, path or command line.

``mode=auto`` is online where an API key is set and offline otherwise. The run's own folder is the record;
``fer_id.loggers.disclosure`` decides what is sent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fer_id.errors import cut
from fer_id.files import atomic_write_text
from fer_id.loggers.server import RUN_ID, has_key, no_answer, without_reports
from fer_id.progress import say

if TYPE_CHECKING:
    import wandb

OPENING_S, CLOSING_S = 20, 120
"""Seconds that a server may take to open a run, and to receive the rest at its end."""

MODES = {"": "online", "online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
MODES |= {"disabled": "disabled"}
"""Values of ``WANDB_MODE``, with the mode that each allows."""

TAG = 64
"""Characters of a tag at most; W&B refuses longer ones."""


class Details(NamedTuple):
    """Settings of a W&B run in any mode: its RunDir, the study as ``group`` that its folds share, and ``job_type``
    (``train``, ``fold``, ``study`` or ``trial``); tags are cut to 64 characters."""

    folder: Path
    project: str
    entity: str | None
    group: str
    job_type: str
    name: str
    tags: Sequence[str]


def wandb_mode(mode: str) -> str:
    """Return the mode; for ``auto``, online with an API key (environment or netrc file), else offline. ``WANDB_MODE``
    may hold ``auto`` back; a value that W&B does not know means offline."""
    if mode != "auto":
        return mode
    allowed = MODES.get(os.environ.get("WANDB_MODE", ""), "offline")
    return allowed if allowed != "online" or has_key() else "offline"


def open_session(details: Details, config: dict[str, object], mode: str) -> wandb.Run | None:
    """Open a W&B run that lies inside a RunDir; None where ``mode`` is disabled, or this is not the first process.

    Where the run cannot be opened online (no key, no answer, a refused name) a message says why, and it is recorded
    offline; where that fails too, a message says so and None is returned. Nothing is raised. ``config`` is the part of
    the configuration that may leave. A folder keeps its W&B run: a training that resumes opens the same one again, with
    an empty history.
    """
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    mode = wandb_mode(mode)
    if mode == "disabled" or getattr(rank_zero_only, "rank", None):
        return None
    why = None if mode == "offline" else "no API key is known" if not has_key() else no_answer()
    if os.environ.get("WANDB_MODE", "") not in MODES:  # W&B's library would refuse it in every mode
        why = f"WANDB_MODE={cut(os.environ.pop('WANDB_MODE'))} is no mode of W&B (online, offline or disabled)"
    for attempt in ("offline",) if mode == "offline" or why else (mode, "offline"):
        try:
            run = _opened(details, config, attempt)
        except Exception as problem:  # a refused key or name, a server that stops answering: each has its own class
            why = why or short(problem)
            _discard(details.folder / "wandb")
        else:
            if why is not None:
                say(f"W&B: {why}. The run is recorded offline; send it later with: wandb sync {run.settings.sync_dir}")
            return run
    say(f"W&B: {why}. The training goes on without it; the run's own folder has everything")
    return None


def _opened(details: Details, config: dict[str, object], mode: str) -> wandb.Run:
    """Open the W&B run in one mode; raise any error of W&B's library."""
    home = details.folder / "wandb"
    # W&B's cache and staging folders would otherwise be in the home directory, with copies of the tables.
    os.environ |= dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), str(home))
    without_reports()
    import wandb

    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # it may hold pictures of children who agreed
    close_session()
    identity = _identity(home)
    with _environment_id(identity):
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
            init_timeout=OPENING_S,
            finish_timeout=CLOSING_S,
            finish_timeout_raises=True,
        )
        wandb.setup(settings)
        run = wandb.init(
            id=identity,
            name=details.name,
            dir=details.folder,
            project=details.project,
            entity=details.entity,
            group=details.group,
            job_type=details.job_type,
            tags=list(dict.fromkeys(tag[:TAG] for tag in details.tags)),
            config=config,
            mode=mode,  # type: ignore[arg-type]  # one of W&B's literals
            settings=settings,
        )
    run.define_metric("epoch")
    for numbers in ("train/*", "val/*", "lr", "seconds", "folds"):
        run.define_metric(numbers, step_metric="epoch")
    return run


def _discard(folder: Path) -> None:
    """Clean up after a failed opening: end W&B's process, which holds the id, and remove its folder and logs."""
    import wandb

    with suppress(Exception):
        wandb.teardown()
    for left in folder.glob("run-*"):
        shutil.rmtree(left, ignore_errors=True)
    for link in (*folder.glob("debug*.log"), folder / "latest-run"):
        link.unlink(missing_ok=True)


def _identity(folder: Path) -> str:
    """Return the id of the W&B run of a RunDir: the id of a W&B agent that started this process, else a stored one.
    Offline files of an earlier, interrupted run of this id are removed, since all their rows are sent again."""
    from wandb.sdk.lib.runid import generate_id

    path = folder / "id"
    stored = path.read_bytes()[:1000].decode("utf-8", errors="replace").strip() or "?" if path.is_file() else ""
    known = {"WANDB_RUN_ID": os.environ.get("WANDB_RUN_ID") or "", str(path): stored}
    for place, identity in known.items():
        if identity and not RUN_ID.fullmatch(identity):  # such as `?`, for an empty file
            say(f"W&B: {place} holds no id of a run; it is left out")
    identity = next((text for text in known.values() if RUN_ID.fullmatch(text)), "") or generate_id()
    atomic_write_text(path, identity)
    for before in folder.glob(f"offline-run-*-{identity}"):
        shutil.rmtree(before)
    return identity


@contextmanager
def _environment_id(identity: str) -> Iterator[None]:
    """Set ``WANDB_RUN_ID``, if it is set, to the id that is used, since W&B's library reads it too."""
    before = os.environ.get("WANDB_RUN_ID")
    if before:
        os.environ["WANDB_RUN_ID"] = identity
    try:
        yield
    finally:
        if before:
            os.environ["WANDB_RUN_ID"] = before


@contextmanager
def harmless() -> Iterator[None]:
    """Print errors of W&B on one line and go on: a failed upload must not end a training."""
    try:
        yield
    except Exception as problem:
        say(f"W&B: {short(problem)}. The training goes on; the run's own folder has everything")


def short(problem: Exception) -> str:
    """Return an error on one line, at most 200 characters."""
    text = " ".join(str(problem).split())
    return type(problem).__name__ if text in ("", "<no message>") else text[:200].rstrip(".")


def close_session() -> None:
    """Finish the active W&B run, if there is one, and remove W&B's own logs, which name folders of this machine."""
    import wandb
    from wandb.sdk.lib import module

    if wandb.run is None:
        return
    run = getattr(wandb.run, "_run", wandb.run)  # ours is guarded
    settings = run.settings
    logs = Path(settings.log_dir)
    try:
        run.finish()
    except TimeoutError:
        say(f"W&B: the server did not take everything in {CLOSING_S} s; send it with: wandb sync {settings.sync_dir}")
    finally:
        module.unset_globals()  # type: ignore[no-untyped-call]  # W&B does so where they are not guarded
    shutil.rmtree(logs, ignore_errors=True)
    for link in logs.parent.parent.glob("debug*.log"):
        link.unlink(missing_ok=True)
