"""What a sweep trains: from the parameters of a trial to its whole configuration, its name and its folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.config import RunsConfig, TrainConfig
from experiments.loading import load, plain
from experiments.sweeping.ledger import place
from experiments.sweeping.parameters import Value, text
from experiments.sweeping.spec import FORMAT, GRID, OBJECTIVES, VERBS, Sweep, look_at
from fer_id.errors import ConfigError, Problems
from fer_id.run_configs import job_hash

JUDGING = ("protocol", "data", "data.name", "data.store", "data.label_space", "data.drop_duplicates")
"""What decides who validates: trials that differ in it cannot be compared."""

OURS = ("name", "runs", "resume", "logging", "explain", "trainer.monitor")
"""What the sweep sets itself, or what is no matter of learning."""

MOST_CHECKED = 256
"""Points of a grid that are resolved before anything is trained; of a larger one every value is, one at a time."""


@dataclass(frozen=True)
class Plan:
    """A sweep with the settings of one study.

    Attributes:
        sweep: the file.
        study: its name.
        root: folder of all runs.
        overrides: ``key=value`` for every trial; they win over the file's command.
    """

    sweep: Sweep
    study: str
    root: str
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Of the study."""
        return Path(self.root) / self.study

    @property
    def base(self) -> list[str]:
        """``key=value`` of every trial."""
        ours = {_key(one) for one in self.overrides}
        kept = [one for one in self.sweep.base if _key(one) not in ours]
        # What is no objective, the file's own check has told already.
        monitor = [f"trainer.monitor={self.sweep.metric}"] if self.sweep.metric in OBJECTIVES else []
        return [*kept, *self.overrides, *monitor, f"runs.root={self.root}"]

    def arguments(self, parameters: Mapping[str, Value], name: str) -> list[str]:
        """What ``fer-id train`` (or ``adapt``) would be told."""
        return [*self.base, *(text(key, value) for key, value in parameters.items()), f"name={self.study}/{name}"]

    def resolve(self, parameters: Mapping[str, Value]) -> TrainConfig:
        """The whole configuration of a trial, without its name.

        Raises:
            ConfigError: with every problem.
        """
        return load(schema(self.sweep.verb), self.arguments(parameters, "trial"))

    def job(self, parameters: Mapping[str, Value]) -> str:
        """The name of a trial: the hash of its resolved configuration.

        Raises:
            ConfigError: as :meth:`resolve`.
        """
        return job_hash(plain(self.resolve(parameters)))

    def name(self, fold: str | None, job: str) -> str:
        """Of a trial's folder, inside the study."""
        return place(fold, job)

    def path(self, fold: str | None, job: str) -> Path:
        """A trial's RunDir."""
        return self.folder / self.name(fold, job)

    def first(self) -> dict[str, Value]:
        """The first value of every parameter."""
        return {one.key: one.probes[0] for one in self.sweep.parameters}

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every point of a grid, the last parameter changing fastest."""
        keys = [one.key for one in self.sweep.parameters]
        for point in itertools.product(*(one.points or () for one in self.sweep.parameters)):
            yield dict(zip(keys, point, strict=True))

    def check(self) -> TrainConfig:
        """The configuration of one trial, after every parameter was tried against the typed configuration.

        Raises:
            ConfigError: with every problem: unknown keys, values out of their limits, combinations that clash, what
                may not be varied.
        """
        problems = Problems(f"sweep {self.sweep.name}")
        self.try_out(problems)
        problems.raise_if_any(ConfigError, f"fer-id {self.sweep.verb} --help shows every key with its limits.")
        config = self.resolve(self.first())
        divides = config.protocol.name != "official"
        if divides and any(one.key == "seed" and len(one.probes) > 1 for one in self.sweep.parameters):
            raise ConfigError(
                f"sweep {self.sweep.name}: seed also divides the subjects of protocol={config.protocol.name}, so that "
                "other children would validate; vary it under protocol=official, or run the study again with seed="
            )
        return config

    def require_precision(self, first: TrainConfig) -> None:
        """Raises ConfigError where a trial asks for a precision that this machine does not compute in."""
        varied = [one.probes for one in self.sweep.parameters if one.key == "trainer.precision"]
        for precision in map(str, varied[0] if varied else (first.trainer.precision,)):
            if precision not in ("auto", "32"):  # every machine has float32, so torch is not imported for these
                from experiments.numerics import require_precision
                from experiments.trainer import device

                require_precision(precision, device(first))

    def try_out(self, problems: Problems) -> None:
        """Adds what is wrong with any trial: every value of every parameter is resolved once, of a small grid every
        point."""
        self._refuse(problems)
        found: dict[str, None] = {}
        for parameters in self._probes():
            try:
                self.resolve(parameters)
            except ConfigError as error:
                found |= dict.fromkeys(_listed(error))
        for line in found:
            problems.add(line)

    def _refuse(self, problems: Problems) -> None:
        keys = {one.key for one in self.sweep.parameters}
        for key in sorted(keys):
            if _within(key, JUDGING) and not _within(key, ("data.frames", "data.num_workers")):
                problems.add(f"parameters.{key}: trials would be validated on different clips; put it into the command")
            elif _within(key, OURS):
                problems.add(
                    f"parameters.{key}: is not varied by a sweep; give it on the command line, or leave it out"
                )
        for one in self.overrides:
            if _key(one) in keys:
                problems.add(f"{one}: {_key(one)} is varied by the sweep; take it out of its parameters first")
            elif _within(_key(one), ("name", "trainer.monitor")):
                problems.add(f"{one}: the sweep sets {_key(one)} itself")
        for one in self.sweep.base:
            if _within(_key(one), ("name", "runs", "trainer.monitor")):
                problems.add(f"command: {one}: the sweep sets {_key(one)} itself; take it out")

    def _probes(self) -> Iterator[dict[str, Value]]:
        if self.sweep.method == GRID and 0 < self.sweep.grid <= MOST_CHECKED:
            yield from self.grid()
            return
        first = self.first()
        yield first
        for one in self.sweep.parameters:
            for value in one.probes[1:]:
                yield first | {one.key: value}


def read_plan(path: Path, name: str | None, root: str, overrides: Sequence[str]) -> Plan:
    """The plan of a sweep file.

    Args:
        path: the file.
        name: of the study; None: as the file says.
        root: folder of all runs.
        overrides: ``key=value`` for every trial.

    Raises:
        ConfigError: the file is wrong; with what :meth:`Plan.check` finds too, where the command and the parameters
            are sound: without some of them, the others would be blamed for what is missing.
    """
    sweep, problems = look_at(path)
    plan = Plan(sweep, name or sweep.name, root, tuple(overrides))
    if len(problems) and not any(one.startswith(("command", "parameters")) for one in problems.found):
        plan.try_out(problems)
    problems.raise_if_any(ConfigError, f"{FORMAT} fer-id {sweep.verb or VERBS[0]} --help shows every key.")
    return plan


def schema(verb: str) -> type[TrainConfig]:
    """The settings of ``train`` or ``adapt``; that of the latter lies beside what imports torch."""
    if verb == "train":
        return TrainConfig
    from experiments.adapt import AdaptConfig

    return AdaptConfig


def named(config: TrainConfig, plan: Plan, name: str) -> TrainConfig:
    """The configuration with the place of its run."""
    return replace(config, name=f"{plan.study}/{name}", runs=RunsConfig(plan.root))


def _key(argument: str) -> str:
    return argument.partition("=")[0]


def _within(key: str, sections: Sequence[str]) -> bool:
    """Whether a key is one of these, or lies in a section among them (the selector ``data`` is no section)."""
    selectors = ("data",)
    return any(key == one or (one not in selectors and key.startswith(f"{one}.")) for one in sections)


def _listed(error: ConfigError) -> list[str]:
    """The single problems of an error that lists several."""
    lines = [line.removeprefix("  - ") for line in str(error).splitlines() if line.startswith("  - ")]
    return [line.replace("(command line)", "(this sweep)") for line in lines] or [str(error)]
