"""Upload of results to W&B at the end of a run: numbers, tables, figures and explanations.

Tables go as ``Html``: a ``wandb.Table`` becomes an artifact, whose manifest holds an absolute path of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fer_id.loggers.disclosure import public_figures, result_numbers

if TYPE_CHECKING:
    import pandas as pd
    import wandb
    from matplotlib.figure import Figure

    from fer_id.reporting.gallery import Shown
    from fer_id.runs.metrics import Metrics

Upload = dict[str, str]
"""``key``, ``clip_id`` and ``subject_id`` of a picture of a real face that was sent."""


def send_results(
    run: wandb.Run,
    metrics: Metrics,
    figures: Mapping[str, Figure],
    per_class: pd.DataFrame,
    *,
    real: bool,
    hidden: Mapping[str, str],
) -> None:
    """Send the final numbers, the per-class table and the figures that may leave, see ``fer_id.loggers.disclosure``.

    ``per_class`` and ``real`` are as in :func:`~fer_id.loggers.disclosure.result_numbers`, ``hidden`` comes from
    :func:`~fer_id.loggers.disclosure.withheld`.
    """
    run.summary.update({"provenance": metrics.provenance} | {f"{word}/withheld": why for word, why in hidden.items()})
    if "test" in hidden:
        return
    import wandb

    run.summary.update(result_numbers(metrics, per_class, real=real))
    run.log({"test/per_class": wandb.Html(_html(per_class, "{:.3f}"))})
    leaving = public_figures(figures, metrics.provenance, real=real)
    run.log({f"figures/{name}": figure_image(figures[name]) for name in leaving})


def send_explanation(
    run: wandb.Run, explanation: Mapping[str, Any], gallery: Sequence[Shown], *, faces: bool
) -> list[Upload]:
    """Send ``explain.json`` without its groups, as table and figures, and the film strips that may leave; return the
    pictures of real faces that were sent, chosen as in :func:`strip_images`."""
    import pandas as pd
    import wandb

    from fer_id.reporting.explanation import class_table
    from fer_id.reporting.explanation_figures import draw, mark

    marked = f", {mark(explanation)}" if mark(explanation) else ""
    if explanation["leakage"]["value"] is not None:
        run.summary["explain/leakage"] = explanation["leakage"]["value"]
    table = pd.DataFrame(class_table(explanation)).astype({"class": str})
    caption = f"<p>{explanation['provenance']} data; attribution relative to area{marked}</p>"
    run.log({"explain/by_class": wandb.Html(caption + _html(table, "{:.2f}"))})
    run.log({f"explain/{name}": figure_image(figure) for name, figure in draw(explanation).items()})
    images, uploads = strip_images({"explain/clips": gallery}, faces=faces, marked=marked)
    if images:
        run.log(images)
    return uploads


def figure_image(figure: Figure) -> wandb.Image:
    """Return a figure as W&B's image."""
    import matplotlib.pyplot as plt  # noqa: F401  # wandb needs it imported to convert a figure
    import wandb

    return wandb.Image(figure)


def strip_images(
    panels: Mapping[str, Sequence[Shown]], *, faces: bool, marked: str = ""
) -> tuple[dict[str, list[wandb.Image]], list[Upload]]:
    """Return the film strips that may leave, as W&B images by key of a panel, and the uploads of real faces among them.

    With ``faces`` pictures of people may leave, if they consented to ``media_sharing``; drawn ones always may.
    ``marked`` is a note on all their maps, for captions.
    """
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
    defined = table.fillna(float("nan"))  # None would be printed as text
    return str(defined.to_html(index=False, float_format=digits.format, na_rep="undefined", border=0))
