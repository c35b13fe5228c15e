"""``fer-id controls RUN``: temporal controls of a trained model (``fer_id.evaluation.controls`` defines them).

Accuracy on whole clips beside single frames and the mean of all frames, the controls of a claim that more frames help,
and beside the frames in another order: how much the model relies on order, no evidence that order helps. Each clip is
encoded once; all controls are computed from its features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.verbs.evaluate import RunConfig
from fer_id.errors import RunError
from fer_id.evaluation import controls as control
from fer_id.evaluation.scores import Floats
from fer_id.files import atomic_write_bytes, write_json
from fer_id.progress import track
from fer_id.runs.records import read_record
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from fer_id.reporting.result_shapes import Controls
    from fer_id.tasks.features import Features, Reader

OWN, LINEAR = "the model itself", "linear classifier"
"""Classifiers of single frames: the model with a clip of one frame, and a linear classifier for each moment, fitted on
the frames of that moment. In a clip that shows no face at a moment the nearest frame with one stands for it."""

ORDERS = 10
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)  # from the strongest, which wins a tie on inner validation


class FoldControls(NamedTuple):
    """Correctness on the test clips of one training, 1 where right: of each control (N,), and of each reader by frame
    (N, T), 0 for a clip without a face; the clips' rows of the store's table, and the precision of the computation."""

    right: dict[str, Floats]
    by_frame: dict[str, Floats]
    rows: pd.DataFrame
    precision: str


def controls(config: RunConfig) -> str:
    """Write ``controls.json`` and its figures into the run; return the accuracies as text."""
    run = RunDir.open(config.run, changing=True)
    return f"{accuracies(judge_controls(run))}\n{run.path / 'controls.json'}"


def accuracies(summary: Controls) -> str:
    """Return the accuracies as text, each control's with the p value of the whole clip against it."""
    tests = summary.against_whole_clip.items()
    p_values = {name: "undefined" if row.p_holm is None else f"{row.p_holm:.3f}" for name, row in tests}
    lines = [f"accuracy on {summary.n_clips} {summary.provenance} test clips, from"]
    for name, row in summary.accuracy.items():
        tested = f"   p {p_values[name]}" if name in p_values else ""
        lines.append(f"  {name:<28}{row.value:.3f}{tested}")
    for reader, values in summary.by_frame.items():
        lines.append(f"  frame by frame, {reader}: " + " ".join(f"{value:.2f}" for value in values))
    lines.append("p: whole clip against the control, paired by subject, corrected for four tests (Holm)")
    return "\n".join([*lines, f"{control.SHUFFLED}, {control.REVERSED}: {control.SENSITIVITY}"])


def judge_controls(run: RunDir) -> Controls:
    """Compute and write ``controls.json``; return it: :func:`fer_id.evaluation.controls.summary`, model and data."""
    from fer_id.reporting.control_figures import control_figure, intensity_figure
    from fer_id.reporting.result_shapes import Controls
    from fer_id.reporting.style import svg

    folds = run.folds or [run]
    results = [_judge_fold(fold) for fold in track(folds, "controls", len(folds))]
    precision = " and ".join(sorted({fold.precision for fold in results}))
    job, model = run.job(), run.config()["model"]
    described = {"provenance": job.store.provenance, "model": model["name"], "head": model["head"]}
    summary = described | {"precision": precision} | control.summary(_answers(results))
    write_json(run.path / "controls.json", summary)
    content = read_record(Controls, run.path / "controls.json")
    for name, figure in (("controls", control_figure(content)), ("intensity", intensity_figure(content))):
        if figure is None:
            (run.figures / f"{name}.svg").unlink(missing_ok=True)
        else:
            atomic_write_bytes(run.figures / f"{name}.svg", svg(figure))
    return content


def _answers(folds: list[FoldControls]) -> control.Answers:
    """Pool the folds; the best frame with hindsight is the best over all of them."""
    import pandas as pd

    rows = pd.concat([fold.rows for fold in folds])
    right = {name: np.concatenate([fold.right[name] for fold in folds]) for name in folds[0].right}
    by_frame = {reader: np.concatenate([fold.by_frame[reader] for fold in folds]) for reader in (OWN, LINEAR)}
    candidates = np.concatenate(list(by_frame.values()), axis=1)
    right[control.HINDSIGHT] = candidates[:, candidates.mean(axis=0).argmax()]
    expressive = rows["intensity"].where(rows["label"] != "neutral")  # whose e(t) is that of another neutral still
    courses = [control.peak_and_delay(course) for course in expressive.astype(object).where(expressive.notna(), None)]
    peak, delay = (np.array(values) for values in zip(*courses, strict=True))
    means = {reader: values.mean(axis=0) for reader, values in by_frame.items()}
    ordered = {name: right[name] for name in control.CONTROLS}
    return control.Answers(ordered, means, rows["subject_id"].astype(str).tolist(), peak, delay)


