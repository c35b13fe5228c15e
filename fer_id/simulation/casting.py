"""Simulated children: one neutral still each, and the stills whose expressions are brought into its clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.simulation.child import Casting, Role
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import Subject
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.expression import ACTION_UNITS
from fer_id.simulation.drawn.traits import LEAST_PEAK, sample_look, sample_traits
from fer_id.simulation.driving import Expression, uncrossed
from fer_id.simulation.stills import Rows, Stills

MIXED = 3
"""Number of stills whose displacements are a child's own way of a class."""

_NEAR = 10  # stills of a class, nearest in head pose, of which they are drawn
_CHOICE = 4  # stills to choose from for each clip, where there are many
_NEVER = 1e6  # cost that no pose has


def cast(stills: Stills, config: DomainConfig, splits: Sequence[str] = SPLITS) -> Iterator[Role]:
    """Yield the children of each split; no neutral still becomes two children.

    Within a class, no still comes a second time before all came once, and none comes twice to one child. Of what these
    rules permit, the stills nearest to the child's head pose are taken.
    """
    for split in splits:
        place = SPLITS.index(split)
        rng = np.random.default_rng([config.seed, place])
        bases = rng.permutation(stills.bases[split])[: config.subjects[place]]
        clips, ways = {}, {}
        for name, rows in stills.rows[split].items():
            cost = _apart(stills, bases, rows)
            clips[name] = rows[deal(cost, config.clips_per_emotion, rng)]
            near = np.argsort(cost, axis=1)[:, :_NEAR]
            ways[name] = rows[rng.permuted(near, axis=1)[:, :MIXED]]
        for number, base in enumerate(bases.tolist()):
            mine = ({name: rows[number].tolist() for name, rows in part.items()} for part in (clips, ways))
            yield Role(split, number, base, *mine)


def _apart(stills: Stills, bases: Rows, rows: Rows) -> Array:
    """Compute the mean square distance (S, N) between head poses, which neutral shapes tell; a still is no match for
    itself."""
    heads = [stills.neutral[part].reshape(len(part), -1) for part in (bases, rows)]
    square = [np.square(head).sum(axis=1) for head in heads]
    apart = square[0][:, None] + square[1] - 2 * heads[0] @ heads[1].T
    return np.where(bases[:, None] == rows, _NEVER, apart / heads[0].shape[1])


def deal(cost: Array, each: int, rng: np.random.Generator) -> Rows:
    """Deal ``each`` of N stills to each of S children at the least ``cost`` (S, N) in all, (S, each).

    No still is dealt a second time before all were dealt once.
    """
    children, stills = cost.shape
    waiting = rng.permutation(np.repeat(np.arange(children), each))
    dealt: list[list[int]] = [[] for _ in range(children)]
    cost = cost.copy()
    while len(waiting):
        now, waiting = waiting[:stills], waiting[stills:]
        offered = rng.permutation(stills)[: max(_CHOICE * len(now), each)]
        for place, still in zip(*linear_sum_assignment(cost[np.ix_(now, offered)]), strict=True):
            child, row = int(now[place]), int(offered[still])
            dealt[child].append(row)
            cost[child, row] = _NEVER
    return np.array(dealt, np.int64)


def subject_of(split: str, number: int, config: DomainConfig, tag: str = "") -> Subject:
    """Draw a simulated subject, a function of the seed, the split and the number; ``tag`` is part of its name."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), number])
    drawn = sample_traits(number, config.seed, rng, config.degrees, config.parts.tolist(), config.gaps)
    own, sign = drawn.dynamics, 1 if drawn.gender == "female" else -1
    late = 1 + config.gaps * (config.young_onset - 1) if drawn.age_group == "05-08" else 1.0
    own = replace(
        own,
        peak=float(np.clip(own.peak + config.gaps * sign * config.gender_peak / 2, LEAST_PEAK, 1)),
        onset_s=own.onset_s * late,
    )
    traits = replace(drawn, subject_id=f"sim{tag}{config.seed}-{split}-{number:03d}", dynamics=own)
    units = len(ACTION_UNITS)
    still_face = {name: np.zeros(units) for name in TARGET.names}
    look = sample_look(drawn.age_group, drawn.gender, drawn.ethnicity, rng)
    return Subject(traits, look, np.zeros(units), still_face, np.ones((2, units)))


def casting_of(stills: Stills, config: DomainConfig, role: Role) -> Casting:
    """Read the stills of a child and compute where its face rests and its apexes lie."""
    base = stills.still(role.base)
    rest = base.neutral + config.resting * (base.points - base.neutral)
    names = stills.store.clips["clip_id"]
    expressions = {}
    for emotion, rows in role.clips.items():
        beside = config.own_way * _own_way(stills, role, emotion, config.seed) if config.own_way else 0.0
        made = []
        for row in rows:
            other = stills.still(row)
            apex = uncrossed(rest + other.points - other.neutral + beside)
            made.append((str(names.iloc[row]), Expression(base, other, rest, apex)))
        expressions[emotion] = made
    return Casting(subject_of(role.split, role.number, config, stills.tag), role, expressions)


def _own_way(stills: Stills, role: Role, emotion: str, seed: int) -> Array:
    """Compute how a child's way of a class differs from the usual way, (68, 2): its mixture of displacements less the
    mean one of the split."""
    rng = np.random.default_rng([seed, SPLITS.index(role.split), role.number, len(TARGET) + TARGET.index(emotion)])
    mixture, usual = (
        stills.points[rows] - stills.neutral[rows] for rows in (role.way[emotion], stills.rows[role.split][emotion])
    )
    weights = rng.dirichlet(np.ones(len(mixture)))
    return np.asarray(np.tensordot(weights, mixture, axes=1) - usual.mean(axis=0))
