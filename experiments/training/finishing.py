"""End of a training: metrics, figures, report, explanation, upload to W&B, and the mark that the run is finished."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from experiments.config import TrainConfig
from experiments.verbs.explain import explain_run
from fer_id.callbacks.checkpoint import forget_previous
from fer_id.errors import FerIdError
from fer_id.progress import say
from fer_id.reporting.report import evaluate_run, write_report
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    from fer_id.loggers.wandb import PrivateWandbLogger
    from fer_id.reporting.gallery import Shown


def finish(config: TrainConfig, run: RunDir, mirror: PrivateWandbLogger, *, explains: bool) -> None:
    """Write metrics, figures, report and explanation, send to W&B what may leave, and mark the run as finished."""
    say(f"{run.path}: metrics, figures and report")
    metrics = evaluate_run(run)
    explained = _explained(config, run) if explains and config.explain.clips != 0 else None
    mirror.log_mean_curve(run.folds)
    if explained is not None:
        mirror.log_explanation(*explained)
    mirror.log_results(metrics)
    forget_previous(run.path / "checkpoints")
    run.finish()


def _explained(config: TrainConfig, run: RunDir) -> tuple[dict[str, Any], list[Shown]] | None:
    """Explain the run and write the report again with it; return ``explain.json`` and its film strips.

    None where the explanation fails: a line gives the error, since a training must end without it too.
    """
    try:
        explained = explain_run(run, config.explain)
        write_report(run)
        return explained
    except FerIdError as problem:
        say(f"not explained: {problem}")
    except Exception:
        say(f"not explained, and that is a fault of fer-id; please report these lines:\n{traceback.format_exc()}")
    return None
