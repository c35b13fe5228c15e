"""The end of a training: metrics, figures, report, explanation, mirror, and the mark that the run is whole."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.verbs.explain import explain_run
from fer_id.callbacks.curves import best_row, mean_curve, summarise_best
from fer_id.callbacks.mirror import harmless
from fer_id.callbacks.resuming import forget_previous
from fer_id.callbacks.telling import mirror_explanation, mirror_results, withheld
from fer_id.errors import FerIdError
from fer_id.progress import say
from fer_id.reporting.report import draw_figures, evaluate_run, write_report
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    import wandb

    from fer_id.reporting.gallery import Shown


def finish(config: TrainConfig, run: RunDir, data: FerDataModule, mirror: wandb.Run | None, *, explains: bool) -> None:
    """Metrics, figures, report, explanation, mirror, and the mark that the run is whole."""
    say(f"{run.path}: metrics, figures and report")
    metrics = evaluate_run(run)
    explained = _explained(config, run) if explains and config.explain.clips != 0 else None
    if mirror is not None:
        with harmless():
            _tell(mirror, config, run, data, metrics, explained)
    forget_previous(run.path / "checkpoints")
    run.finish()


def _tell(
    mirror: wandb.Run,
    config: TrainConfig,
    run: RunDir,
    data: FerDataModule,
    metrics: dict[str, Any],
    explained: tuple[dict[str, Any], list[Shown]] | None,
) -> None:
    """Send what came out to the mirror, and end its W&B run."""
    hidden = withheld(run.job(), mirror.job_type or "")
    for row in mean_curve(run.folds):
        mirror.log(row)
    best = [best_row(one.learning_curve(), config.trainer.monitor) for one in run.folds]
    summarise_best(mirror, best, hidden)
    if explained is not None and "test" not in hidden:
        mirror_explanation(mirror, *explained)
    per_class = pd.DataFrame(metrics["per_class"]).T.rename_axis("class").reset_index()
    mirror_results(mirror, metrics, draw_figures(run), per_class, real=data.has_children, hidden=hidden)


def _explained(config: TrainConfig, run: RunDir) -> tuple[dict[str, Any], list[Shown]] | None:
    """What ``explain/`` holds, which the report then says too; None where it could not be made: no first look is worth
    a training that does not end."""
    try:
        explained = explain_run(run, config.explain)
        write_report(run)
        return explained
    except FerIdError as problem:
        say(f"not explained: {problem}")
    except Exception:
        say(f"not explained, and that is a fault of fer-id; please report these lines:\n{traceback.format_exc()}")
    return None
