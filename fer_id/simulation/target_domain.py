"""``fer-id simulate``: clips of simulated children from real stills, with provenance ``simulated``.

A simulated child is one neutral still with made-up traits, which are unrelated to the person in the picture. Intervals
over subjects describe simulated children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.processes import in_processes
from fer_id.progress import track
from fer_id.simulation import strips
from fer_id.simulation.casting import MIXED, cast, casting_of, subject_of
from fer_id.simulation.child import GROUPS, SPEED, Role, simulate_child, simulate_clip
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import FIXED
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN
from fer_id.simulation.drawn.traits import SEVERITIES, SPREAD, YOUNG
from fer_id.simulation.stills import Stills
from fer_id.store.card import SIMULATION, StoreCard
from fer_id.store.writer import ClipStoreWriter


def write_simulated_store(
    stills: Stills,
    config: DomainConfig,
    out: Path,
    *,
    roles: Sequence[Role] | None = None,
    overwrite: bool = False,
    workers: int = 0,
    pictures: bool = True,
) -> StoreCard:
    """Simulate every child, or those of ``roles``, into a ClipStore at ``out``; identical for any number of workers.

    ``pictures``: film strips beside the store, for inspection. StoreError: ``out`` exists, or cannot be written.
    """
    roles = list(cast(stills, config) if roles is None else roles)
    calls = ((casting_of(stills, config, role), config) for role in roles)
    simulated = in_processes(simulate_child, calls, len(roles), workers)
    with ClipStoreWriter(out, _card(stills, config, roles), overwrite=overwrite) as writer:
        lost = folds = 0
        for clips in track(simulated, "simulating children", len(roles)):
            for row, clip, folded in clips:
                writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
                lost, folds = lost + int((~clip.valid).sum()), folds + folded
        if pictures:
            film_strips(stills, config, roles, writer.draft / "strips.png")
        writer.card.audit = {
            "stills_left_out": {**stills.left_out},
            "stills_obstructed": {**stills.obstructed},
            "frames_without_face": lost,
            "frames_folded": folds,
        }
        return writer.card


def film_strips(stills: Stills, config: DomainConfig, roles: list[Role], out: Path) -> Path:
    """Write strips for visual inspection into the PNG ``out``: a test child of each severity, the first two clips of
    each emotion."""
    frames, most = strips.strip_frames(config.frames), min(2, config.clips_per_emotion)
    tested = [role for role in roles if role.split == "test"]
    people = {role.number: subject_of(role.split, role.number, config, stills.tag).traits for role in tested}
    by_severity = {people[role.number].severity: role for role in reversed(tested)}
    chosen = [by_severity[severity] for severity in SEVERITIES if severity in by_severity]
    castings = [casting_of(stills, config, role) for role in chosen]
    rows = []
    for emotion, number in product(TARGET.names, range(most)):
        clips = [simulate_clip(casting, emotion, number, config) for casting in castings]
        rows.append([strips.film(clip.frames[frames], np.array(row["intensity"])[frames]) for row, clip, _ in clips])
    caption = "simulated: an expression brought into a neutral still; the line is e(t); black: no face"
    return strips.draw(rows, [people[role.number] for role in chosen], caption, out)


def _card(stills: Stills, config: DomainConfig, roles: list[Role]) -> StoreCard:
    source, names = stills.store, stills.store.clips["clip_id"]
    used = {split: set[int]().union(*(role.rows for role in roles if role.split == split)) for split in SPLITS}
    return StoreCard(
        provenance="simulated",
        label_space=TARGET.name,
        shard_by="subject_id",
        source="simulate",
        geometry=source.card.geometry,
        parameters={
            **asdict(config),
            "simulation": SIMULATION,
            "stills": {split: sorted(map(str, names.iloc[sorted(rows)])) for split, rows in used.items()},
            "between_subjects": SPREAD,
            "youngest": YOUNG,
            "fixed": {**FIXED, "align_noise": ALIGN_NOISE, "hidden": HIDDEN, "mixed": MIXED, "speed": SPEED},
            "from": source.card.source,
            "from_fingerprint": source.fingerprint,
            "neutral_faces_learned_from": stills.taught,
        },
        versions={name: version(name) for name in ("numpy", "opencv-python-headless")},
        groups=list(GROUPS),
        landmarks_from=source.card.landmarks_from,
        notes=[
            "Simulated: expressions of stills brought into other people's neutral stills. A subject is a neutral still "
            "with made-up traits, so a score says nothing about children, and an interval describes simulated ones."
        ],
    )
