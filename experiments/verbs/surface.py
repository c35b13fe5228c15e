"""``fer-id surface``: where time helps, by the strength of expressions, of the resting face, and by other movements.

A finished benchmark's encoder stays as it is. At every point of the grid the same children are simulated with other
settings, readers are fitted on the features of its training clips and judged on its test clips. A finished point is not
made again.
"""

from __future__ import annotations

from pathlib import Path

from experiments.benchmarking.surface_config import SurfaceConfig, contrast_of
from fer_id.progress import say
from fer_id.readers.config import READERS

__all__ = ["SurfaceConfig", "surface"]


def surface(config: SurfaceConfig) -> str:
    """Make the missing points, fit the readers, judge the contrasts; return the result as text."""
    from experiments.benchmarking import budget
    from experiments.benchmarking.surface import Grid
    from fer_id.readers.study import fit_studies
    from fer_id.readers.surface import Point, judge_surface, recalls_at
    from fer_id.reporting.benchmark.surface import write_surface

    grid, points = Grid.open(config), [Point(*values) for values in config.grid()]
    contrasts = [contrast_of(text, grid.run.path.name) for text in config.contrasts]
    named = {reader for contrast in contrasts for _, reader in (contrast.first, contrast.second)}
    readers = [name for name in READERS if name in named]
    costs = grid.costs(points, readers, config.seeds)
    for line in budget.table(costs, {}):
        say(line)
    studies = {}
    for number, point in enumerate(points, start=1):
        say(f"point {number} of {len(points)}: {point}")
        studies[point] = grid.study(point)
    fit_studies(list(studies.values()), readers, config.seeds, config.workers)
    return write_surface(
        contrasts,
        judge_surface(contrasts, studies, config.seeds, config.relevant),
        {point: recalls_at(study, readers, config.seeds) for point, study in studies.items()},
        Path(config.out),
        encoder=grid.run.path.name,
        clips={split: len(getattr(studies[points[0]].fold, split)) for split in ("train", "test")},
        clusters=studies[points[0]].judged("test").fewest,
        seeds=len(config.seeds),
        relevant=config.relevant,
        costs={cost.what: cost.amounts for cost in costs},
    )
