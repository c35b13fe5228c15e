"""Packing of a benchmark's run as weights to start from: a RunDir without pictures and without anything by picture.

What travels: configuration, record, learning curve, float16 weights, metrics without single pictures, the summary of
the explanation, policy, model card and LIMITS. What the record said of the machine is left out, and looked for.
"""

from __future__ import annotations

import getpass
import platform
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from experiments.verbs.card import sources_of
from fer_id.errors import Problems, RunError
from fer_id.files import atomic_folder, atomic_write_text
from fer_id.release.bundle import LIMITS, POLICY
from fer_id.release.evidence import Record
from fer_id.release.model_card import Release, limits, limits_file, model_card, weights_sentences
from fer_id.release.policy import Policy
from fer_id.runs.configs import Config
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import PREFIX

CARD = "card.md"
COPIED = ("metrics.jsonl", "checkpoints/best.ckpt", "explain/explain.json")
TEXTS = (".yaml", ".json", ".jsonl", ".md", "")
"""Endings of the files that are searched for traces of the machine."""

_PATH = re.compile(r"(?<![\w.:/<*])(?:~?/[\w.@+-]+){2,}")
_TIME = re.compile(r"\b[0-2]\d:[0-5]\d(?::[0-5]\d)?\b")


def pack_run(run: RunDir, record: Record, policy: Policy, out: Path) -> str:
    """Write a run that passed the gate as a folder that travels, whole or not at all; return a line about it. Raises
    FerIdError where ``out`` exists, and RunError where a file still names a path, a time of day, a user or a host."""
    name = f"{PREFIX}{out.name}"
    config, job = travelling_config(record.config, name), travelling_job(record.job)
    metrics = without_pictures(record.metrics)
    sources = sources_of(run)
    record = replace(record, name=name, path=name, config=config, job=job)
    sentences = [*weights_sentences(policy, metrics), *limits(record, evidence=None, pretrained_elsewhere=False)]
    with atomic_folder(out) as draft:
        packed = RunDir(draft)
        for file in COPIED:
            (draft / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(run.path / file, draft / file)
        packed.write_config(config)
        packed.write_job(job)
        packed.write_metrics(metrics)
        atomic_write_text(draft / POLICY, policy.as_yaml())
        atomic_write_text(draft / CARD, model_card(record, sources, release=Release(policy, {}, "")))
        atomic_write_text(draft / LIMITS, limits_file(name, policy, metrics.provenance, (), sentences))
        packed.finish()
        Problems(str(out), traces(draft)).raise_if_any(RunError, "Nothing was written.")
        for path in [draft, *draft.rglob("*")]:  # read by whoever installs it
            path.chmod(0o755 if path.is_dir() else 0o644)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return f"{out}: {size / 1e6:.1f} MB, {len(list(out.rglob('*')))} files and folders"


def travelling_config(config: Config, name: str) -> Config:
    """Return a run's configuration without places of a machine: store, folder of runs, and W&B names."""
    own = {key: section for key, section in config.items() if key not in ("runs", "logging")}
    data = {**config["data"], "store": [f"{name}/store"]}
    return cast("Config", own | {"name": name.replace(":", "/"), "data": data})


def travelling_job(job: Job) -> Job:
    """Return the record of a run with the day of its beginning, without places of a machine in its command, and without
    the pictures that the audit names."""
    words = []
    for word in shlex.split(job.command or ""):
        key, equals, value = word.partition("=")
        words.append(f"{key}={key.rpartition('.')[2].upper()}" if equals and _is_place(value) else word)
    audit: Any = {**(job.store.audit or {})}
    if isinstance(published := audit.get("published"), dict):  # names single pictures
        audit["published"] = {key: value for key, value in published.items() if key != "conflicts"}
    store = job.store.model_copy(update={"name": job.store.name and Path(job.store.name).name, "audit": audit})
    changes = {"command": shlex.join(words), "started": (job.started or "")[:10], "store": store}
    return job.model_copy(update=changes)


def _is_place(value: str) -> bool:
    return value.startswith(("/", "~", ".."))


def without_pictures(metrics: Metrics) -> Metrics:
    """Return metrics without the scores of single pictures, or groups of near-identical ones."""
    reasons = {key: why for key, why in metrics.reasons.items() if not key.startswith("per_subject")}
    return metrics.model_copy(update={"per_subject": {}, "reasons": reasons})


def traces(folder: Path) -> Iterator[str]:
    """Yield what the texts of a folder still say of the machine: paths, times of day, names of user and host."""
    names = {"host": platform.node()}
    with suppress(KeyError, OSError):  # no name for this user
        names["user"] = getpass.getuser()
    words = {kind: re.compile(rf"\b{re.escape(word)}\b") for kind, word in names.items() if len(word) > 4}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in TEXTS:
            continue
        text = path.read_text("utf-8")
        for kind, pattern in {"path": _PATH, "time of day": _TIME, **words}.items():
            if match := pattern.search(text):
                yield f"{path.relative_to(folder)}: names a {kind} of this machine: {match[0][:60]}"
