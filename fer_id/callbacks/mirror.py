"""The mirror of a run in Weights & Biases: numbers, figures without people, and no code, host, path or command line.

``logging.wandb=auto`` is online where an API key is set and offline otherwise. The run's own folder stays the record.
"""

from __future__ import annotations

import math
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from pytorch_lightning.loggers import WandbLogger

    from fer_id.reporting.gallery import Shown

PRIVATE_KEYS = frozenset(
    {
        *("source", "store", "root", "run", "encoder_from", "weights", "entity"),
        *("votes", "row_flags", "images", "face_landmarker"),
    }
)
"""Settings whose values are paths or names of places; they never reach W&B."""

NAME_KEYS = frozenset({"name", "group", "tags", "monitor", "encoder"})
"""Settings that hold a slash and are no path. Any other value with one is taken for a path and stays here."""


def wandb_mode(mode: str) -> str:
    """``auto`` resolved: online where an API key is known (environment or netrc file), else offline."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return os.environ["WANDB_MODE"]
    return "online" if os.environ.get("WANDB_API_KEY") or _in_netrc() else "offline"


def _in_netrc() -> bool:
    """Whether ``wandb login`` left a key; asked here because W&B's own check prompts or goes to the network."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def open_mirror(
    folder: Path,
    *,
    mode: str,
    project: str,
    entity: str | None,
    group: str,
    job_type: str,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
) -> WandbLogger | None:
    """Starts a W&B run that lies inside the RunDir; None where ``mode`` is disabled.

    Args:
        folder: the RunDir.
        mode: ``auto``, ``online``, ``offline`` or ``disabled``.
        group: the study; its folds share it.
        job_type: ``train``, ``fold`` or ``study``.
        config: the resolved configuration; :data:`PRIVATE_KEYS` are taken out.
    """
    mode = wandb_mode(mode)
    if mode == "disabled":
        return None
    # Its cache and staging folders would else be in the home directory, with copies of the tables.
    os.environ |= dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), str(folder / "wandb"))
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    (folder / "wandb").chmod(0o700)  # it may hold pictures of children who agreed
    close_mirror()  # a logger reuses the active run: folds would write into each other
    settings = wandb.Settings(
        console="off",
        quiet=True,
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
        host="hidden",
        program="fer-id",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    wandb.setup(settings)  # makes it silent before it warns about a setting that Lightning passes
    return WandbLogger(
        name=name,
        save_dir=folder,
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        tags=list(tags),
        config=public(config),
        mode=mode,
        log_model=False,
        settings=settings,
    )


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the settings that hold paths."""
    return {
        key: public(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in PRIVATE_KEYS and (key in NAME_KEYS or not _holds_path(value))
    }


def _holds_path(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_path(item) for item in value)
    return isinstance(value, str | Path) and bool(set(str(value)) & set("/\\~"))


def mirror_results(
    logger: WandbLogger,
    metrics: Mapping[str, Any],
    figures: Mapping[str, Figure],
    per_class: pd.DataFrame,
    *,
    real: bool,
) -> None:
    """Sends the final numbers, the per-class table and the figures, and ends the W&B run.

    Args:
        logger: from :func:`open_mirror`.
        metrics: ``metrics.json``; its plain numbers become ``test/<name>``.
        figures: by name; none may show a person. The one that names subjects stays here where they are not drawn, the
            one of groups where they are real.
        per_class: one row per class, its name in column ``class``; shown as a table, and each number as
            ``test/<class>/<column>``, so that runs can be compared by it.
        real: whether real children are among the subjects. Of their groups only the public view is sent, and of fewer
            than :data:`FEWEST_SUBJECTS`, as a fold that leaves one child out has, nothing.
    """
    import wandb

    from fer_id.evaluation.disclosure import public_view
    from fer_id.evaluation.suppression import FEWEST_SUBJECTS

    run = logger.experiment
    if real and metrics["n_subjects"] < FEWEST_SUBJECTS:
        run.summary.update(
            {"provenance": metrics["provenance"], "test/withheld": "of fewer than five children nothing is told"}
        )
        close_mirror()
        return
    numbers: dict[str, Any] = {
        f"test/{k}": v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)
    }
    numbers |= {
        f"test/{name}_{side}": bounds[side]
        for name, bounds in (metrics.get("intervals") or {}).items()
        for side in ("low", "high")
        if isinstance(bounds, Mapping) and bounds.get(side) is not None
    }
    numbers |= {
        f"test/{row['class']}/{name}": value
        for row in per_class.to_dict("records")
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    if (subgroups := metrics.get("subgroups")) is not None:
        numbers |= group_numbers(public_view(subgroups) if real else subgroups)
    run.summary.update({**numbers, "provenance": metrics["provenance"]})
    # Not a wandb.Table: that becomes an artifact, and its manifest holds the absolute path of a local file.
    defined = per_class.fillna(float("nan"))  # None would be shown as such
    table = defined.to_html(index=False, float_format="{:.3f}".format, na_rep="undefined", border=0)
    run.log({"test/per_class": wandb.Html(table)})
    kept = {"groups", "group_reliability"} if real else set()
    kept |= {"subjects"} if metrics["provenance"] != "synthetic" else set()
    shown = {name: one for name, one in figures.items() if name not in kept}
    run.log({f"figures/{name}": wandb.Image(figure) for name, figure in shown.items()})
    close_mirror()


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


def mirror_explanation(logger: WandbLogger, said: Mapping[str, Any], gallery: Sequence[Shown]) -> None:
    """Sends where the model looks: leakage by class as a table, the figures, and the film strips that may leave.

    Args:
        logger: from :func:`open_mirror`, before :func:`mirror_results` ends it.
        said: ``explain.json``; groups stay here.
        gallery: clips; those of people without ``media_sharing`` stay here.
    """
    import pandas as pd
    import wandb

    from fer_id.reporting.explanation import class_table
    from fer_id.reporting.explanation_figures import draw, mark

    run, marked = logger.experiment, f", {mark(said)}" if mark(said) else ""
    if said["leakage"]["value"] is not None:
        run.summary["explain/leakage"] = said["leakage"]["value"]
    table = pd.DataFrame(class_table(said)).astype({"class": str}).fillna(float("nan"))
    caption = f"<p>{said['provenance']} data; attribution relative to area{marked}</p>"
    html = table.to_html(index=False, float_format="{:.2f}".format, na_rep="undefined", border=0)
    run.log({"explain/by_class": wandb.Html(caption + html)})
    run.log({f"explain/{name}": wandb.Image(figure) for name, figure in draw(said).items()})
    strips = [
        wandb.Image(one.picture, caption=f"{one.provenance}{marked}: {one.kind}. {one.title}")
        for one in gallery
        if one.shareable
    ]
    if strips:
        run.log({"explain/clips": strips})


def close_mirror() -> None:
    """Ends the active W&B run, if there is one."""
    import wandb

    if wandb.run is not None:
        wandb.finish()
