"""Mapping from a trial's parameters to its resolved configuration, job hash and folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.config import AdaptConfig, TrainConfig
from experiments.settings.loading import load, plain
from experiments.sweeping.parameters import Value, text
from experiments.sweeping.spec import FORMAT, GRID, OBJECTIVES, VERBS, Sweep, look_at
from fer_id.errors import ConfigError, Problems
from fer_id.runs.configs import job_hash

JUDGING = ("protocol", "data", "data.name", "data.store", "data.label_space", "data.drop_duplicates")
"""Keys that decide which clips validate: trials that differ in them cannot be compared."""

OURS = ("name", "runs", "resume", "logging", "explain", "trainer.monitor")
"""Keys that the sweep sets itself, or that do not affect learning."""

SCHEMAS: dict[str, type[TrainConfig]] = {"train": TrainConfig, "adapt": AdaptConfig}
"""Settings of the trials, by verb."""

MOST_CHECKED = 256
"""Grid points that are resolved before training; in a larger grid each value is resolved, one at a time."""


@dataclass(frozen=True)
class Plan:
    """A sweep file with the name of a study, the folder of all runs, and ``overrides``: ``key=value`` for every trial,
    which win over the file's command."""

    sweep: Sweep
    study: str
    root: str
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return Path(self.root) / self.study

    @property
    def base(self) -> list[str]:
        """Settings (``key=value``) common to all trials."""
        overridden = {_key(setting) for setting in self.overrides}
        base = [setting for setting in self.sweep.base if _key(setting) not in overridden]
        # A metric that is no objective has been reported by the check of the file.
        monitor = [f"trainer.monitor={self.sweep.metric}"] if self.sweep.metric in OBJECTIVES else []
        return [*base, *self.overrides, *monitor, f"runs.root={self.root}"]

    def arguments(self, parameters: Mapping[str, Value], name: str) -> list[str]:
        """Return the arguments of ``fer-id train`` (or ``adapt``) for a trial."""
        return [*self.base, *(text(key, value) for key, value in parameters.items()), f"name={self.study}/{name}"]

    def resolve(self, parameters: Mapping[str, Value]) -> TrainConfig:
        """Return the resolved configuration of a trial, without its name; raise ConfigError with every problem."""
        return load(SCHEMAS[self.sweep.verb], self.arguments(parameters, "trial"))

    def job(self, parameters: Mapping[str, Value]) -> str:
        """Return the job of a trial: the hash of its resolved configuration; raise as :meth:`resolve`."""
        return job_hash(plain(self.resolve(parameters)))

    def first(self) -> dict[str, Value]:
        """Return the first value of every parameter."""
        return {parameter.key: parameter.probes[0] for parameter in self.sweep.parameters}

    def check(self) -> TrainConfig:
        """Resolve every parameter against the typed configuration and return the configuration of the first trial;
        raise ConfigError with every problem: unknown keys, values outside their limits, conflicts, keys not to vary."""
        problems = Problems(f"sweep {self.sweep.name}")
        self.try_out(problems)
        problems.raise_if_any(ConfigError, f"fer-id {self.sweep.verb} --help shows every key with its limits.")
        config = self.resolve(self.first())
        seeds = max((len(values.probes) for values in self.sweep.parameters if values.key == "seed"), default=1)
        if seeds > 1 and config.protocol.name != "official":
            raise ConfigError(
                f"sweep {self.sweep.name}: seed also divides the subjects of protocol={config.protocol.name}, so that "
                "other children would validate; vary it under protocol=official, or run the study again with seed="
            )
        return config

    def require_precision(self, first: TrainConfig) -> None:
        """Raise ConfigError where a trial wants a precision that this machine does not compute in."""
        varied = [parameter.probes for parameter in self.sweep.parameters if parameter.key == "trainer.precision"]
        for precision in map(str, varied[0] if varied else (first.trainer.precision,)):
            if precision not in ("auto", "32"):  # every machine has float32, so torch is not imported for these
                from experiments.training.numerics import require_precision
                from experiments.training.trainer import device

                require_precision(precision, device(first))

    def try_out(self, problems: Problems) -> None:
        """Add the problems of any trial: each value of each parameter is resolved once, in a small grid each point."""
        self._refuse(problems)
        lines: dict[str, None] = {}
        for parameters in self._probes():
            try:
                self.resolve(parameters)
            except ConfigError as error:
                single = [line.removeprefix("  - ") for line in str(error).splitlines() if line.startswith("  - ")]
                lines |= {line.replace("(command line)", "(this sweep)"): None for line in single or [str(error)]}
        problems.found += lines

    def _refuse(self, problems: Problems) -> None:
        keys = {parameter.key for parameter in self.sweep.parameters}
        for key in sorted(keys):
            if _within(key, JUDGING) and not _within(key, ("data.frames", "data.num_workers")):
                problems.add(f"parameters.{key}: trials would be validated on different clips; put it into the command")
            elif _within(key, OURS):
                problems.add(
                    f"parameters.{key}: is not varied by a sweep; give it on the command line, or leave it out"
                )
        for setting in self.overrides:
            if _key(setting) in keys:
                problems.add(f"{setting}: {_key(setting)} is varied by the sweep; take it out of its parameters first")
            elif _within(_key(setting), ("name", "trainer.monitor")):
                problems.add(f"{setting}: the sweep sets {_key(setting)} itself")
        for setting in self.sweep.base:
            if _within(_key(setting), ("name", "runs", "trainer.monitor")):
                problems.add(f"command: {setting}: the sweep sets {_key(setting)} itself; take it out")

    def _probes(self) -> Iterator[dict[str, Value]]:
        if self.sweep.method == GRID and 0 < self.sweep.grid <= MOST_CHECKED:
            yield from self.sweep.points()
            return
        first = self.first()
        yield first
        for parameter in self.sweep.parameters:
            for value in parameter.probes[1:]:
                yield first | {parameter.key: value}


def read_plan(path: Path, name: str | None, root: str, overrides: Sequence[str]) -> Plan:
    """Return the plan of a sweep file; without ``name`` the study is called as the file says. Raise ConfigError with
    every problem of the file, and with those of :meth:`Plan.try_out` where its command and its parameters are sound;
    otherwise these problems would follow from the missing settings alone."""
    sweep, problems = look_at(path)
    plan = Plan(sweep, name or sweep.name, root, tuple(overrides))
    if len(problems) and not any(problem.startswith(("command", "parameters")) for problem in problems.found):
        plan.try_out(problems)
    problems.raise_if_any(ConfigError, f"{FORMAT} fer-id {sweep.verb or VERBS[0]} --help shows every key.")
    return plan


def _key(argument: str) -> str:
    return argument.partition("=")[0]


def _within(key: str, sections: Sequence[str]) -> bool:
    """Return whether a key is in ``sections`` or lies within one of them (the selector ``data`` is no section)."""
    return any(key == section or (section != "data" and key.startswith(f"{section}.")) for section in sections)
