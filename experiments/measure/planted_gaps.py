"""A control of the subgroup tests: gaps that are planted must be found, and where none are planted, none claimed.

``python -m experiments.measure.planted_gaps run=RUN source=STORE draws=40``: simulated children are cast anew, again
and again, from the test stills that the run's model has not seen, once with severe children who hardly show what they
feel (and what age, gender and place do to an expression) and once without any such difference, and the model's answers
are broken down as in ``metrics.json``. Stills are dealt to children without regard to their traits, so without planted
gaps every claim is a false alarm, of which at most one run in twenty may have one. Writes ``planted.json`` into the
run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_id.evaluation.groups.gaps import GAP
from fer_id.files import write_json
from fer_id.progress import track
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting

if TYPE_CHECKING:
    import pandas as pd

    from experiments.training.trained_model import TrainedModel
    from fer_id.release.policy import Policy
    from fer_id.simulation.domain import DomainConfig
    from fer_id.simulation.stills import Stills
    from fer_id.simulation.target_domain import SimulatedClip

ANY = "any column"
BATCH = 32


@dataclass
class PlantedConfig:
    """Whose answers, on whom, and how often."""

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


def planted(config: PlantedConfig) -> dict[str, Any]:
    """In how many cohorts a gap was claimed, by column, and the gate refused because of severity; ``planted.json``.

    Raises:
        RunError: no such run, or not finished.
        StoreError: nothing can be simulated from the source.
    """
    from experiments.training.trained_model import TrainedModel
    from experiments.verbs.release import policy_path
    from fer_id.release.policy import read_policy
    from fer_id.simulation.stills import choose_stills
    from fer_id.store.reader import ClipStore

    run = RunDir.open(config.run)
    trained = TrainedModel.open(run)
    usual = replace(
        _domain(trained.data.stores[0].card.parameters), clips_per_emotion=1, shares=config.shares, gaps=1.0
    )
    stills = choose_stills(ClipStore.open(config.source), usual)
    policy = read_policy(policy_path(config.policy))
    found: dict[str, Any] = {"provenance": "simulated", "precision": trained.precision}
    found |= {name: getattr(config, name) for name in ("draws", "peak", "shares", "policy")}
    severe = replace(usual.severe, peak=config.peak)
    for name, domain in (("planted", replace(usual, severe=severe)), ("neutral", replace(usual, gaps=0.0))):
        cohorts = [
            _subgroups(stills, replace(domain, seed=config.seed + draw), trained)
            for draw in track(range(config.draws), name, config.draws)
        ]
        found[name] = _summary(cohorts, policy)
    write_json(run.path / "planted.json", found)
    return found


def _domain(parameters: Mapping[str, Any]) -> DomainConfig:
    """The domain that a store was simulated with, from its card."""
    from fer_id.simulation.domain import DomainConfig

    usual = DomainConfig()
    told = {name: parameters[name] for name in (one.name for one in fields(DomainConfig)) if name in parameters}
    nested = {name: type(getattr(usual, name))(**one) for name, one in told.items() if isinstance(one, Mapping)}
    return replace(usual, **told | nested)


def _summary(cohorts: list[dict[str, Any]], policy: Policy) -> dict[str, Any]:
    """How often a gap in accuracy was claimed, how large gaps were, and how often the gate refused for severity."""
    columns = dict.fromkeys(column for one in cohorts for column in one["columns"])
    gaps = [{column: told["gaps"]["accuracy"] for column, told in one["columns"].items()} for one in cohorts]
    claimed = {column: sum(one.get(column, {}).get("verdict") == GAP for one in gaps) for column in columns}
    claimed[ANY] = sum(any(gap["verdict"] == GAP for gap in one.values()) for one in gaps)
    sizes = {column: [one[column]["gap"] for one in gaps if one.get(column, {}).get("gap")] for column in columns}
    refused = sum(any("severity" in reason for reason in _refusals(one, policy)) for one in cohorts)
    return {
        "claimed": {column: _share(count, len(cohorts)) for column, count in claimed.items()},
        "mean_gap": {column: float(np.mean(values)) for column, values in sizes.items() if values},
        "refused": _share(refused, len(cohorts)),
    }


def _refusals(subgroups: dict[str, Any], policy: Policy) -> list[str]:
    """What the release gate has against the groups."""
    from fer_id.release.group_rules import gap_reasons, group_reasons

    metrics = {"provenance": "simulated", "subgroups": subgroups}
    return [*group_reasons(metrics, policy), *gap_reasons(metrics, policy)]


def _subgroups(stills: Stills, domain: DomainConfig, trained: TrainedModel) -> dict[str, Any]:
    """What ``metrics.json`` would say of the groups of one cohort."""
    from fer_id.evaluation.config import Breakdown
    from fer_id.evaluation.groups.subgroups import compute_subgroups
    from fer_id.labels import TARGET
    from fer_id.simulation.target_domain import cast, casting_of, simulate_clip

    people = [casting_of(stills, domain, *one) for one in cast(stills, domain) if one[0] == "test"]
    made = [simulate_clip(one, emotion, 0, domain) for one in people for emotion in TARGET.names]
    predictions = _answers(made, trained)
    return compute_subgroups(predictions, TARGET, Breakdown())[0]


def _answers(made: list[SimulatedClip], trained: TrainedModel) -> pd.DataFrame:
    """The rows of ``predictions.parquet`` for clips in memory, in the precision of the run."""
    import pandas as pd
    import torch

    from fer_id.labels import TARGET
    from fer_id.simulation.target_domain import GROUPS
    from fer_id.tasks.tabulate import prediction_table

    batches = []
    with torch.inference_mode(), trained.autocast():
        for start in range(0, len(made), BATCH):
            part = made[start : start + BATCH]
            frames = torch.from_numpy(np.stack([one.clip.frames for one in part])).movedim(-1, 2).float() / 255
            valid = torch.from_numpy(np.stack([one.clip.valid for one in part]))
            points = torch.from_numpy(np.stack([one.clip.landmarks for one in part]))
            batches.append(
                {
                    "clip_id": [one.row["clip_id"] for one in part],
                    "logits": trained.model(*(one.to(trained.device) for one in (frames, valid, points))).float().cpu(),
                    "covered": valid.any(dim=1),
                }
            )
    counts = [{"n_valid": int(one.clip.valid.sum()), "length": len(one.clip.valid)} for one in made]
    rows = pd.DataFrame([one.row | count for one, count in zip(made, counts, strict=True)])
    return prediction_table(batches, rows, TARGET, fold="planted", split="test", groups=list(GROUPS))


def _share(claimed: int, draws: int) -> dict[str, float]:
    """How often, with the exact 95 % interval of Clopper and Pearson."""
    from scipy import stats

    interval = stats.binomtest(claimed, draws).proportion_ci(0.95)
    return {"share": claimed / draws, "low": float(interval.low), "high": float(interval.high)}


def table(found: dict[str, Any]) -> str:
    """The result as aligned text."""
    lines = [f"{found['draws']} simulated cohorts each; share in which a gap in accuracy is claimed (mean gap)"]
    for column in found["planted"]["claimed"]:
        cells = []
        for name in ("planted", "neutral"):
            one, gap = found[name]["claimed"][column], found[name]["mean_gap"].get(column)
            said = f"{one['share']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
            cells.append(f"{name} {said}" + ("" if gap is None else f" ({gap:.3f})"))
        lines.append(f"  {column:<12}" + "   ".join(cells))
    refused = ", ".join(f"{name} {found[name]['refused']['share']:.2f}" for name in ("planted", "neutral"))
    lines.append(f"  the gate ({found['policy']}) refuses because of severity: {refused}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Runs the control with ``key=value`` arguments and prints the table."""
    from experiments.settings.loading import load

    print(table(planted(load(PlantedConfig, argv))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
