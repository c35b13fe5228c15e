"""Fixtures of finished runs with plausible random predictions, and what a browser makes of a page."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fer_id.evaluation.metrics import compute_metrics
from fer_id.labels import SPACES, LabelSpace
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir

AUDIT = {
    "published": {
        "images": {"test": 3589, "train": 28709},
        "constant": {"test": 0, "train": 11},
        "byte_identical": {
            "within": {"test": {"repeats": 26}, "train": {"repeats": 1234}},
            "across": {"test in train": 280, "train in test": 351},
        },
        "near_identical": {
            "within": {"test": {"images": 59}, "train": {"images": 2500}},
            "across": {"test in train": 333, "train in test": 529},
        },
        "groups": {"of_two_or_more": 2093, "largest": 23},
        "conflicts": [
            {
                "kind": "byte_identical",
                "images": [
                    {"id": "i1", "split": "train", "label": "happy"},
                    {"id": "i2", "split": "train", "label": "sad"},
                    {"id": "i3", "split": "test", "label": "happy"},
                ],
            }
        ],
    },
    "left_out": {},
}
"""As the benchmarks write it, the counts of FER2013."""


class Page(HTMLParser):
    """Tags of a page with their attributes, addresses that a browser would fetch, and cells of the table of runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(page)
        named = [given.get(name) for _, given in self.tags for name in ("src", "srcset", "poster", "data")]
        self.fetched = [address for address in named if address is not None]
        self.fetched += [tag for tag, _ in self.tags if tag in ("link", "iframe", "object")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside |= ("id", "runs") in attrs
        if self._inside and tag == "tr":
            self.rows.append([])
        elif self._inside and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "table"

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def predictions(
    labels: LabelSpace,
    *,
    clips: int,
    subjects: int,
    skill: float = 1.5,
    seed: int = 0,
    label: int | None = None,
    predicted: int | None = None,
) -> pd.DataFrame:
    """Predictions of test clips; ``label`` and ``predicted`` fix the class of all clips."""
    rng = np.random.default_rng(seed)
    truth = np.arange(clips) * 7 % len(labels) if label is None else np.full(clips, label)
    logits = np.random.default_rng(0).normal(size=(clips, len(labels)))
    logits[np.arange(clips), truth] += rng.normal(skill, 0.5, clips)
    if predicted is not None:
        logits[:, predicted] += 100
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    columns: dict[str, Any] = {
        "clip_id": [f"clip{i:04d}" for i in range(clips)],
        "subject_id": [f"s{i % subjects:02d}" for i in range(clips)],
        "fold": "holdout",
        "split": "test",
        "label": [labels.names[t] for t in truth],
        "predicted": [labels.names[k] for k in p.argmax(1)],
    }
    columns |= {f"logit_{name}": logits[:, k] for k, name in enumerate(labels.names)}
    columns |= {f"p_{name}": p[:, k] for k, name in enumerate(labels.names)}
    return pd.DataFrame(columns | {"flagged": False})


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDir]:
    """A factory: ``make_run("study/name", skill=1.5, subjects=6)``; it has metrics, no figures and no report yet."""

    def make(
        name: str = "study/run",
        *,
        space: str = "target5",
        provenance: str = "synthetic",
        clips: int = 120,
        subjects: int = 6,
        skill: float = 1.5,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        table: pd.DataFrame | None = None,
    ) -> RunDir:
        labels = SPACES[space]
        if table is None:
            table = predictions(labels, clips=clips, subjects=subjects, skill=skill, seed=seed)
        tested = sorted(table["subject_id"][table["split"] == "test"].unique())
        job = {
            "command": "fer-id train",
            "seed": seed,
            "store": {"name": "tiny", "provenance": provenance, "label_space": space, "audit": AUDIT},
            "subjects": {"train": ["a", "b"], "validation": ["c"], "test": tested},
            "clips": {"train": 400, "validation": 40, "test": 10 * subjects},
            "cost": {"parameters": 390_000, "multiply_adds_per_clip": 80_000_000},
            "seconds": 4210.0,
        }
        run = RunDir.create(tmp_path / name, config or {"name": name, "optim": {"lr": 1e-4}}, Job.model_validate(job))
        run.write_predictions(table)
        run.write_metrics(compute_metrics(table, labels, provenance))
        lines = [{"epoch": e, "train/loss": 2 - e / 5, "val/loss": 2 - e / 9, "val/macro_f1": e / 10} for e in range(5)]
        (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.finish()
        return run

    return make
