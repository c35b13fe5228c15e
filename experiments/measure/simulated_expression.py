"""Readability of simulated expressions, and how far a child drifts towards the person whose expression it shows.

``python -m experiments.measure.simulated_expression run=RUN store=data/simulated source=data/ferplus``: the model of
stills ``run``, which must not have learned from the test stills of ``store``, reads the faces of its test children at
rest, at the apex and between, without other movements, beside the stills whose expressions they show.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.measure.planted_gaps import recorded_domain
from experiments.settings.loading import load
from experiments.training.trained_model import TrainedModel
from fer_id.errors import ConfigError
from fer_id.labels import TARGET, LabelSpace, map_labels
from fer_id.progress import track
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting
from fer_id.simulation.casting import cast, casting_of
from fer_id.simulation.driving import Expression, frame_at, inner_face
from fer_id.simulation.stills import choose_stills
from fer_id.store.reader import ClipStore

BATCH = 256
Pictures = NDArray[np.uint8]


@dataclass
class ExpressionConfig:
    """Settings of the measurement: a model of stills, and the simulated store with its source."""

    run: str = setting("", required=True, help="a finished run of a model of stills that never saw the test stills")
    store: str = setting("", required=True, help="the simulated store")
    source: str = setting("", required=True, help="the ClipStore of stills that it was simulated from")
    levels: list[float] = setting([0.0, 0.15, 0.3, 0.6, 1.0], min=0, max=1, help="intensities e")


def measure(config: ExpressionConfig) -> str:
    """Return recognition by class and intensity, and the drift of neutral clips, as aligned text."""
    store, source = ClipStore.open(config.store), ClipStore.open(config.source)
    if store.card.settings.from_fingerprint != source.fingerprint:
        raise ConfigError(f"source={config.source}: {config.store} was simulated from another store")
    domain = recorded_domain(store)
    stills = choose_stills(source, domain)
    children = [casting_of(stills, domain, role) for role in cast(stills, domain, ["test"])]
    trained, names = TrainedModel.open(RunDir.open(config.run)), list(TARGET.names)
    columns = _columns(trained.data.labels)
    lines = [f"recognised among {len(names)} classes, {len(children)} children; last: the stills themselves"]
    lines.append(" " * 10 + "".join(f"  e={level:<5g}" for level in config.levels) + "  still")
    for name in track(names, "reading expressions"):
        made = [expression for child in children for _, expression in child.expressions[name]]
        frames = [np.stack([frame_at(each, level) for each in made]) for level in config.levels]
        frames.append(np.stack([each.other.picture for each in made]))
        right = [
            (_logits(trained, pictures)[:, columns].argmax(axis=1) == names.index(name)).mean() for pictures in frames
        ]
        lines.append(f"{name:<10}" + "".join(f"  {share:<7.3f}" for share in right))
        if name == "neutral":
            lines += _drift(made, frames[:-1], config.levels)
    return "\n".join(lines)


def _columns(space: LabelSpace) -> list[int]:
    """Return the column of each target class among a model's logits."""
    names, _ = map_labels(list(space.names), TARGET)
    return [names.index(name) for name in TARGET.names]


def _logits(trained: TrainedModel, pictures: Pictures) -> NDArray[Any]:
    """Compute the logits (N, K) of pictures (N, 64, 64, 3), each a clip of one frame."""
    answers = []
    with torch.inference_mode(), trained.autocast():
        for part in torch.split(torch.from_numpy(pictures), BATCH):
            frames = part[:, None].movedim(-1, 2).float().to(trained.device) / 255
            valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=trained.device)
            answers.append(trained.model(frames, valid).float().cpu())
    return torch.cat(answers).numpy()


def _drift(made: list[Expression], frames: list[Pictures], levels: list[float]) -> list[str]:
    """Return, by intensity, the share of neutral frames nearest to the child's own still, and to the other still, among
    all of them: the whole crop, and the inner face alone."""
    lines = ["nearest still of a neutral clip's frame: the child's own, the other's"]
    inner = np.stack([inner_face(each.rest) for each in made])
    masks = {"crop": np.ones_like(inner), "inner face": inner}
    candidates = np.stack([*(each.base.picture for each in made), *(each.other.picture for each in made)])
    for name, mask in masks.items():
        for level, pictures in zip(levels, frames, strict=True):
            near = [candidates[_nearest(pictures[k], candidates, mask[k])] for k in range(len(made))]
            own = np.mean([np.array_equal(still, each.base.picture) for still, each in zip(near, made, strict=True)])
            other = np.mean([np.array_equal(still, each.other.picture) for still, each in zip(near, made, strict=True)])
            lines.append(f"  {name:<11} e={level:<5g} {own:.3f}  {other:.3f}")
    return lines


def _nearest(picture: Pictures, candidates: Pictures, mask: NDArray[Any]) -> int:
    """Return the candidate of the highest correlation of brightness with a picture, under a mask (64, 64, 1)."""
    inside = mask[..., 0] > 0.5
    values = np.concatenate([picture[None], candidates])[..., 0][:, inside].astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return int((values[1:] @ values[0]).argmax())


def main(argv: list[str]) -> int:
    """Run the measurement with ``key=value`` arguments and print its text."""
    print(measure(load(ExpressionConfig, argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
