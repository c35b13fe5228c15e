"""Results for W&B: learning curves over epochs; numbers, tables, figures and explanations at the end of a run.

A row of a curve is a line of ``metrics.jsonl``, with the epoch as x axis. Means over fewer than five real children are
left out, see ``fer_id.loggers.disclosure``. Tables go as ``Html``: a ``wandb.Table`` becomes an artifact, whose
manifest holds an absolute path of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fer_id.loggers.disclosure import FEW, SPLITS, Rules, disclosed, few_of_split, public_figures, result_numbers
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    import wandb
    from matplotlib.figure import Figure

    from fer_id.reporting.gallery import Shown
    from fer_id.runs.metrics import Metrics

AVERAGED = ("lr", "train/", "val/")
"""Prefixes of the numbers that a mean curve averages over folds."""

Upload = dict[str, str]
"""``key``, ``clip_id`` and ``subject_id`` of a picture of a real face that was sent."""


def best_epoch_summary(rows: Sequence[Mapping[str, float]], hidden: Mapping[str, str]) -> dict[str, float]:
    """Return the inner validation of the best epoch, for a summary that otherwise holds the last epoch. ``rows`` are
    :func:`~fer_id.objectives.best_row` of a training, or of each fold (then the mean is taken); empty ones are left
    out."""
    table = pd.DataFrame([row for row in rows if row])
    if table.empty:
        return {}
    numbers = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith("val/")}
    return disclosed({**numbers, "val/best_epoch": float(table["epoch"].mean())}, hidden)


def mean_curve(folds: Sequence[RunDir]) -> Iterator[dict[str, float]]:
    """Yield the mean learning curve of a cross-validation: of every epoch the mean over the folds that trained so long,
    with ``epoch`` and their number ``folds``. Where real children are among those validated, only as long as these
    folds validate five or more of them together."""
    jobs = [fold.job() for fold in folds]
    curves = [fold.learning_curve() for fold in folds]
    last = max((int(curve["epoch"].max()) for curve in curves if len(curve)), default=-1)
    for epoch in range(last + 1):
        at = [(curve[curve["epoch"] == epoch], job) for curve, job in zip(curves, jobs, strict=True) if len(curve)]
        table = pd.concat([rows for rows, _ in at])
        hidden = {w: FEW for w in SPLITS if few_of_split(w, [job for rows, job in at if _speaks_of(w, rows)])}
        averaged = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith(AVERAGED)}
        yield {"epoch": epoch, "folds": len(table), **disclosed(averaged, hidden)}


def _speaks_of(word: str, rows: pd.DataFrame) -> bool:
    return bool(rows.filter(regex=f"^{word}/").notna().to_numpy().any())


def send_results(run: wandb.Run, metrics: Metrics, figures: Mapping[str, Figure], rules: Rules) -> None:
    """Send the final numbers, the table of classes and the figures, as far as the rules let them leave."""
    withheld = {f"{word}/withheld": why for word, why in rules.hidden.items()}
    run.summary.update({"provenance": metrics.provenance} | withheld)
    if "test" in rules.hidden:
        return
    import wandb

    rows = {name: dict(scores) for name, scores in metrics.per_class.items()}
    per_class = pd.DataFrame(rows).T.rename_axis("class").reset_index()
    run.summary.update(result_numbers(metrics, per_class, real=rules.real))
    run.log({"test/per_class": wandb.Html(_html(per_class, "{:.3f}"))})
    leaving = public_figures(figures, metrics.provenance, real=rules.real)
    run.log({f"figures/{name}": figure_image(figures[name]) for name in leaving})


def send_explanation(
    run: wandb.Run,
    explanation: Mapping[str, Any],
    figures: Mapping[str, Figure],
    gallery: Sequence[Shown],
    *,
    faces: bool,
) -> list[Upload]:
    """Send ``explain.json`` without its groups, as table and figures, and the film strips that may leave; return the
    pictures of real faces that were sent, chosen as in :func:`strip_images`."""
    import wandb

    from fer_id.reporting.explanation import class_table, mark

    marked = f", {mark(explanation)}" if mark(explanation) else ""
    if explanation["leakage"]["value"] is not None:
        run.summary["explain/leakage"] = explanation["leakage"]["value"]
    table = pd.DataFrame(class_table(explanation)).astype({"class": str})
    caption = f"<p>{explanation['provenance']} data; attribution relative to area{marked}</p>"
    run.log({"explain/by_class": wandb.Html(caption + _html(table, "{:.2f}"))})
    run.log({f"explain/{name}": figure_image(figure) for name, figure in figures.items()})
    images, uploads = strip_images({"explain/clips": gallery}, faces=faces, marked=marked)
    if images:
        run.log(images)
    return uploads


def figure_image(figure: Figure) -> wandb.Image:
    """Return a figure as W&B's image."""
    import wandb

    from fer_id.reporting.style import picture

    return wandb.Image(picture(figure))


def strip_images(
    panels: Mapping[str, Sequence[Shown]], *, faces: bool, marked: str = ""
) -> tuple[dict[str, list[wandb.Image]], list[Upload]]:
    """Return the film strips that may leave, as W&B images by key of a panel, and the uploads of real faces among them.
    With ``faces`` pictures of people may leave, if they consented to ``media_sharing``; drawn ones always may.
    ``marked`` is a note on all their maps, for captions."""
    import wandb

    images: dict[str, list[wandb.Image]] = {}
    uploads: list[Upload] = []
    for key, strips in panels.items():
        leaving = [strip for strip in strips if strip.shareable and (faces or strip.provenance == "synthetic")]
        if leaving:
            images[key] = [wandb.Image(strip.picture, caption=_caption(strip, marked)) for strip in leaving]
        uploads += [
            {"key": key, "clip_id": strip.clip_id, "subject_id": strip.subject_id}
            for strip in leaving
            if strip.provenance != "synthetic"
        ]
    return images, uploads


def _caption(strip: Shown, marked: str) -> str:
    return f"{strip.provenance}{marked}: {strip.kind}. {strip.title}" + (strip.rows and f"; {strip.rows}")


def _html(table: pd.DataFrame, digits: str) -> str:
    """Return a table as HTML; None and NaN are ``undefined``."""
    defined = table.astype(object).where(table.notna(), float("nan"))  # None would be printed as text
    return str(defined.to_html(index=False, float_format=digits.format, na_rep="undefined", border=0))
