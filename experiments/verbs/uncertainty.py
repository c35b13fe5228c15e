"""``fer-id uncertainty RUN [RUN...]``: aleatoric and epistemic uncertainty of each test clip.

Several runs on the same clips (one model, other seeds) form an ensemble, whose stored predictions are used. Of a single
run the model predicts each test clip several times with dropout (Monte-Carlo dropout). ``average=FOLDER`` also makes a
run of the ensemble's mean, which ``report`` and ``compare`` read. The measures are those of
``fer_id.evaluation.confidence.uncertainty``; the result is written to ``uncertainty/``, the report and ``metrics.json``
of the (first) run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fer_id.errors import Problems, RunError
from fer_id.progress import track
from fer_id.runs.run_dir import RunDir
from fer_id.settings import Clash, setting

if TYPE_CHECKING:
    import pandas as pd

ENSEMBLE, DROPOUT = "ensemble", "Monte-Carlo dropout"


@dataclass
class UncertaintyConfig:
    """Configuration of an uncertainty estimate: the runs, and the dropout samples."""

    runs: list[str] = setting(
        [], required=True, help="one finished run (dropout), or several on the same clips; the first keeps the result"
    )
    members: int = setting(20, min=2, max=1000, help="answers to each clip with dropout; of several runs, their number")
    seed: int = setting(0, min=0, max=2**32 - 1, help="of the dropout")
    average: str | None = setting(
        None, help="of several runs: write the mean of their probabilities as a run into this folder, and compare it"
    )

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of an average of a single run."""
        if self.average is not None and len(self.runs) < 2:
            yield Clash(("average",), "is of several runs; name two or more")


def uncertainty(config: UncertaintyConfig) -> str:
    """Write ``uncertainty/`` into the first run; return the results as text."""
    from fer_id.evaluation.confidence.uncertainty import uncertainty_scores, uncertainty_table
    from fer_id.evaluation.predictions import class_names
    from fer_id.reporting.doubt import uncertainty_sentences, write_uncertainty
    from fer_id.reporting.report import write_report

    runs = [RunDir.open(path, changing=True) for path in config.runs]
    first = runs[0]
    several = len(runs) > 1
    averaged = [_averaged(runs, config.average)] if config.average else []
    if averaged and first.job().untested:  # there is nothing to be uncertain about
        return averaged[0]
    clips, members, computed = (*_ensemble(runs), {}) if several else _dropout(first, config)
    classes, provenance = class_names(first.predictions()), first.metrics().provenance
    table = uncertainty_table(members, clips, classes, provenance)
    scores = uncertainty_scores(table, ENSEMBLE if several else DROPOUT, len(members))
    scores = scores.model_copy(update={"provenance": provenance, **computed})
    page = write_uncertainty(first, table, scores, provenance)
    first.write_metrics(first.metrics().model_copy(update={"uncertainty": scores}))
    write_report(first)
    return "\n".join([*uncertainty_sentences(scores), str(page), *averaged])


def _averaged(runs: list[RunDir], out: str) -> str:
    """Write the average of runs as a run of its own, with metrics and report; return its result as text."""
    from experiments.verbs.train import outcome
    from fer_id.evaluation.averaged import average_runs
    from fer_id.reporting.report import evaluate_run

    run = average_runs(runs, out, shlex.join(["fer-id", *sys.argv[1:]]))
    evaluate_run(run)
    run.finish()
    return outcome(run)


def _ensemble(runs: list[RunDir]) -> tuple[pd.DataFrame, Any]:
    """Return the clips with a prediction in all runs, and the members' probabilities (M, N, K)."""
    import numpy as np

    from fer_id.evaluation.predictions import check_predictions, class_columns, class_names
    from fer_id.labels import LabelSpace

    tables = [run.predictions() for run in runs]
    labels = LabelSpace("the first run's classes", class_names(tables[0]))
    tests, problems = [], Problems("these runs are no members of one ensemble")
    if len({run.path.resolve() for run in runs}) < len(runs):
        problems.add("a run is named twice")
    for run, table in zip(runs, tables, strict=True):
        if class_names(table) != labels.names:
            problems.add(f"{run.path} tells {', '.join(class_names(table))}, the first one {', '.join(labels.names)}")
            continue
        check_predictions(table, labels, run.path / "predictions.parquet")
        tests.append(table[table["split"] == "test"].set_index("clip_id").sort_index())
        clips = tests[-1][["subject_id", "label"]]
        if not clips.index.is_unique:
            problems.add(f"{run.path}: a clip was tested in more than one fold")
        elif not clips.fillna("").equals(tests[0][["subject_id", "label"]].fillna("")):
            problems.add(f"{run.path} was tested on other clips, or on others' labels, than {runs[0].path}")
    problems.raise_if_any(
        RunError,
        "An ensemble needs the same store and protocol; only seed= may differ, and with protocol=holdout or kfold "
        "another seed= tests other subjects: train its members with protocol=official or loso.",
    )
    known = np.logical_and.reduce([test["predicted"].notna().to_numpy() for test in tests])
    if not known.any():
        raise RunError(f"{runs[0].path}: no test clip has a prediction in every run")
    members = np.stack([class_columns(test[known], labels) for test in tests])
    return tests[0][known].reset_index(), members


def _dropout(run: RunDir, config: UncertaintyConfig) -> tuple[pd.DataFrame, Any, dict[str, str]]:
    """Return the test clips with a face, their probabilities in each draw (M, N, K), and the ``precision``."""
    import numpy as np
    import pandas as pd

    from experiments.training.trained_model import TrainedModel
    from fer_id.models.dropout import sampled_answers

    folds, clips, answers, precisions = run.folds or [run], [], [], set()
    for fold in track(folds, "answering with dropout", len(folds)):
        trained = TrainedModel.open(fold)
        data = trained.data
        with trained.autocast():
            batches = data.plain_batches(data.fold.test)
            names, drawn = sampled_answers(trained.model, batches, config.members, seed=config.seed)
        if len(names):
            clips.append(data.clips.set_index("clip_id").loc[names].reset_index().assign(fold=data.fold.name))
            answers.append(drawn)
            precisions.add(trained.precision)
    if not clips:
        raise RunError(f"{run.path}: no test clip shows a face")
    return pd.concat(clips), np.concatenate(answers, axis=1), {"precision": " and ".join(sorted(precisions))}
