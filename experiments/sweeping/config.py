"""Settings of ``fer-id sweep``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.config import RunsConfig
from fer_id.settings import REST, WORD, Clash, setting

RUN, RESUME = "run", "resume"


@dataclass
class RayConfig:
    """The machines that run the trials."""

    address: str | None = setting(
        None, help="host:port of a Ray cluster whose machines all see runs.root and the stores; null: this machine"
    )


@dataclass
class SweepConfig:
    """A sweep; any key of `fer-id train` (or adapt) beside these holds for every trial, such as data.store=FOLDER."""

    action: str = setting(RUN, choices=(RUN, RESUME), help="run: FILE, or go on with it; resume: the folder of a study")
    file: str = setting(
        "",
        required=True,
        help="run: a .yaml in W&B's sweep format, or a shipped one by name; resume: the study's folder",
    )
    name: str | None = setting(None, help="folder of the study under runs.root; null: the name in the file", kind=WORD)
    run_cap: int | None = setting(
        None,
        min=1,
        max=1_000_000,
        help="configurations at most (in every outer fold); null: as the file says; a resumed study may get more",
    )
    search_seed: int = setting(0, min=0, max=2**32 - 1, help="random seed of what the methods random and bayes try")
    cpus: int = setting(1, min=1, max=1024, help="cores of each trial, which is also its number of threads")
    gpus: float | None = setting(
        None, min=0, max=64, help="GPUs of each trial, 0.5 for two on one; null: one where there is any"
    )
    concurrent: int | None = setting(None, min=1, max=1024, help="trials side by side; null: as many as fit")
    ray: RayConfig = field(default_factory=RayConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    overrides: list[str] = setting([], kind=REST, help="key=value of the trials, written as they are: no overrides=")

    def clashes(self) -> Iterator[Clash]:
        """Yield overrides of a resumed study, whose settings are fixed."""
        if self.action == RESUME and self.overrides:
            yield Clash(
                ("overrides",),
                f"{' '.join(self.overrides)}: a study goes on with the settings it was begun with; run the file "
                "under another name= to change them",
            )
