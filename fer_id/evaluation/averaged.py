"""Average of several runs: the mean of their probabilities on the same clips, as a run of its own without weights.

A deep ensemble (Lakshminarayanan et al. 2017, arXiv:1612.01474), or the snapshots of shorter trainings. Members are
averaged on inner validation as on test, so that temperature and threshold are fitted, and a choice is made, on the
average. Writers, reports and comparisons read its folder as any run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_id.errors import Problems, RunError
from fer_id.evaluation.predictions import PREDICTED_AFFECT, check_predictions, class_columns, class_names
from fer_id.evaluation.scores import Floats
from fer_id.labels import LabelSpace
from fer_id.runs.job import Cost
from fer_id.runs.run_dir import RunDir

KEY = ["split", "fold", "clip_id"]


def average_runs(runs: Sequence[RunDir], out: str | Path, command: str) -> RunDir:
    """Write the average of finished runs into the folder ``out``, with predictions and without metrics; return it.

    ``command`` is what made it. Configuration and record are the first member's, with all members as parents, so that a
    withdrawal of consent reaches it. Raise RunError where the members differ in clips, labels or classes, or ``out``
    holds something else.
    """
    members = list({run.path.resolve(): run for run in runs}.values())
    folder = RunDir(out)
    problems = Problems("these runs are no members of one average")
    if len(members) < 2:
        problems.add(f"{len(members)} of them, expected at least two different ones")
    if folder.path.exists() and not (folder.path / "config.yaml").is_file():
        problems.add(f"{out} exists and is no run: choose another folder")
    elif folder.path.exists() and {*folder.job().parents} != {str(run.path) for run in members}:
        problems.add(f"{out} is another run: choose another folder")
    problems.raise_if_any(RunError)
    table = averaged_predictions([(str(run.path), run.predictions()) for run in members])
    config, job = members[0].config(), members[0].job()
    config["name"] = f"average of {len(members)}"
    jobs = [run.job() for run in members]
    seconds, added = [each.seconds for each in jobs], [each.cost.multiply_adds_per_clip for each in jobs]
    cost = Cost(
        parameters=sum(each.cost.parameters or 0 for each in jobs) or None,
        multiply_adds_per_clip=sum(value for value in added if value) if all(added) else None,
        frames=job.cost.frames,
    )
    changes = {
        "command": command,
        "parents": [str(run.path) for run in members],
        "seconds": sum(value for value in seconds if value) if all(seconds) else None,
        "notes": [f"the mean probabilities of {len(members)} runs: {', '.join(str(run.path) for run in members)}"],
        "cost": cost,
        "peak_memory_bytes": None,
    }
    folder.figures.mkdir(parents=True, exist_ok=True)
    folder.write_config(config)
    folder.write_job(job.model_copy(update=changes))
    folder.write_predictions(table)
    return folder


def averaged_predictions(tables: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return the predictions of the mean probabilities of members, each given with its name; logits are the logarithms.
    Valence and arousal are means too, and are absent where a member predicts none.

    A clip without a prediction of one member has none. Raise RunError where members differ in clips, labels or classes.
    """
    first = tables[0][1]
    labels, problems = LabelSpace("the members' classes", class_names(first)), Problems("members of an average")
    rows, probabilities, affect = list[pd.DataFrame](), list[Floats](), list[Floats]()
    for name, table in tables:
        if class_names(table) != labels.names:
            problems.add(f"{name} tells {', '.join(class_names(table))}, {tables[0][0]} {', '.join(labels.names)}")
            continue
        check_predictions(table, labels, name)
        ordered = table.sort_values(KEY).reset_index(drop=True)
        rows.append(ordered)
        probabilities.append(class_columns(ordered, labels))
        if set(PREDICTED_AFFECT) <= set(ordered):
            affect.append(ordered[[*PREDICTED_AFFECT]].to_numpy(np.float64))
        facts = [*KEY, "subject_id", "label"]
        if not ordered[facts].astype(object).fillna("").equals(rows[0][facts].astype(object).fillna("")):
            problems.add(f"{name} predicts other clips, or has other labels of them, than {tables[0][0]}")
    problems.raise_if_any(RunError, "Members need the same store and protocol; of a holdout also the same seed=.")
    mean = np.mean(probabilities, axis=0)  # NaN where a member has no prediction
    known = np.isfinite(mean).all(axis=1)
    best = np.where(known, np.nan_to_num(mean).argmax(axis=1), 0)
    table = rows[0].copy()
    table["predicted"] = pd.Series([labels.names[k] for k in best], dtype=object).where(known, None)
    with np.errstate(divide="ignore"):
        logits = np.log(mean.clip(np.finfo(np.float64).tiny))
    for column, name in enumerate(labels.names):
        table[f"p_{name}"], table[f"logit_{name}"], table[f"q_{name}"] = mean[:, column], logits[:, column], np.nan
    table = table.drop(columns=[*PREDICTED_AFFECT], errors="ignore")
    if len(affect) == len(tables):
        table[[*PREDICTED_AFFECT]] = np.mean(affect, axis=0)
    return table.assign(flagged=~known)
