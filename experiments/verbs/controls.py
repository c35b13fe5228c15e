"""``fer-id controls RUN``: does time matter to a trained model? What less than the whole clip tells, beside it.

The controls for every claim that time matters: one frame, the mean of all frames, the frames in another order. Each
clip is encoded once; everything is asked of its features. ``fer_id.evaluation.controls`` says what each control is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import RunError
from fer_id.evaluation import controls as control
from fer_id.files import atomic_write_bytes, write_json
from fer_id.progress import track
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from fer_id.models.network import ClipClassifier
    from fer_id.tasks.features import Features, Reader

Floats = NDArray[np.float64]

OWN, LINEAR = "the model itself", "linear classifier"
"""Who reads a single frame: the model, whose head then sees a clip of one frame; a classifier fitted on frames."""

ORDERS = 10
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)  # from the strongest: the first of the best on inner validation is taken
MOST_FRAMES = 50_000  # that the linear classifier of frames is fitted on: more change nothing but the time it takes


@dataclass
class ControlsConfig:
    """Which run."""

    run: str = setting("", required=True, help="folder of a finished run")


class Asked(NamedTuple):
    """The test clips of one training: what was right, of every control and of every frame.

    Attributes:
        right: control -> (N,).
        by_frame: reader -> (N, T), False where the frame shows no face.
        rows: the clips' rows of the store's table.
        precision: in which the model computed.
    """

    right: dict[str, Floats]
    by_frame: dict[str, Floats]
    rows: pd.DataFrame
    precision: str


def controls(config: ControlsConfig) -> str:
    """Writes ``controls.json`` and its figures into the run and says what is in it.

    Raises:
        RunError: no such run, not finished, without its checkpoint, or its store was made again since.
        RunError: its store holds clips of different length.
        StoreError: its store is gone or damaged.
    """
    run = RunDir.open(config.run)
    found = judge_controls(run)
    against = found["against_whole_clip"]
    lines = [f"accuracy on {found['n_clips']} {found['provenance']} test clips, from"]
    for name, row in found["accuracy"].items():
        tested = f"   p {against[name]['p_holm']:.3f}" if name in against else ""
        lines.append(f"  {name:<28}{row['value']:.3f}{tested}")
    for reader, values in found["by_frame"].items():
        lines.append(f"  frame by frame, {reader}: " + " ".join(f"{value:.2f}" for value in values))
    lines.append("p: whole clip against the control, paired by subject, corrected for four tests (Holm)")
    return "\n".join([*lines, str(run.path / "controls.json")])


def judge_controls(run: RunDir) -> dict[str, Any]:
    """What ``controls.json`` holds, now written; as :func:`fer_id.evaluation.controls.summary`, and what was judged."""
    from fer_id.reporting.control_figures import control_figure, intensity_figure
    from fer_id.reporting.style import svg

    folds = run.folds or [run]
    asked = [_judge_fold(fold) for fold in track(folds, "controls", len(folds))]
    precision = " and ".join(sorted({one.precision for one in asked}))
    found = _described(run) | {"precision": precision} | control.summary(_answers(asked))
    write_json(run.path / "controls.json", found)
    for name, figure in (("controls", control_figure(found)), ("intensity", intensity_figure(found))):
        if figure is None:
            (run.figures / f"{name}.svg").unlink(missing_ok=True)
        else:
            atomic_write_bytes(run.figures / f"{name}.svg", svg(figure))
    return found


def _described(run: RunDir) -> dict[str, Any]:
    job, model = run.job(), run.config()["model"]
    return {"provenance": job["store"]["provenance"], "model": model["name"], "head": model["head"]}


def _answers(asked: list[Asked]) -> control.Answers:
    """Of all folds together; the best frame with hindsight is the best over all of them."""
    import pandas as pd

    rows = pd.concat([one.rows for one in asked])
    right = {name: np.concatenate([one.right[name] for one in asked]) for name in asked[0].right}
    by_frame = {reader: np.concatenate([one.by_frame[reader] for one in asked]) for reader in (OWN, LINEAR)}
    candidates = np.concatenate(list(by_frame.values()), axis=1)
    right[control.HINDSIGHT] = candidates[:, candidates.mean(axis=0).argmax()]
    courses = [control.peak_and_delay(course) for course in rows["intensity"]]
    peak, delay = (np.array(values) for values in zip(*courses, strict=True))
    means = {reader: values.mean(axis=0) for reader, values in by_frame.items()}
    ordered = {name: right[name] for name in control.CONTROLS}
    return control.Answers(ordered, means, rows["subject_id"].astype(str).tolist(), peak, delay)


def _judge_fold(run: RunDir) -> Asked:
    from experiments.training.trained_model import TrainedModel
    from fer_id.tasks.features import Features

    trained = TrainedModel.open(run)
    model, data = trained.model, trained.data
    require_one_length(run, data.clips["length"])
    with trained.autocast():
        train, validation, test = (
            Features.of(model, data.as_they_are(rows))
            for rows in (data.fold.train, data.fold.validation, data.fold.test)
        )
        right = _orders(model, test)
        own = [_by_frame(one.frames.judged(model), one) for one in (validation, test)]
        heads = [one.pooled(model) for one in (train, validation, test)]
    right[control.REFITTED] = _read(train, validation, test, heads)
    right[control.MEAN] = _read(train, validation, test, [one.mean for one in (train, validation, test)])
    reader = _frame_reader(train, validation)
    linear = [_by_frame(reader(one.frames.values[:, 0]), one) for one in (validation, test)]
    right[control.CHOSEN] = _chosen(*(np.concatenate(both, axis=1) for both in zip(own, linear, strict=True)))
    right[control.CONFIDENT] = _most_confident(reader, test)
    rows = data.clips.set_index("clip_id").loc[test.clip_ids]
    return Asked(right, {OWN: own[1], LINEAR: linear[1]}, rows, trained.precision)


def require_one_length(run: RunDir, lengths: pd.Series) -> None:
    """Raises RunError unless all clips have as many frames: else no frame has a place of its own in every clip."""
    if lengths.min() != lengths.max():
        raise RunError(
            f"{run.path}: the clips of its store have {lengths.min()} to {lengths.max()} frames, expected the same "
            "number in each, as frame 3 must be the same moment everywhere; make a store of clips of one length"
        )


def _right(logits: Tensor, features: Features) -> Floats:
    """(N,) 1 where the highest logit is the label's; 0 for a clip without a face."""
    return ((logits.argmax(dim=-1) == features.label) & features.covered).double().numpy()


