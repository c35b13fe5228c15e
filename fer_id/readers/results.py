"""Results of a benchmark of encoders and readers: macro recall, convergence, contrasts with their planned power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_id.errors import RunError
from fer_id.evaluation.contrasts import (
    Clips,
    RecallEstimate,
    Verdict,
    planned,
    recall,
    recall_difference,
    verdicts,
)
from fer_id.evaluation.scores import Floats
from fer_id.files import write_json
from fer_id.progress import say
from fer_id.readers.config import ReaderContrast
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    from fer_id.readers.low_resource import LearningCurve
    from fer_id.readers.study import ReaderStudy

FEWEST_PASSES, STILL_FALLING, LEAST_SHARE = 5, 0.02, 0.9
"""An encoder counts as trained to its end with at least so many passes, a training loss that falls by less than this
share over the last fifth of them, and at least this share of the best encoder's accuracy on stills."""

RESULTS = "benchmark.json"


@dataclass(frozen=True)
class Convergence:
    """Convergence of an encoder on stills: passes, pictures in all, accuracy and macro recall on test stills, and the
    share by which the training loss fell over the last fifth of the passes (None: too few passes)."""

    passes: int
    pictures: int
    accuracy: float | None
    macro_recall: float | None
    fall: float | None

    @classmethod
    def of(cls, run: RunDir) -> Convergence:
        """Read the convergence of a finished run on stills."""
        curve, metrics = run.learning_curve(), run.metrics()
        losses = curve["train/loss"].dropna().to_numpy() if "train/loss" in curve else np.empty(0)
        before = losses[-1 - max(1, len(losses) // 5)] if len(losses) >= FEWEST_PASSES else None
        fall = None if before is None else float((before - losses[-1]) / before)
        pictures = len(curve) * run.job().clips.get("train", 0)
        return cls(len(curve), pictures, metrics.accuracy, metrics.macro_recall, fall)

    def why_unfinished(self, best: float) -> str | None:
        """Return why the encoder does not count as trained to its end, beside the ``best`` accuracy on stills of all
        encoders; None where it does."""
        if self.passes < FEWEST_PASSES:
            return f"{self.passes} pass{'' if self.passes == 1 else 'es'}"
        if self.fall is not None and self.fall > STILL_FALLING:
            return f"loss still falls by {100 * self.fall:.0f} %"
        if self.accuracy is not None and self.accuracy < LEAST_SHARE * best:
            return f"{100 * self.accuracy / best:.0f} % of the best accuracy on stills"
        return None


@dataclass(frozen=True)
class Encoder:
    """An encoder with the macro recall of its readers on the test clips, in the order of the readers."""

    run: RunDir
    convergence: Convergence
    recalls: dict[str, RecallEstimate]
    by_class: dict[str, list[float]]
    """Reader -> recall of each class, the mean over seeds."""
    clips: Clips

    @classmethod
    def of(cls, run: RunDir, study: ReaderStudy, readers: Sequence[str], seeds: Sequence[int]) -> Encoder:
        """Judge the fitted readers of an encoder."""
        clips = study.judged("test")
        right = {reader: study.right(reader, seeds, "test") for reader in readers}
        by_class = {reader: by_label(values.mean(0), clips) for reader, values in right.items()}
        return cls(
            run, Convergence.of(run), {reader: recall(rows, clips) for reader, rows in right.items()}, by_class, clips
        )

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self.run.path.name


@dataclass(frozen=True)
class FineTuned:
    """The reference's encoder trained end to end on clips with a head, and the reader of the same name on its frozen
    features, fitted and judged on the same clips; ``difference`` is fine-tuned minus frozen."""

    recall: RecallEstimate
    frozen: RecallEstimate | None
    difference: RecallEstimate | None
    clips: int
    passes: int  # over the training clips

    @classmethod
    def of(cls, run: RunDir, study: ReaderStudy, head: str | None, seeds: Sequence[int]) -> FineTuned:
        """Judge a finished fine-tuning beside the reader of the name ``head``, fitted on the same clips; None: beside
        none."""
        table = run.predictions()
        table = table[(table["split"] == "test") & table["label"].notna()].set_index("clip_id")
        rows = study.clips.set_index("clip_id", drop=False).loc[table.index]
        clips = Clips.of_table(rows, study.labels)
        right = (table["predicted"] == table["label"]).to_numpy().astype(np.float64)[None]
        passes = len(run.learning_curve())
        if head is None:
            return cls(recall(right, clips), None, None, len(table), passes)
        frozen = study.right(head, seeds, "test")
        reader = study.predictions(head, seeds[0])
        names = reader.loc[(reader["split"] == "test") & reader["label"].notna(), "clip_id"]
        frozen = frozen[:, [names.tolist().index(name) for name in table.index]]
        difference = recall_difference(right, frozen, clips)
        return cls(recall(right, clips), recall(frozen, clips), difference, len(table), passes)


@dataclass(frozen=True)
class Plan:
    """Planned errors of the contrasts by name."""

    errors: dict[str, RecallEstimate]

    @property
    def tests(self) -> int:
        """Number of contrasts that are corrected together."""
        return len(self.errors)


@dataclass(frozen=True)
class BenchmarkResults:
    """Results of a benchmark: encoders with their readers, contrasts with their verdicts and plan, fine-tunings."""

    encoders: Sequence[Encoder]
    reference: str  # name of the encoder that was fine-tuned
    contrasts: Sequence[ReaderContrast]
    verdicts: Mapping[str, Verdict]  # by name of the contrast
    plan: Plan  # what was known of their power beforehand
    tuned: Mapping[str, FineTuned]  # by head
    curve: LearningCurve | None  # the reference's readers with each child left out
    labels: Sequence[str]
    provenance: str
    relevant: float  # difference in macro recall that matters


def plan_contrasts(
    contrasts: Sequence[ReaderContrast], studies: Mapping[str, ReaderStudy], seeds: Sequence[int]
) -> Plan:
    """Estimate what each contrast will be able to detect, before any test clip is judged, and print it.

    The pilot is inner validation.
    """
    errors = {}
    for contrast in contrasts:
        study = studies[contrast.first[0]]
        pilot = difference(contrast, studies, seeds, "validation")
        errors[contrast.name] = planned(pilot, study.judged("validation"), study.judged("test"))
    plan = Plan(errors)
    for name, error in plan.errors.items():
        if error.why_not or np.isnan(error.error):
            say(f"planned: {name}: no error is known ({error.why_not or 'too few validation stills of a class'})")
            continue
        alone, corrected = 100 * error.detectable(), 100 * error.detectable(plan.tests)
        say(
            f"planned: {name}: detects {alone:.1f} points of macro recall with 80 % power, {corrected:.1f} after Holm "
            f"over {plan.tests} (standard error {100 * error.error:.2f}, from inner validation)"
        )
    return plan


def judge(
    contrasts: Sequence[ReaderContrast], studies: Mapping[str, ReaderStudy], seeds: Sequence[int], relevant: float
) -> dict[str, Verdict]:
    """Judge the contrasts on the test clips, corrected together."""
    return verdicts(estimates(contrasts, studies, seeds), relevant)


def estimates(
    contrasts: Sequence[ReaderContrast], studies: Mapping[str, ReaderStudy], seeds: Sequence[int]
) -> dict[str, RecallEstimate]:
    """Estimate the contrasts on the test clips, by name."""
    return {
        contrast.name: recall(difference(contrast, studies, seeds, "test"), studies[contrast.first[0]].judged("test"))
        for contrast in contrasts
    }


def difference(
    contrast: ReaderContrast, studies: Mapping[str, ReaderStudy], seeds: Sequence[int], split: str
) -> Floats:
    """Return the difference in correctness (R, N) of a contrast's readers, trainings paired by seed. Raise RunError
    where its encoders have other clips of this split."""
    (first, reader), (second, other) = contrast.first, contrast.second
    names = [studies[name].predictions(part, seeds[0]) for name, part in (contrast.first, contrast.second)]
    tables = [table.loc[(table["split"] == split) & table["label"].notna(), "clip_id"].tolist() for table in names]
    if tables[0] != tables[1]:
        raise RunError(
            f'contrast {contrast.name}: {first} and {second} have other {split} clips; "others_at_most=[]" gives '
            "every encoder all clips"
        )
    return studies[first].right(reader, seeds, split) - studies[second].right(other, seeds, split)


def by_label(right: Floats, clips: Clips) -> list[float]:
    """Return the recall of each class from correctness (N,)."""
    return [float(right[clips.truth == label].mean()) for label in np.unique(clips.truth)]


def write_results(results: Mapping[str, Verdict], out: Path) -> None:
    """Write ``benchmark.json``: value, variances, clusters and verdict of each contrast."""
    rows = {
        name: {**vars(verdict.estimate), "p_holm": verdict.p_holm, "bound": verdict.bound, "answer": verdict.answer}
        for name, verdict in results.items()
    }
    write_json(out / RESULTS, {"contrasts": rows})
