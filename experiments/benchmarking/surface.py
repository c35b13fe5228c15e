"""Points of a response surface: a small simulated store each, of which the features alone stay.

    <runs.root>/<name>/<settings>-<digest>/clips.parquet    the clips with their splits
                                          /features/        see fer_id.readers.frame_features
                                          /readers/         see fer_id.readers.study

The digest is of everything that the features depend on, so a point that exists is never made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from data_modules.config import DataConfig
from data_modules.simulated import SimulatedDataModule
from data_modules.sources import require_left_out
from experiments.benchmarking import budget
from experiments.benchmarking.parts import encode
from experiments.benchmarking.surface_config import SurfaceConfig
from experiments.settings.loading import load
from experiments.training.trained_model import TrainedModel
from experiments.verbs.controls import require_one_length
from fer_id.errors import LeakageError, RunError, StoreError
from fer_id.evaluation.config import SPLITS, Fold
from fer_id.files import atomic_write_bytes, sha256
from fer_id.labels import TARGET
from fer_id.models.build import model_cost
from fer_id.parquet import read_parquet
from fer_id.readers.frame_features import FrameFeatures, Origin
from fer_id.readers.study import ReaderStudy
from fer_id.readers.surface import Point
from fer_id.runs.run_dir import RunDir
from fer_id.simulation.casting import cast
from fer_id.simulation.child import Role
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.stills import Stills, choose_stills
from fer_id.simulation.target_domain import write_simulated_store
from fer_id.store.card import SIMULATION
from fer_id.store.reader import ClipStore


@dataclass(frozen=True)
class Grid:
    """Parts that all points share: a trained encoder, the stills it learned, and the simulation whose judged stills it
    left out, of which every point has the first ``children``."""

    run: RunDir
    source: ClipStore
    excluded: ClipStore
    domain: DomainConfig
    children: Sequence[int]
    updates: int
    workers: int
    root: Path

    @classmethod
    def open(cls, config: SurfaceConfig) -> Grid:
        """Open the encoder and its stores.

        Raises:
            RunError, StoreError: a run or store that cannot be opened, or is not the one recorded.
            LeakageError: the encoder did not leave out the stills that judged clips were made of.
        """
        run = RunDir.open(config.run)
        data = run.config()["data"]
        stills = str(config.source or next(iter(data["store"])))
        clips = config.clips or data.get("excluding")
        if clips is None:
            raise LeakageError(
                f"{run.path} learned stills without data.excluding, maybe those that clips here are judged by: take an "
                "encoder of fer-id benchmark, or train it with data.excluding=STORE, the simulated store"
            )
        source, excluded = ClipStore.open(stills), ClipStore.open(str(clips))
        run.require_store(source.fingerprint)
        require_left_out(excluded, excluded, run.job().store.left_out, str(run.path))
        domain, root = _domain(excluded, source), Path(config.runs.root) / config.name
        return cls(run, source, excluded, domain, config.subjects, config.reader_updates, config.workers, root)

    @cached_property
    def trained(self) -> TrainedModel:
        """The encoder."""
        return TrainedModel.open(self.run)

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the encoder's checkpoint."""
        return sha256(self.run.checkpoint())

    @cached_property
    def stills(self) -> Stills:
        """The stills that can be animated: no varied setting changes them."""
        return choose_stills(self.source, self.domain)

    @cached_property
    def roles(self) -> list[Role]:
        """Children of every point, with the stills of their clips."""
        roles = cast(self.stills, self.domain)
        return [role for role in roles if role.number < self.children[SPLITS.index(role.split)]]

    def at(self, point: Point) -> DomainConfig:
        """Return the settings of the simulation at a point."""
        return replace(self.domain, peak=point.peak, resting=point.resting, strays=point.strays)

    def digest(self, point: Point) -> str:
        """Return a digest of what the features of a point depend on."""
        facts = [SIMULATION, self.weights, self.source.fingerprint, asdict(self.at(point)), list(self.children)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def folder(self, point: Point) -> Path:
        """Return the folder of a point."""
        values = f"peak{point.peak:g}-resting{point.resting:g}-strays{point.strays:g}"
        return self.root / f"{values}-{self.digest(point)[:12]}"

    def missing(self, points: Sequence[Point]) -> list[Point]:
        """Return the points whose features do not exist."""
        return [point for point in points if not (self.folder(point) / "features").exists()]

    def study(self, point: Point) -> ReaderStudy:
        """Return the readers of a point, after simulating and encoding its clips where no features exist."""
        folder = self.folder(point)
        if self.missing([point]):
            self._make(point)
        again = f"remove the folder, and the same `fer-id surface` command makes the point again: rm -r {folder}"
        clips = read_parquet(folder / "clips.parquet", RunError, again)
        origin = self._origin(point, clips["clip_id"].tolist())
        rows = {split: np.flatnonzero(clips["split"] == split) for split in SPLITS}
        features = FrameFeatures.open(folder / "features", origin)
        fold = Fold("official", rows["train"], rows["validation"], rows["test"], {})
        return ReaderStudy(folder / "readers", features, origin, clips, fold, TARGET, updates=self.updates)

    def _make(self, point: Point) -> None:
        """Simulate the clips of a point and encode them; of the simulated store nothing stays."""
        folder = self.folder(point)
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".store.*"):  # of a process that was killed
            shutil.rmtree(unfinished)
        with TemporaryDirectory(dir=folder, prefix=".store.") as draft:
            store = Path(draft) / "store"
            write_simulated_store(
                self.stills, self.at(point), store, roles=self.roles, workers=self.workers, pictures=False
            )
            data = SimulatedDataModule(DataConfig(name="simulated", store=[str(store)], num_workers=0), "official")
            data.setup()
            require_left_out(data.stores[0], self.excluded, self.run.job().store.left_out, str(self.run.path))
            fold = data.fold
            rows = np.unique(np.concatenate([getattr(fold, split) for split in SPLITS]))
            clips = data.clips.iloc[rows].reset_index(drop=True)
            require_one_length(self.run, clips["length"])
            atomic_write_bytes(folder / "clips.parquet", clips.to_parquet(index=False))
            origin = self._origin(point, clips["clip_id"].tolist())
            encode(self.trained, data, rows, folder / "features", origin)

    def _origin(self, point: Point, clip_ids: Sequence[str]) -> Origin:
        return Origin.of(self.weights, self.digest(point), clip_ids)

    def costs(self, points: Sequence[Point], readers: Sequence[str], seeds: Sequence[int]) -> list[budget.Cost]:
        """Return what the points cost whose features do not exist, and the readers of all points."""
        missing = self.missing(points)
        children = [min(pair) for pair in zip(self.children, self.domain.subjects, strict=True)]
        each = self.domain.clips_per_emotion * len(TARGET.names)
        clips = len(missing) * sum(children) * each
        costs = [budget.of_readers(readers, len(seeds), [children[0] * each] * len(points))]
        if missing:
            costs.append(budget.of_simulation(len(self.source), clips))
            cost = model_cost(self.trained.config.model)
            costs.append(budget.of_features(cost, clips, self.domain.frames))
        return costs


def _domain(simulated: ClipStore, source: ClipStore) -> DomainConfig:
    """Return the settings of the simulation of a store, from its card; raise StoreError where ``source`` is not what
    the store was made of as it is now, or an earlier simulation made it."""
    made = simulated.card.settings
    if made.simulation != SIMULATION or made.from_fingerprint != source.fingerprint:
        raise StoreError(
            f"{simulated.path} was not simulated from {source.path} as it is now, or by an earlier version: its "
            "children cannot be made again with other settings. Simulate again (fer-id simulate "
            f"source={source.path} out={simulated.path} overwrite=true), and train the encoder again (fer-id benchmark)"
        )
    parameters, arguments = simulated.card.parameters, []
    for field in fields(DomainConfig):
        value = parameters.get(field.name, getattr(DomainConfig(), field.name))
        value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        parts = value.items() if isinstance(value, dict) else [("", value)]
        arguments += [f"{field.name}.{key}".rstrip(".") + f"={json.dumps(part)}" for key, part in parts]
    return load(DomainConfig, arguments)
