"""Settings of a sweep, and Ray on this machine or on a cluster: local by default, without usage reports, and shut down
after the sweep."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.config import RunsConfig
from fer_id.errors import ConfigError
from fer_id.settings import REST, WORD, Clash, setting

PATIENCE_S, PATIENCE_OF_RAY_S = 5.0, 20.0
"""Seconds within which an address has to answer, and the Ray cluster behind it (the import of Ray included)."""

OBJECTS_BYTES = 100 * 2**20
"""Size of Ray's shared memory on this machine: trials return only a few numbers."""

PREFIX = "fer-id-ray-"
OF_WORKERS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths start at the user's working directory
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a stopped trial cleans up before its worker takes the next one
}
"""Environment variables that Ray's workers need too."""

LONGEST = 36
"""Maximum length of the path of Ray's socket folder in characters: a socket's whole path may have 107."""

RUN, RESUME = "run", "resume"


@dataclass
class RayConfig:
    """The machines that run the trials."""

    address: str | None = setting(
        None, help="host:port of a Ray cluster whose machines all see runs.root and the stores; null: this machine"
    )


@dataclass
class SweepConfig:
    """A sweep; any key of `fer-id train` (or adapt) beside these holds for every trial, such as data.store=FOLDER."""

    action: str = setting(RUN, choices=(RUN, RESUME), help="run: FILE, or go on with it; resume: the folder of a study")
    file: str = setting(
        "",
        required=True,
        help="run: a .yaml in W&B's sweep format, or a shipped one by name; resume: the study's folder",
    )
    name: str | None = setting(None, help="folder of the study under runs.root; null: the name in the file", kind=WORD)
    run_cap: int | None = setting(
        None,
        min=1,
        max=1_000_000,
        help="configurations at most (in every outer fold); null: as the file says; a resumed study may get more",
    )
    search_seed: int = setting(0, min=0, max=2**32 - 1, help="random seed of what the methods random and bayes try")
    cpus: int = setting(1, min=1, max=1024, help="cores of each trial, which is also its number of threads")
    gpus: float | None = setting(
        None, min=0, max=64, help="GPUs of each trial, 0.5 for two on one; null: one where there is any"
    )
    concurrent: int | None = setting(None, min=1, max=1024, help="trials side by side; null: as many as fit")
    ray: RayConfig = field(default_factory=RayConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    overrides: list[str] = setting([], kind=REST, help="key=value of the trials, written as they are: no overrides=")

    def clashes(self) -> Iterator[Clash]:
        """Yield overrides of a resumed study, whose settings are fixed."""
        if self.action == RESUME and self.overrides:
            yield Clash(
                ("overrides",),
                f"{' '.join(self.overrides)}: a study goes on with the settings it was begun with; run the file "
                "under another name= to change them",
            )


@dataclass(frozen=True)
class Machines:
    """Resources of a sweep: the number of trials that run at a time, GPUs per trial, and a temporary folder for Ray's
    own files, visible to every machine."""

    concurrent: int
    gpus_each: float
    storage: Path


@contextmanager
def machines(config: SweepConfig, *, shared: Path) -> Iterator[Machines]:
    """Yield the machines while Ray runs; a Ray that this process has begun before is used and left running. ``shared``
    is a folder for Ray's own files that all machines of a cluster see; created and removed here. Raise ConfigError
    where there is no cluster at the address (call :func:`require_answer` before), or no trial fits."""
    address = config.ray.address
    _silence(local=address is None)
    folder = shared if address else _private_folder()
    ray: Any = import_module("ray")  # only part of Ray has type annotations
    ours = not ray.is_initialized()
    try:
        if ours:
            _start(ray, address, folder)
        yield fitting(config, ray.cluster_resources(), folder / "tune")
    finally:
        if ours:
            ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def fitting(config: SweepConfig, resources: Mapping[str, float], storage: Path) -> Machines:
    """Return how many trials fit on the resources that Ray reports; raise ConfigError where not even one does."""
    cpus, gpus, all_cpus, all_gpus = config.cpus, config.gpus, resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    share = (1.0 if all_gpus else 0.0) if gpus is None else gpus
    if cpus > all_cpus:
        raise ConfigError(f"cpus={cpus}: there are {all_cpus:g} to train on; no trial would ever begin")
    if share > all_gpus:
        raise ConfigError(f"gpus={share:g}: there are {all_gpus:g} to train on; no trial would ever begin")
    fit = int(all_cpus // cpus) if not share else min(int(all_cpus // cpus), int(all_gpus / share + 1e-9))
    return Machines(min(fit, config.concurrent or fit), share, storage)


def _start(ray: Any, address: str | None, folder: Path) -> None:
    init = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if address is None:
        (folder / "ray").mkdir(exist_ok=True)  # Ray opens its folder to everybody; its parent is private
        init(
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=OBJECTS_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder / "ray"),
        )
        return
    try:  # workers on a cluster are no children of this process
        init(address=address, runtime_env={"env_vars": OF_WORKERS})
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as problem:
        first = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ConfigError(f"ray.address={address}: this is no cluster that can be used: {first[0]}") from None


def require_answer(address: str) -> None:
    """Raise ConfigError unless a Ray cluster answers at the address. Ray itself waits for minutes and cannot be
    interrupted, so a child process tries first."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"ray.address={address}: expected host:port, as `ray start --head` prints it")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except OSError as problem:
        raise ConfigError(
            f"ray.address={address} does not answer ({problem.strerror or problem}); is the cluster up, "
            "and this machine allowed to reach it? Without ray.address the sweep runs on this machine"
        ) from None
    command = [sys.executable, "-c", "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)", address]
    try:
        subprocess.run(command, timeout=PATIENCE_OF_RAY_S, capture_output=True, check=True)
        return
    except subprocess.TimeoutExpired as problem:
        output, last = problem.stderr or b"", "no answer"
    except subprocess.CalledProcessError as problem:
        output = problem.stderr
        last = (output.decode(errors="replace").strip().splitlines() or ["no reason"])[-1]
    why = f"whoever listens there does not answer as the head of a Ray cluster ({last})"
    if b"InvalidAuthToken" in output:
        why = "it asks for a token; set RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
    raise ConfigError(f"ray.address={address}: {why}")


def _silence(*, local: bool) -> None:
    """Set the environment that Ray reads when it is imported, and that its workers inherit. A ``local`` Ray runs for
    this sweep alone: reachable from this machine only, and only with its token, or any process could run code in it."""
    if local:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # makes Ray listen on 127.0.0.1, on Linux too
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # once per process: Ray reads it once
    os.environ |= OF_WORKERS | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray would give every other process precedence
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU sees none
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_WARN_THRESHOLD_S": "60",
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the study's own record is what it resumes from
        "RAY_AIR_NEW_OUTPUT": "0",
    }


def _private_folder() -> Path:
    """Create a folder for Ray's sockets and logs, readable by its owner only; folders of dead processes are removed."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) + len(PREFIX) + 16 > LONGEST:
        base = Path("/tmp")
    for old in base.glob(f"{PREFIX}*"):
        pid = old.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and old.stat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
