"""What the mirror of a run tells W&B when the run ends: numbers, tables, figures; and what is withheld of few children.

By default nothing is told that speaks of fewer than five real children: neither a test score, as of a fold that leaves
one child out, nor a learning curve of an inner validation of three. Of a trial no test score is told at all, so that
nobody chooses a configuration by one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fer_id.callbacks.mirror import close_mirror
from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS

if TYPE_CHECKING:
    import pandas as pd
    import wandb
    from matplotlib.figure import Figure

    from fer_id.reporting.gallery import Shown

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""First part of a number's name -> the split that it speaks of, as ``job.json`` calls it."""

OF_ALL = ("confusion_matrix", "per_class", "reliability", "risk_coverage")
"""Figures that speak of all test clips together; others show groups, subjects, or the curve of every fold."""

FEW = "of fewer than five children nothing is told"
CHOSEN_BY = "a trial is chosen by inner validation; nothing is told of its test clips"


def withheld(job: Mapping[str, Any], job_type: str) -> dict[str, str]:
    """Which numbers of a run W&B is not told, by the first part of their names, and why.

    Args:
        job: ``job.json``; ``children`` counts the real ones of each split. One without is told nothing of.
        job_type: ``trial`` withholds what is tested.
    """
    children = job.get("children")
    found = {
        word: FEW for word, split in SPLITS.items() if children is None or 0 < children.get(split, 0) < FEWEST_SUBJECTS
    }
    return found | ({"test": CHOSEN_BY} if job_type == "trial" else {})


def told(numbers: Mapping[str, Any], hidden: Collection[str]) -> dict[str, float]:
    """The finite numbers that are not withheld, see :func:`withheld`."""
    return {
        name: value
        for name, value in numbers.items()
        if name.partition("/")[0] not in hidden
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def mirror_results(
    run: wandb.Run,
    metrics: Mapping[str, Any],
    figures: Mapping[str, Figure],
    per_class: pd.DataFrame,
    *,
    real: bool,
    hidden: Mapping[str, str],
) -> None:
    """Sends the final numbers, the per-class table and the figures, and ends the W&B run.

    Args:
        run: from ``open_mirror``.
        metrics: ``metrics.json``; its plain numbers become ``test/<name>``.
        figures: by name; none may show a person. The one that names subjects stays here where they are not drawn;
            where they are real, all but :data:`OF_ALL` do.
        per_class: one row per class, its name in column ``class``; shown as a table, and each number as
            ``test/<class>/<column>``, so that runs can be compared by it.
        real: whether real children are among the subjects. Of their groups only the public view is sent.
        hidden: from :func:`withheld`.
    """
    run.summary.update(
        {"provenance": metrics["provenance"]} | {f"{word}/withheld": why for word, why in hidden.items()}
    )
    if "test" not in hidden:
        run.summary.update(result_numbers(metrics, per_class, real=real))
        _tables(run, metrics, figures, per_class, real=real)
    close_mirror()


def result_numbers(metrics: Mapping[str, Any], per_class: pd.DataFrame, *, real: bool) -> dict[str, Any]:
    """``metrics.json`` as numbers under ``test/``: scores with their intervals, by class, and by group."""
    from fer_id.evaluation.groups.disclosure import public_view

    numbers: dict[str, Any] = {f"test/{name}": value for name, value in told(metrics, ()).items()}
    numbers |= {
        f"test/{name}_{side}": bounds[side]
        for name, bounds in (metrics.get("intervals") or {}).items()
        for side in ("low", "high")
        if isinstance(bounds, Mapping) and bounds.get(side) is not None
    }
    for row in per_class.to_dict("records"):
        scores = told({str(name): value for name, value in row.items()}, ())
        numbers |= {f"test/{row['class']}/{name}": value for name, value in scores.items()}
    if (subgroups := metrics.get("subgroups")) is not None:
        numbers |= group_numbers(public_view(subgroups) if real else subgroups)
    return numbers


def _tables(
    run: wandb.Run, metrics: Mapping[str, Any], figures: Mapping[str, Figure], per_class: pd.DataFrame, *, real: bool
) -> None:
    import wandb

    # Not a wandb.Table: that becomes an artifact, and its manifest holds the absolute path of a local file.
    defined = per_class.fillna(float("nan"))  # None would be shown as such
    table = defined.to_html(index=False, float_format="{:.3f}".format, na_rep="undefined", border=0)
    run.log({"test/per_class": wandb.Html(table)})
    leaving = [name for name in figures if name in OF_ALL or not real]
    leaving = [name for name in leaving if name != "subjects" or metrics["provenance"] == "synthetic"]
    run.log({f"figures/{name}": wandb.Image(figures[name]) for name in leaving})


def group_numbers(subgroups: Mapping[str, Any]) -> dict[str, float | str]:
    """Subgroups as numbers to compare runs by: ``test/group/<column>/<group>/<score>``, and of every column
    ``test/gap/<column>/<score>`` with its ``p`` and its verdict in words."""
    found: dict[str, float | str] = {}
    for column, told in subgroups["columns"].items():
        for group, scores in told["groups"].items():
            numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
            found |= {f"test/group/{column}/{group}/{name}": value for name, value in numbers.items()}
        for score, gap in told["gaps"].items():
            values = {"": gap["gap"], "/ratio": gap["ratio"], "/p": gap["p_holm"], "/verdict": gap["verdict"]}
            found |= {f"test/gap/{column}/{score}{name}": one for name, one in values.items() if one is not None}
    return found


def mirror_explanation(run: wandb.Run, said: Mapping[str, Any], gallery: Sequence[Shown]) -> None:
    """Sends where the model looks: leakage by class as a table, the figures, and the film strips that may leave.

    Args:
        run: from ``open_mirror``, before :func:`mirror_results` ends it.
        said: ``explain.json``; groups stay here.
        gallery: clips; those of people without ``media_sharing`` stay here.
    """
    import pandas as pd
    import wandb

    from fer_id.reporting.explanation import class_table
    from fer_id.reporting.explanation_figures import draw, mark

    marked = f", {mark(said)}" if mark(said) else ""
    if said["leakage"]["value"] is not None:
        run.summary["explain/leakage"] = said["leakage"]["value"]
    table = pd.DataFrame(class_table(said)).astype({"class": str}).fillna(float("nan"))
    caption = f"<p>{said['provenance']} data; attribution relative to area{marked}</p>"
    html = table.to_html(index=False, float_format="{:.2f}".format, na_rep="undefined", border=0)
    run.log({"explain/by_class": wandb.Html(caption + html)})
    run.log({f"explain/{name}": wandb.Image(figure) for name, figure in draw(said).items()})
    strips = [
        wandb.Image(
            one.picture, caption=f"{one.provenance}{marked}: {one.kind}. {one.title}{one.rows and f'; {one.rows}'}"
        )
        for one in gallery
        if one.shareable
    ]
    if strips:
        run.log({"explain/clips": strips})
