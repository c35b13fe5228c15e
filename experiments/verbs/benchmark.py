"""``fer-id benchmark``: encoders learned once on stills, and what each reader makes of their features of clips.

Every training is an ordinary run below ``runs/<name>/encoders`` and ``finetuned``; features, readers' predictions and
runs that exist are not made again, interrupted runs are resumed. Contrasts are fixed in the configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.benchmarking.config import BenchmarkConfig
from fer_id.errors import DataError
from fer_id.progress import say
from fer_id.readers.config import ReaderContrast

if TYPE_CHECKING:
    from fer_id.readers.study import ReaderStudy

__all__ = ["BenchmarkConfig", "benchmark"]


def benchmark(config: BenchmarkConfig) -> str:
    """Make what is missing (encoders, features, readers, fine-tunings), plan, judge; return the result as text."""
    from data_modules.simulated import require_this_simulation
    from experiments.benchmarking import low_resource, parts
    from experiments.verbs.train import train
    from fer_id.readers.results import BenchmarkResults, Encoder, FineTuned, judge, plan_contrasts
    from fer_id.readers.study import require_clips
    from fer_id.reporting.benchmark.page import write_benchmark
    from fer_id.runs.run_dir import RunDir

    models = parts.encoder_models(config)
    most = {name: [] if name == config.reference else config.others_at_most for name in models}
    clips = {name: parts.open_clips(config, most[name]) for name in models}
    if clips[config.reference].has_children:
        raise DataError(
            f"{config.data.store[0]} holds real children, whose features would lie where a withdrawal of consent does "
            "not look: a benchmark is of simulated or drawn clips. For children: fer-id adapt, fer-id compare"
        )
    require_this_simulation(clips[config.reference].stores)
    for data in clips.values():
        require_clips(data.clips, data.fold, config.readers)
    plans, costs = parts.plan(config, clips)
    runs: dict[str, RunDir] = {}
    studies: dict[str, ReaderStudy] = {}
    for name, model in models.items():
        training = parts.on_stills(config, model, plans[name])
        path = Path(config.runs.root) / str(training.name)
        say(f"{name} on stills: {path}")
        train(training)
        runs[name] = RunDir.open(path)
        studies[name] = parts.reader_study(config, runs[name], clips[name])
        studies[name].fit(config.readers, config.seeds, config.workers)
    contrasts = [ReaderContrast.parse(text) for text in config.contrasts]
    planned = plan_contrasts(contrasts, studies, config.seeds)
    tuned = {}
    for head, training in parts.finetunings(config, runs[config.reference]).items():
        few, training = parts.from_frozen(studies[config.reference], training, config.seeds[0])
        path = Path(config.runs.root) / str(training.name)
        say(f"{config.reference} with {head}, end to end: {path}")
        train(training)
        frozen = head if head in config.readers else None
        if frozen:
            few.fit([frozen], config.seeds[:1])  # the reader that the training began as
        tuned[head] = FineTuned.of(RunDir.open(path), few, frozen, config.seeds[:1])
    encoders = [Encoder.of(run, studies[name], config.readers, config.seeds) for name, run in runs.items()]
    results = BenchmarkResults(
        encoders=encoders,
        reference=config.reference,
        contrasts=contrasts,
        verdicts=judge(contrasts, studies, config.seeds, config.relevant),
        plan=planned,
        tuned=tuned,
        curve=low_resource.low_resource(config, studies[config.reference], clips[config.reference]),
        labels=clips[config.reference].labels.names,
        provenance=clips[config.reference].provenance,
        relevant=config.relevant,
    )
    rule = parts.rule(config, runs[config.reference], studies[config.reference])
    return write_benchmark(results, Path(config.out), rule, {each.what: each.amounts for each in costs})