def _judge_fold(run: RunDir) -> FoldControls:
    from experiments.training.trained_model import TrainedModel
    from fer_id.tasks.features import Features

    trained = TrainedModel.open(run)
    model, data = trained.model, trained.data
    require_one_length(run, data.clips["length"])
    with trained.autocast():
        train, validation, test = (
            Features.of(model, data.plain_batches(rows))
            for rows in (data.fold.train, data.fold.validation, data.fold.test)
        )
        shuffled = [_right(test.shuffled(seed).judged(model), test) for seed in range(ORDERS)]
        right = {
            control.WHOLE: _right(test.judged(model), test),
            control.SHUFFLED: np.mean(shuffled, axis=0),
            control.REVERSED: _right(test.reversed().judged(model), test),
        }
        own = [_by_frame(clips.filled.frames.judged(model), clips) for clips in (validation, test)]
        heads = [clips.pooled(model) for clips in (train, validation, test)]
    right[control.REFITTED] = _read(train, validation, test, heads)
    right[control.MEAN] = _read(train, validation, test, [clips.mean for clips in (train, validation, test)])
    moments = read_moments(train, validation, test)
    linear = [_by_frame(logits.flatten(0, 1), clips) for logits, clips in zip(moments, (validation, test), strict=True)]
    known, judged = (np.concatenate(readers, axis=1) for readers in zip(own, linear, strict=True))
    right[control.CHOSEN] = judged[:, known.mean(axis=0).argmax()]  # reader and frame that inner validation chose
    right[control.CONFIDENT] = _most_confident(moments[1], test)
    rows = data.clips.set_index("clip_id").loc[test.clip_ids]
    return FoldControls(right, {OWN: own[1], LINEAR: linear[1]}, rows, trained.precision)


def require_one_length(run: RunDir, lengths: pd.Series) -> None:
    """Raise RunError for clips of different length: a frame number must be the same moment in every clip."""
    if lengths.min() != lengths.max():
        raise RunError(
            f"{run.path}: the clips of its store have {lengths.min()} to {lengths.max()} frames, expected the same "
            "number in each, as frame 3 must be the same moment everywhere; make a store of clips of one length"
        )


def _right(logits: Tensor, features: Features) -> Floats:
    """Return (N,) 1 where the highest logit is the label's; 0 for a clip without a face."""
    return ((logits.argmax(dim=-1) == features.label) & features.covered).double().numpy()


def _by_frame(logits: Tensor, clips: Features) -> Floats:
    """Return (N, T) 1 where right, from the logits (N * T, K) of single frames; 0 for a clip without a face."""
    return _right(logits, clips.filled.frames).reshape(clips.valid.shape)


def _most_confident(logits: Tensor, test: Features) -> Floats:
    """Return (N,) the correctness of the frame with a face whose logits (N, T, K) are the surest."""
    confidence, predicted = logits.softmax(dim=-1).max(dim=-1)
    surest = confidence.masked_fill(~test.valid, -1).argmax(dim=1, keepdim=True)
    best = predicted.gather(1, surest).squeeze(1)
    return ((best == test.label) & test.covered).double().numpy()


def _read(train: Features, validation: Features, test: Features, clips: list[Tensor]) -> Floats:
    """Return (N,) the correctness of a linear classifier of one vector per clip (training, validation, test)."""
    learned, chosen, judged = clips
    seen, known = train.covered, validation.covered
    reader = _fitted(learned[seen], train.label[seen], chosen[known], validation.label[known])
    return _right(reader(judged), test)


def read_moments(train: Features, validation: Features, test: Features) -> tuple[Tensor, Tensor]:
    """Return the logits (N, T, K) of validation and test clips from a linear classifier for each moment: one for all
    moments would learn from frames at rest, which show nothing of their clip's label."""
    import torch

    seen, known = train.covered, validation.covered
    values = [clips.filled.values for clips in (train, validation, test)]
    readers = [
        _fitted(learned[seen], train.label[seen], chosen[known], validation.label[known])
        for learned, chosen in zip(values[0].unbind(1), values[1].unbind(1), strict=True)
    ]
    validated, judged = (
        torch.stack([reader(frames) for reader, frames in zip(readers, clips.unbind(1), strict=True)], dim=1)
        for clips in values[1:]
    )
    return validated, judged


def _fitted(features: Tensor, label: Tensor, validation: Tensor, truth: Tensor) -> Reader:
    """Fit a linear classifier, its penalty chosen on inner validation."""
    from fer_id.tasks.features import linear_reader

    classes = int(max(label.max(), truth.max())) + 1
    readers = [linear_reader(features, label, classes, penalty) for penalty in PENALTIES]
    scores = [float((reader(validation).argmax(dim=-1) == truth).double().mean()) for reader in readers]
    return readers[int(np.argmax(scores))]
