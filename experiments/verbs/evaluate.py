"""``fer-id evaluate`` and ``fer-id report``: a run's metrics and page, from its predictions, without the model; with
``on=STORE`` its model judges other stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_id.errors import DataError, FerIdError, Problems
from fer_id.evaluation.config import LEAST_FACE, MIN_SUBJECTS, Breakdown
from fer_id.runs.run_dir import RunDir
from fer_id.settings import Clash, setting

if TYPE_CHECKING:
    from fer_id.runs.metrics import Metrics


@dataclass
class RunConfig:
    """Configuration of a verb that takes a finished run and nothing else, such as ``report``."""

    run: str = setting("", required=True, help="folder of a finished run")


@dataclass
class EvaluateConfig(RunConfig):
    """Configuration of an evaluation: the run, its subgroups and risk levels."""

    groups: list[str] = setting([], help="group columns to break the scores down by; empty: all the data has")
    pairs: list[str] = setting([], help="two group columns crossed, as severity:gender")
    min_subjects: int = setting(
        MIN_SUBJECTS, min=2, max=1_000_000, help="a group with fewer subjects is shown, but enters no gap"
    )
    risk: float = setting(0.2, above=0, below=1, help="share of wrong among the answered that flagging is to keep")
    least_face: float = setting(
        LEAST_FACE, min=0, max=1, help="share of a clip's frames that must show the face before it is answered"
    )
    level: float = setting(0.9, above=0, below=1, help="how often a prediction set is to hold the true class")
    on: list[str] = setting(
        [],
        help="judge the run's model (of a cross-validation the mean of its folds' models) on these stores instead, "
        "which it did not learn from; results in RUN/on/<store>",
    )
    other_geometry: bool = setting(
        False, help="with on=: judge faces of another alignment or colour than the model learned from too"
    )
    public: str | None = setting(None, help="also write the groups as they may be shown outside (JSON) to this file")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of pairs that are not two different columns."""
        if wrong := [
            pair for pair in self.pairs if len(set(filter(None, pair.split(":")))) != 2 or pair.count(":") > 1
        ]:
            yield Clash(("pairs",), f"{', '.join(wrong)}: expected two different columns as first:second")
        if self.other_geometry and not self.on:
            yield Clash(("other_geometry",), "is for another store; say on=STORE too")
        if self.public and len(self.on) > 1:
            yield Clash(("public", "on"), "one file for the groups of several stores; name one store")


def evaluate(config: EvaluateConfig) -> str:
    """Compute ``metrics.json``, the figures and the page; return the main metrics, gaps and flagging as text."""
    from fer_id.evaluation.evaluate import Options
    from fer_id.reporting.report import evaluate_run

    run = RunDir.open(config.run, changing=True)
    if config.public is not None:
        _require_outside(Path(config.public), run)
    groups = Breakdown(config.groups, config.pairs, config.min_subjects)
    options = Options(groups, config.risk, config.level, config.least_face)
    if not config.on:
        evaluate_run(run, options)
        return _summary(run, config.public)
    from experiments.training.other_store import evaluate_on

    problems, summaries = Problems("on"), list[str]()
    for store in dict.fromkeys(config.on):
        try:
            result = evaluate_on(run, store, options, other_geometry=config.other_geometry)
            summaries.append(_summary(result, config.public))
        except FerIdError as problem:
            if len(config.on) == 1:
                raise
            problems.add(str(problem), kind=store)
    problems.raise_if_any(DataError, "The results on the other stores are written." if summaries else "")
    return "\n\n".join(summaries)


def _summary(run: RunDir, public: str | None) -> str:
    """Return the main metrics, gaps and flagging of an evaluated run as text; write the public view of its groups."""
    from fer_id.evaluation.affect import SCORES
    from fer_id.evaluation.evaluate import subjects_are_people
    from fer_id.evaluation.groups.disclosure import public_view
    from fer_id.files import write_json
    from fer_id.reporting import doubt
    from fer_id.reporting.words import counted, gap_sentences

    metrics = run.metrics()
    if public is not None:
        if metrics.subgroups is None:
            raise DataError(f"public={public}: no groups of this run to write ({metrics.reason('subgroups')})")
        write_json(Path(public), {"provenance": metrics.provenance, **public_view(metrics.subgroups)})
    people = subjects_are_people(metrics, run.job().store)
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auc", "specificity", "coverage")
    rows = [f"  {name:<16} {'undefined' if metrics[name] is None else format(metrics[name], '.4f')}" for name in names]
    if metrics.rates_affect:
        rows += [f"  {name:<16} {_concordance(metrics, name)}" for name in SCORES]
    size = f"{counted(metrics.n_clips, 'clip')}, {counted(metrics.n_subjects, 'subject')}"
    title = f"{run.path}: {size}, provenance {metrics.provenance}"
    gaps = [f"  {sentence}" for sentence in gap_sentences(metrics.subgroups)]
    unsure = [f"  {sentence}" for sentence in doubt.sentences(metrics, people=people)]
    return "\n".join([title, *rows, *gaps, *unsure, str(run.path / "report.html")])


def _concordance(metrics: Metrics, name: str) -> str:
    """Return a CCC with its interval, or the reason why it is undefined."""
    value, interval = metrics[name], metrics.interval(name)
    if value is None:
        return f"undefined: {metrics.reason(name)}"
    return f"{value:z.4f}" + (f" ({interval.low:z.4f} to {interval.high:z.4f})" if interval else "")


def _require_outside(path: Path, run: RunDir) -> None:
    """Raise DataError, before anything is computed, unless the public file replaces nothing but an older public file:
    ``path`` is a folder, lies inside a run, or is a file that is no public view of groups."""
    from fer_id.files import read_json

    if path.is_dir():
        raise DataError(f"public={path}: is a folder; name a file in it, such as {path / 'groups.json'}")
    if any((folder / "config.yaml").is_file() for folder in path.resolve().parents):
        raise DataError(f"public={path}: lies inside a run, among its own files; choose a file outside of {run.path}")
    if path.exists():
        old = set[str]()
        with suppress(DataError):
            old |= read_json(path, DataError).keys()
        if not {"provenance", "min_subjects", "columns"} <= old:
            raise DataError(f"public={path}: is there already, and holds no public view of groups; choose another name")


def report(config: RunConfig) -> Path:
    """Write the page ``report.html`` from the run's files; return its path."""
    from fer_id.reporting.report import write_report

    return write_report(RunDir.open(config.run, changing=True))
