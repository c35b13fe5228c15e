"""Control of the subgroup tests: how often they detect planted gaps, and how often they raise false alarms.

``python -m experiments.measure.planted_gaps run=RUN source=STORE draws=40``: cohorts of simulated children are drawn
repeatedly from test stills that the run's model has not seen, once with severe children who hardly show an expression
(and with the effects of age, gender and place) and once without any such difference, and the model's predictions are
broken down as in ``metrics.json``. Stills are assigned to children independently of their traits, so without planted
gaps every claimed gap is a false alarm, which at most one run in twenty may have. Writes ``planted.json`` into the run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch
from scipy import stats

from experiments.settings.loading import load
from experiments.training.trained_model import TrainedModel
from experiments.verbs.release import policy_path
from fer_id.errors import StoreError
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.gaps import GAP
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.files import write_json
from fer_id.labels import TARGET
from fer_id.progress import track
from fer_id.release.gate import gap_reasons, group_reasons
from fer_id.release.policy import Policy, read_policy
from fer_id.runs.metrics import Metrics, Subgroups
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting
from fer_id.simulation.casting import cast, casting_of
from fer_id.simulation.child import GROUPS, SimulatedClip, simulate_clip
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.stills import Stills, choose_stills
from fer_id.store.card import SIMULATION
from fer_id.store.reader import ClipStore
from fer_id.tasks.tabulate import prediction_table
from fer_id.types import Predicted

ANY = "any column"
BATCH = 32


@dataclass
class PlantedConfig:
    """Settings of the control: the model, its data, and the number of cohorts."""

    run: str = setting("", required=True, help="a finished run of a model of simulated clips")
    source: str = setting("", required=True, help="the ClipStore of stills that its store was simulated from")
    draws: int = setting(40, min=1, max=100_000, help="cohorts with gaps, and as many without")
    peak: float = setting(
        0.05, above=0, max=1, help="how much of an expression severe children show where it is planted"
    )
    shares: list[float] = setting(
        [1.0, 0.0, 1.0], min=0, max=1_000_000, help="of mild, moderate, severe children, in all cohorts"
    )
    policy: str = setting("research", help="shipped policy, or a file: would the gate let the model out for severity?")
    seed: int = setting(1000, min=0, max=2**32 - 1, help="of the first cohort; the next has the next")


class Detected(TypedDict):
    """Shares of cohorts (``share``, ``low``, ``high``) with a claimed gap in accuracy by column, and with a refusal."""

    claimed: dict[str, dict[str, float]]
    mean_gap: dict[str, float]
    refused: dict[str, float]


class Planted(TypedDict):
    """Contents of ``planted.json``."""

    provenance: str
    precision: str
    draws: int
    peak: float
    shares: list[float]
    policy: str
    planted: Detected
    neutral: Detected


def planted(config: PlantedConfig) -> Planted:
    """Write ``planted.json``: the shares of cohorts with a claimed gap, and with a refusal for severity."""
    run = RunDir.open(config.run)
    trained = TrainedModel.open(run)
    recorded = recorded_domain(trained.data.stores[0])
    domain = replace(recorded, clips_per_emotion=1, shares=config.shares, gaps=1.0)
    stills = choose_stills(ClipStore.open(config.source), domain)
    policy = read_policy(policy_path(config.policy))

    def detected(name: str, variant: DomainConfig) -> Detected:
        drawn = (replace(variant, seed=config.seed + draw) for draw in range(config.draws))
        cohorts = [_subgroups(stills, cohort, trained) for cohort in track(drawn, name, config.draws)]
        return _summary(cohorts, policy)

    results: Planted = {
        "provenance": "simulated",
        "precision": trained.precision,
        "draws": config.draws,
        "peak": config.peak,
        "shares": config.shares,
        "policy": config.policy,
        "planted": detected("planted", replace(domain, severe=replace(domain.severe, peak=config.peak))),
        "neutral": detected("neutral", replace(domain, gaps=0.0)),
    }
    write_json(run.path / "planted.json", results)
    return results


def recorded_domain(store: ClipStore) -> DomainConfig:
    """Return the domain that a store was simulated with, from its card; StoreError for an earlier simulation."""
    parameters: Mapping[str, Any] = store.card.parameters
    if store.card.settings.simulation != SIMULATION:
        raise StoreError(f"{store.path} is not of this version of the simulation; make it again with fer-id simulate")
    default = DomainConfig()
    recorded = {key: parameters[key] for key in vars(default) if key in parameters}
    nested = {key: value for key, value in recorded.items() if isinstance(value, Mapping)}
    return replace(default, **recorded | {key: type(getattr(default, key))(**value) for key, value in nested.items()})


def _summary(cohorts: list[Subgroups], policy: Policy) -> Detected:
    """Return shares of cohorts with a claimed accuracy gap and with a refusal for severity, and mean gaps."""
    gaps = [{name: column.gaps["accuracy"] for name, column in cohort.columns.items()} for cohort in cohorts]
    columns = dict.fromkeys(column for cohort in gaps for column in cohort)
    of_column = {column: [cohort[column] for cohort in gaps if column in cohort] for column in columns}
    claimed = {column: sum(gap.verdict == GAP for gap in drawn) for column, drawn in of_column.items()}
    claimed[ANY] = sum(any(gap.verdict == GAP for gap in cohort.values()) for cohort in gaps)
    sizes = {column: [gap.gap for gap in drawn if gap.gap] for column, drawn in of_column.items()}
    judged = [Metrics(provenance="simulated", subgroups=cohort) for cohort in cohorts]
    refusals = [[*group_reasons(metrics, policy), *gap_reasons(metrics, policy)] for metrics in judged]
    refused = sum(any("severity" in reason for reason in reasons) for reasons in refusals)
    return {
        "claimed": {column: _share(count, len(cohorts)) for column, count in claimed.items()},
        "mean_gap": {column: float(np.mean(values)) for column, values in sizes.items() if values},
        "refused": _share(refused, len(cohorts)),
    }


def _subgroups(stills: Stills, domain: DomainConfig, trained: TrainedModel) -> Subgroups:
    """Return the ``subgroups`` of ``metrics.json`` for one simulated cohort."""
    children = [casting_of(stills, domain, role) for role in cast(stills, domain, ["test"])]
    made = [simulate_clip(child, emotion, 0, domain) for child in children for emotion in TARGET.names]
    return compute_subgroups(_answers(made, trained), TARGET, Breakdown())[0]


def _answers(made: list[SimulatedClip], trained: TrainedModel) -> pd.DataFrame:
    """Return the rows of ``predictions.parquet`` for clips in memory, in the precision of the run."""
    batches: list[Predicted] = []
    with torch.inference_mode(), trained.autocast():
        for start in range(0, len(made), BATCH):
            part = made[start : start + BATCH]
            clips = zip(*(sample.clip for sample in part), strict=True)
            frames, points, valid = (torch.from_numpy(np.stack(arrays)) for arrays in clips)
            inputs = frames.movedim(-1, 2).float() / 255, valid, points
            logits = trained.model(*(tensor.to(trained.device) for tensor in inputs)).float().cpu()
            names = [str(sample.row["clip_id"]) for sample in part]
            batches.append({"clip_id": names, "logits": logits, "covered": valid.any(dim=1)})
    counts = [{"n_valid": int(sample.clip.valid.sum()), "length": len(sample.clip.valid)} for sample in made]
    rows = pd.DataFrame([sample.row | count for sample, count in zip(made, counts, strict=True)])
    return prediction_table(batches, rows, TARGET, fold="planted", split="test", groups=list(GROUPS))


def _share(claimed: int, draws: int) -> dict[str, float]:
    """Return the share with its exact 95 % interval (Clopper and Pearson)."""
    interval = stats.binomtest(claimed, draws).proportion_ci(0.95)
    return {"share": claimed / draws, "low": float(interval.low), "high": float(interval.high)}


def table(results: Planted) -> str:
    """Return the result as aligned text."""
    lines = [f"{results['draws']} simulated cohorts each; share in which a gap in accuracy is claimed (mean gap)"]
    sides = {"planted": results["planted"], "neutral": results["neutral"]}
    for column in results["planted"]["claimed"]:
        cells = []
        for name, side in sides.items():
            claimed, gap = side["claimed"][column], side["mean_gap"].get(column)
            share = f"{claimed['share']:.2f} [{claimed['low']:.2f}, {claimed['high']:.2f}]"
            cells.append(f"{name} {share}" + ("" if gap is None else f" ({gap:.3f})"))
        lines.append(f"  {column:<12}" + "   ".join(cells))
    refused = ", ".join(f"{name} {side['refused']['share']:.2f}" for name, side in sides.items())
    lines.append(f"  the gate ({results['policy']}) refuses because of severity: {refused}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Run the control with ``key=value`` arguments and print the table."""
    print(table(planted(load(PlantedConfig, argv))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
