"""The table of verbs: description, function and configuration, by name, so that nothing is imported."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One line of the table of verbs: description and example command for ``fer-id --help``; the settings that
    arguments without ``=`` fill, and their names there; ``module:function``, which takes the configuration and returns
    what is printed (empty: the function of the verb's name in its module); ``module:dataclass`` of the settings (empty:
    the verb's ``Config`` in that module)."""

    does: str
    example: str
    paths: str = ""
    run: str = ""
    config: str = ""


RUN_ALONE = "experiments.verbs.evaluate:RunConfig"

_VERBS = {
    "prepare": Verb(
        "a raw dataset -> a store of aligned faces",
        "fer-id prepare data=fer2013 data.source=fer2013.csv.gz out=data/fer2013",
    ),
    "synth": Verb(
        "a cohort of drawn children -> a store, with no download",
        "fer-id synth out=data/drawn subjects=12 seed=7",
    ),
    "simulate": Verb(
        "real stills with landmarks -> a store of simulated children's clips",
        "fer-id simulate source=data/ferplus out=data/simulated",
    ),
    "inspect": Verb(
        "what is in a store: provenance, clips by split and class, the leakage audit",
        "fer-id inspect data/drawn",
        "store",
    ),
    "train": Verb(
        "a store -> a run: checkpoints, predictions, metrics, report",
        "fer-id train data=fer2013 data.store=data/fer2013 model=shallow_cnn recipe=tuned name=fer2013/shallow",
        config="experiments.config:TrainConfig",
    ),
    "adapt": Verb(
        "a run and a cohort -> a run: the model fitted to the cohort, judged child by child",
        "fer-id adapt data=cohort data.store=data/site_a_store model=cnn_lstm init.run=runs/drawn/cnn_lstm "
        "adapt.strategy=gradual name=site_a/gradual",
        run="experiments.verbs.train:train",
        config="experiments.config:AdaptConfig",
    ),
    "curve": Verb(
        "adapt at several sizes: what each further child, or earlier clip of the same child, is worth",
        "fer-id curve data=cohort data.store=data/site_a_store model=cnn_lstm init.run=runs/drawn/cnn_lstm "
        "adapt.strategy=linear_probe name=site_a/curve",
    ),
    "evaluate": Verb(
        "metrics and figures of a run again, by group, with gaps between groups; or of its model on=another store",
        'fer-id evaluate runs/drawn/cnn_lstm "groups=[severity,gender]" "pairs=[severity:gender]"',
        "run",
    ),
    "report": Verb(
        "the page of a run (report.html) again", "fer-id report runs/fer2013/shallow", "run", config=RUN_ALONE
    ),
    "compare": Verb("runs side by side: a page and a table", "fer-id compare runs/fer2013/* out=compare", "runs"),
    "benchmark": Verb(
        "encoders learned once on stills, readers of their features of clips: what time is worth, with what power",
        "fer-id benchmark data=simulated data.store=data/simulated pretrain.store=data/ferplus out=compare/benchmark",
    ),
    "surface": Verb(
        "a benchmark's encoder on simulations of other strength, resting faces and movements: from where on time helps",
        "fer-id surface runs/benchmark-small/encoders/conv4 out=compare/surface",
        "run",
    ),
    "sweep": Verb(
        "many trainings of one file in W&B's sweep format, searched by inner validation; sweep resume STUDY goes on",
        "fer-id sweep run lr_augmentation data.store=data/drawn",
        "action file",
    ),
    "controls": Verb(
        "what a run's model makes of whole clips beside single frames, their mean, and frames in another order",
        "fer-id controls runs/drawn/cnn_lstm",
        "run",
        config=RUN_ALONE,
    ),
    "explain": Verb(
        "where a run's model looks: maps on facial regions, leakage, and whether the maps can be believed",
        "fer-id explain runs/drawn/cnn_lstm",
        "run",
        config="experiments.verbs.explain:ExplainRunConfig",
    ),
    "uncertainty": Verb(
        "which clips are ambiguous, which unlike anything seen: several runs (seeds), or the dropout of one",
        "fer-id uncertainty runs/drawn/seed0 runs/drawn/seed1 runs/drawn/seed2",
        "runs",
    ),
    "predict": Verb(
        "a video and a run or bundle -> what it says over time, for a person to review (page, ELAN, BORIS)",
        "fer-id predict video.mp4 run=runs/site_a/final out=prediction",
        "video",
    ),
    "consent": Verb(
        "who of a cohort takes part; taking a child out; the audit log",
        "fer-id consent withdraw SUBJECT cohort=data/site_a store=data/site_a_store",
        "action subject",
    ),
    "wandb": Verb(
        "with a W&B server: the team's dashboard, a sweep that it leads, a local study's configurations",
        "fer-id wandb dashboard project=fer-id entity=our-team",
        "action target",
    ),
    "card": Verb(
        "the model card of a run (card.md): use, data, consent, numbers, limits",
        "fer-id card runs/site_a/gradual",
        "run",
    ),
    "release": Verb(
        "the gate: a signed bundle of a run's model, or every reason why it stays; release verify BUNDLE checks one",
        "fer-id release runs/site_a/final evidence=runs/site_a/gradual policy=research out=bundles/site_a",
        "run bundle",
    ),
    "models": Verb(
        "what models cost: parameters and multiply-adds; model=timm:NAME for one of timm's, timm:PATTERN for many",
        'fer-id models "model=[cnn_lstm,timm:resnet18]"',
    ),
}

_MODULES = {**dict.fromkeys(("prepare", "synth", "simulate", "inspect"), "stores"), "report": "evaluate"}
"""Modules of verbs that share one with others."""


def _placed(name: str, verb: Verb) -> Verb:
    module = f"experiments.verbs.{_MODULES.get(name, name)}"
    return verb._replace(run=verb.run or f"{module}:{name}", config=verb.config or f"{module}:{name.title()}Config")


VERBS = {name: _placed(name, verb) for name, verb in _VERBS.items()}
