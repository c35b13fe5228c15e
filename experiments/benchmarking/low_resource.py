"""Leave-one-child-out part of a benchmark: the reference's readers in cohorts of a few test children."""

from __future__ import annotations

from data_modules.base import FerDataModule
from experiments.benchmarking.config import BenchmarkConfig
from fer_id.progress import say
from fer_id.readers.low_resource import LearningCurve, learning_curve
from fer_id.readers.study import ReaderStudy


def readers(config: BenchmarkConfig) -> list[str]:
    """Return the readers of the benchmark that are fitted leave-one-child-out."""
    return [name for name in config.readers if name in config.low_resource.readers]


def sizes(config: BenchmarkConfig, clips: FerDataModule) -> list[int]:
    """Return the sizes of cohorts, rising, that the test children of the reference are enough for."""
    few, children = config.low_resource, len(clips.subjects(clips.fold.test))
    return sorted(size for size in few.sizes if size * few.draws <= children) if readers(config) else []


def low_resource(config: BenchmarkConfig, study: ReaderStudy, clips: FerDataModule) -> LearningCurve | None:
    """Judge the reference's readers leave-one-child-out; None where no size is asked for, or the test children are too
    few, which one line says."""
    few, usable = config.low_resource, sizes(config, clips)
    if left_out := sorted(set(few.sizes) - set(usable)):
        say(
            f"low_resource: cohorts of {', '.join(map(str, left_out))} children are left out: {few.draws} of each need "
            f"more than the {len(clips.subjects(clips.fold.test))} test children, or readers= has none of its readers"
        )
    if not usable:
        return None
    named = readers(config)
    return learning_curve(study, named, usable, few.draws, config.seeds, seed=config.seed, workers=config.workers)
