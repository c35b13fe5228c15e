"""``fer-id VERB [PATH...] [key=value...]``: finds the verb, reads its settings, runs it, and says how it ended.

Only what every verb needs is imported here; torch, pandas and the rest come with the verb that uses them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from experiments.stopping import Terminated, machine_fault, terminable
from fer_id.errors import MOST_CHARACTERS, FerIdError, brief, cut, quoted
from fer_id.places import figure_cache
from fer_id.progress import say

DONE, OUR_FAULT, USERS_FAULT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Verb(NamedTuple):
    """One line of the table of verbs.

    Attributes:
        does: what ``fer-id --help`` says about it.
        run: ``module:function``; the function takes the config, and what it returns is printed.
        config: ``module:dataclass`` of its settings.
        paths: the settings that arguments without ``=`` fill, and how ``--help`` calls them; empty: none.
        example: a command that works.
    """

    does: str
    run: str
    config: str
    example: str
    paths: str = ""


VERBS = {
    "prepare": Verb(
        "a raw dataset -> a store of aligned faces",
        "experiments.prepare:prepare",
        "experiments.prepare:PrepareConfig",
        "fer-id prepare data=fer2013 data.source=fer2013.csv.gz out=data/fer2013",
    ),
    "synth": Verb(
        "a cohort of drawn children -> a store, with no download",
        "experiments.synth:synth",
        "experiments.synth:SynthConfig",
        "fer-id synth out=data/drawn subjects=12 seed=7",
    ),
    "simulate": Verb(
        "real stills with landmarks -> a store of simulated children's clips",
        "experiments.simulate:simulate",
        "experiments.simulate:SimulateConfig",
        "fer-id simulate source=data/ferplus out=data/simulated",
    ),
    "inspect": Verb(
        "what is in a store: provenance, clips by split and class, the leakage audit",
        "experiments.inspect:inspect",
        "experiments.inspect:InspectConfig",
        "fer-id inspect data/drawn",
        "store",
    ),
    "train": Verb(
        "a store -> a run: checkpoints, predictions, metrics, report",
        "experiments.train:train",
        "experiments.config:TrainConfig",
        "fer-id train data=fer2013 data.store=data/fer2013 model=shallow_cnn recipe=tuned name=fer2013/shallow",
    ),
    "adapt": Verb(
        "a run and a cohort -> a run: the model fitted to the cohort, judged child by child",
        "experiments.adapt:adapt",
        "experiments.adapt:AdaptConfig",
        "fer-id adapt data=cohort data.store=data/site_a_store model=cnn_lstm init.run=runs/drawn/cnn_lstm "
        "adapt.strategy=gradual name=site_a/gradual",
    ),
    "curve": Verb(
        "adapt at several sizes: what each further child, or earlier clip of the same child, is worth",
        "experiments.curve:curve",
        "experiments.curve:CurveConfig",
        "fer-id curve data=cohort data.store=data/site_a_store model=cnn_lstm init.run=runs/drawn/cnn_lstm "
        "adapt.strategy=linear_probe name=site_a/curve",
    ),
    "evaluate": Verb(
        "metrics and figures of a run again, from its predictions; scores by group, and gaps between groups",
        "experiments.evaluate:evaluate",
        "experiments.evaluate:EvaluateConfig",
        "fer-id evaluate runs/drawn/cnn_lstm groups=[severity,gender] pairs=[severity:gender]",
        "run",
    ),
    "report": Verb(
        "the page of a run (report.html) again",
        "experiments.evaluate:report",
        "experiments.evaluate:ReportConfig",
        "fer-id report runs/fer2013/shallow",
        "run",
    ),
    "compare": Verb(
        "runs side by side: a page and a table",
        "experiments.compare:compare",
        "experiments.compare:CompareConfig",
        "fer-id compare runs/fer2013/* out=compare",
        "runs",
    ),
    "benchmark": Verb(
        "the paper's five models on one store, alike: Table 4, Table 5, and whether time matters, on one page",
        "experiments.benchmark:benchmark",
        "experiments.benchmark:BenchmarkConfig",
        "fer-id benchmark data=simulated data.store=data/simulated benchmark=small out=compare/benchmark",
    ),
    "sweep": Verb(
        "many trainings of one file in W&B's sweep format, searched by inner validation; sweep resume STUDY goes on",
        "experiments.sweep:sweep",
        "experiments.sweep:SweepConfig",
        "fer-id sweep run lr_augmentation data.store=data/drawn",
        "action file",
    ),
    "controls": Verb(
        "does time matter to a run's model: single frames, their mean, other orders, beside whole clips",
        "experiments.controls:controls",
        "experiments.controls:ControlsConfig",
        "fer-id controls runs/drawn/cnn_lstm",
        "run",
    ),
    "explain": Verb(
        "where a run's model looks: maps on facial regions, leakage, and whether the maps can be believed",
        "experiments.explain:explain",
        "experiments.explain:ExplainRunConfig",
        "fer-id explain runs/drawn/cnn_lstm",
        "run",
    ),
    "uncertainty": Verb(
        "which clips are ambiguous, which unlike anything seen: several runs (seeds), or the dropout of one",
        "experiments.uncertainty:uncertainty",
        "experiments.uncertainty:UncertaintyConfig",
        "fer-id uncertainty runs/drawn/seed0 runs/drawn/seed1 runs/drawn/seed2",
        "runs",
    ),
    "predict": Verb(
        "a video and a run or bundle -> what it says over time, for a person to review (page, ELAN, BORIS)",
        "experiments.predict:predict",
        "experiments.predict:PredictConfig",
        "fer-id predict video.mp4 run=runs/site_a/all out=prediction",
        "video",
    ),
    "consent": Verb(
        "who of a cohort takes part; taking a child out; the audit log",
        "experiments.consent:consent",
        "experiments.consent:ConsentConfig",
        "fer-id consent withdraw SUBJECT cohort=data/site_a store=data/site_a_store",
        "action subject",
    ),
    "wandb": Verb(
        "with a W&B server: the team's dashboard, a sweep that it leads, a local study's configurations",
        "experiments.online.verb:talk",
        "experiments.online.verb:WandbConfig",
        "fer-id wandb dashboard project=fer-id entity=our-team",
        "action target",
    ),
    "card": Verb(
        "the model card of a run (card.md): use, data, consent, numbers, limits",
        "experiments.card:card",
        "experiments.card:CardConfig",
        "fer-id card runs/site_a/gradual",
        "run",
    ),
    "release": Verb(
        "the gate: a signed bundle of a run's model, or every reason why it stays; release verify BUNDLE checks one",
        "experiments.release:release",
        "experiments.release:ReleaseConfig",
        "fer-id release runs/site_a/final evidence=runs/site_a/gradual policy=research out=bundles/site_a",
        "run bundle",
    ),
    "models": Verb(
        "what models cost: parameters and multiply-adds; model=timm:NAME for one of timm's, timm:PATTERN for many",
        "experiments.models:models",
        "experiments.models:ModelsConfig",
        "fer-id models model=[cnn_lstm,timm:resnet18]",
    ),
}

CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed here (ulimit -f)",
    errno.EMFILE: "more files are open than is allowed here (ulimit -n)",
    errno.ENFILE: "more files are open than the machine allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ELOOP: "a link leads to itself",
    errno.ENAMETOOLONG: "a name is too long for this disk",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after ``fer-id``; None takes the process's own.

    Returns:
        the exit code: 0 done, 2 the user can mend it, 1 our fault, 130 interrupted, 143 terminated.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`); open until the end
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows ASCII only; names of files that are no text
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("MPLCONFIGDIR", str(figure_cache()))
    return _flushed(_ended(list(sys.argv[1:] if argv is None else argv)))


def _ended(argv: list[str]) -> int:
    """Run one command and return its exit code, whichever way it ends."""
    try:
        with terminable():
            return _dispatch(argv)
    except FerIdError as error:
        message = f"fer-id: {error}"
        return _say(message if error.whole else brief(message), USERS_FAULT)
    except KeyboardInterrupt:
        return _say("\nfer-id: interrupted; the same command takes up what can be resumed", INTERRUPTED)
    except Terminated:
        return _say("fer-id: terminated; the same command takes up what can be resumed", TERMINATED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        return DONE
    except UnicodeEncodeError as error:
        if not any(unicodedata.category(letter) == "Cs" for letter in error.object):
            return _our_fault()
        return _say(f"fer-id: {error.object[:60]!a}: a name that is not UTF-8 text; rename that file", USERS_FAULT)
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            where = f": {cut(error.filename, MOST_CHARACTERS // 2)}" if error.filename else ""
            left = "nothing half-written is left, and the same command goes on once this is mended"
            return _say(f"fer-id: {CANNOT_WRITE[error.errno]}{where}; {left}", USERS_FAULT)
        return _our_fault()
    except Exception as error:
        if (fault := machine_fault(error)) is not None:  # memory for a model that is built, outside of any training
            return _say(f"fer-id: {fault}", USERS_FAULT)
        return _our_fault()


def _flushed(code: int) -> int:
    """Flush standard output and return the exit code: that of the command, or of a disk that takes no more output."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        result = code
    except OSError as error:
        result = code or _say(f"fer-id: standard output: {CANNOT_WRITE.get(error.errno or 0, error)}", USERS_FAULT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter flushes again, and complains
    return result


def _dispatch(argv: list[str]) -> int:
    """The verb's work, or the help that was asked for."""
    from experiments.usage import overview, verb_help

    name, arguments = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(overview(VERBS))
        return DONE
    if name not in VERBS:
        near = get_close_matches(name, VERBS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ";"
        return _say(f"fer-id: there is no verb {quoted(name)}{meant} Known: {', '.join(VERBS)}", USERS_FAULT)
    verb = VERBS[name]
    schema = _find(verb.config)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(verb_help(name, verb, schema, arguments))
        return DONE
    from experiments.loading import load

    config = load(schema, arguments, verb.paths)  # first: a mistake in it is told before torch is imported
    result = _find(verb.run)(config)
    if result is not None:
        print(result)
    return DONE


def _find(target: str) -> Any:
    """What ``module:name`` says, imported now."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _say(message: str, code: int) -> int:
    say(message)
    return code


def _our_fault() -> int:
    traceback.print_exc()
    return _say("fer-id: this is a fault of fer-id, not of your input; please report the lines above", OUR_FAULT)


if __name__ == "__main__":
    sys.exit(main())