def _orders(model: ClipClassifier, test: Features) -> dict[str, Floats]:
    """The model on the frames in order, in random orders (the mean over them) and backwards."""
    shuffled = [_right(test.shuffled(seed).judged(model), test) for seed in range(ORDERS)]
    return {
        control.WHOLE: _right(test.judged(model), test),
        control.SHUFFLED: np.mean(shuffled, axis=0),
        control.REVERSED: _right(test.reversed().judged(model), test),
    }


def _by_frame(logits: Tensor, clips: Features) -> Floats:
    """(N, T) what is right, from the logits (N * T, K) of each frame alone."""
    return _right(logits, clips.frames).reshape(clips.valid.shape)


def _chosen(validation: Floats, test: Floats) -> Floats:
    """(N,) test clips, by the reader and at the moment (columns) that were best on inner validation."""
    return test[:, validation.mean(axis=0).argmax()]


def _most_confident(reader: Reader, test: Features) -> Floats:
    frames = test.frames
    sure, said = reader(frames.values[:, 0]).softmax(dim=-1).max(dim=-1)
    sure = sure.reshape(test.valid.shape).masked_fill(~test.valid, -1)
    best = said.reshape(test.valid.shape).gather(1, sure.argmax(dim=1, keepdim=True)).squeeze(1)
    return ((best == test.label) & test.covered).double().numpy()


def _read(train: Features, validation: Features, test: Features, clips: list[Tensor]) -> Floats:
    """(N,) what a linear classifier gets right, from one vector a clip of training, validation and test."""
    learned, chosen, judged = clips
    seen, known = train.covered, validation.covered
    reader = _fitted(learned[seen], train.label[seen], chosen[known], validation.label[known])
    return _right(reader(judged), test)


def _frame_reader(train: Features, validation: Features) -> Reader:
    parts = []
    for clips in (train.frames, validation.frames):
        rows = np.flatnonzero(clips.covered.numpy())
        rows = np.random.default_rng(0).permutation(rows)[:MOST_FRAMES]
        parts += [clips.values[rows, 0], clips.label[rows]]
    return _fitted(*parts)


def _fitted(features: Tensor, label: Tensor, validation: Tensor, truth: Tensor) -> Reader:
    """A linear classifier, its penalty chosen on inner validation."""
    from fer_id.tasks.features import linear_reader

    classes = int(max(label.max(), truth.max())) + 1
    readers = [linear_reader(features, label, classes, penalty) for penalty in PENALTIES]
    scores = [float((reader(validation).argmax(dim=-1) == truth).double().mean()) for reader in readers]
    return readers[int(np.argmax(scores))]
