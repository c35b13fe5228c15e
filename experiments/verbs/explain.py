"""``fer-id explain RUN``: attribution maps of a model measured on facial regions, with sanity checks of the maps.

The maps explain the class that the run predicted for its test clips, by the model of the clip's fold. ``explain/`` in
the run holds ``explanations.parquet`` (a row per clip), ``explain.json`` (the numbers) and ``index.html`` (the page).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_id.errors import RunError
from fer_id.explain.config import ExplainConfig
from fer_id.files import atomic_write_bytes, plain, write_json
from fer_id.progress import track
from fer_id.runs.run_dir import RunDir
from fer_id.settings import setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from data_modules.base import FerDataModule
    from fer_id.evaluation.config import Rows
    from fer_id.evaluation.scores import Floats
    from fer_id.explain.checks import Checked
    from fer_id.explain.clips import Explained
    from fer_id.reporting.gallery import Shown
    from fer_id.types import ClipBatch

_MOST_IN_GALLERY = 8  # of each kind
_OTHER_METHODS = "Grad-CAM beside other methods, on the 8x8 cells on which they are compared"


@dataclass
class ExplainRunConfig(ExplainConfig):
    """Configuration of the explanation of a run."""

    run: str = setting("", required=True, help="folder of a finished run")


class FoldExplanation(NamedTuple):
    """Explanation of one fold's model: attribution on its clips, sanity checks of some clips' maps, the data module of
    the clips, the name of the Grad-CAM layer, and the precision of the computation."""

    explained: Explained
    checked: Checked | None
    data: FerDataModule
    layer: str
    precision: str


def explain(config: ExplainRunConfig) -> str:
    """Explain a run; return the main results as text."""
    from fer_id.reporting.explanation import read_sentences
    from fer_id.reporting.report import write_report

    run = RunDir.open(config.run, changing=True)
    explain_run(run, config)
    write_report(run)  # the report has a section on the explanation
    return "\n".join([*read_sentences(run), str(run.path / "explain" / "index.html")])


def explain_run(run: RunDir, config: ExplainConfig) -> tuple[dict[str, object], dict[str, Figure], list[Shown]]:
    """Write ``explain/`` into a run, which need not be marked finished yet; return the contents of ``explain.json``,
    its figures, and the gallery."""
    import pandas as pd

    from fer_id.evaluation.predictions import class_names
    from fer_id.explain.shares import GROUP
    from fer_id.explain.summary import summary
    from fer_id.reporting.explanation import write_explanation

    predictions = run.predictions()
    test = predictions[predictions["split"] == "test"]
    labels = class_names(test)
    chosen = balanced(test, config.clips)
    checked = balanced(chosen[chosen["predicted"].notna()], config.checks)
    folds = [_explain_fold(fold, chosen, checked, config) for fold in run.folds or [run]]
    if not (parts := [part for part in folds if part is not None]):
        raise RunError(f"{run.path}: no test clip was chosen (clips={config.clips}), so nothing is explained")
    first = parts[0]
    rows = pd.concat([part.explained.rows for part in parts], ignore_index=True)
    confidence = [float(row.get(f"p_{row['predicted']}", "nan")) for row in chosen.to_dict("records")]
    columns = chosen[["clip_id", "fold", "label", "predicted"]].assign(confidence=confidence)
    columns = columns.assign(**{f"{GROUP}{name}": chosen[name] for name in first.data.groups})
    rows = rows.merge(columns, on="clip_id", how="left", validate="one_to_one")
    checks, curves, methods = _pooled([part.checked for part in parts if part.checked is not None])
    content: dict[str, object] = plain(
        {
            "provenance": first.data.provenance,
            "model": run.config()["model"]["name"],
            "layer": first.layer,
            "precision": " and ".join(sorted({part.precision for part in parts})),
            **summary(rows, labels, first.data.groups, checks=checks, methods=methods),
            "curves": curves,
        }
    )
    (run.path / "explain").mkdir(exist_ok=True, mode=0o700)
    atomic_write_bytes(run.path / "explain" / "explanations.parquet", rows.to_parquet(index=False))
    write_json(run.path / "explain" / "explain.json", content)
    gallery = _gallery(parts, rows)
    return content, write_explanation(run, content, gallery), gallery


def balanced(test: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """Return ``count`` clips, equally many of each class and the same in every run on a store; subjects alternate, so
    that few clips do not come from one child."""
    if count is None:
        return test
    order = test.assign(key=[hashlib.blake2b(str(clip).encode()).hexdigest() for clip in test["clip_id"]])
    order = order.sort_values("key")
    order["turn"] = order.groupby(["subject_id", "label"], dropna=False).cumcount()
    order = order.sort_values(["turn", "key"])
    order["place"] = order.groupby("label", dropna=False).cumcount()
    return order.sort_values(["place", "key"]).head(count).drop(columns=["key", "turn", "place"])


def _explain_fold(
    run: RunDir, chosen: pd.DataFrame, checked: pd.DataFrame, config: ExplainConfig
) -> FoldExplanation | None:
    """Explain the chosen test clips of one fold's model; None where the fold has none of them."""
    from experiments.training.trained_model import TrainedModel
    from fer_id.explain.checks import check_clips
    from fer_id.explain.clips import explain_clips, with_targets
    from fer_id.explain.layers import choose_layer

    trained = TrainedModel.open(run)
    data = trained.data
    data.batch_size = config.batch_size
    rows = _rows(data, chosen)
    if not len(rows):
        return None
    layer = choose_layer(trained.model.encoder, config.layer, trained.data.crop)
    predicted = chosen.dropna(subset="predicted").set_index("clip_id")["predicted"]
    targets = {str(clip): data.labels.index(name) for clip, name in predicted.items()}
    lengths = {str(clip): int(length) for clip, length in zip(data.clips["clip_id"], data.clips["length"], strict=True)}
    few, checks = _rows(data, checked), None
    with trained.autocast():
        explained = explain_clips(trained.model, _batches(data, rows, "explaining"), targets, layer, lengths)
        if len(few):
            batches = _batches(data, few, "checking the maps")
            targeted = (with_targets(batch, targets, trained.device) for batch in batches)
            clips = (batch for batch in targeted if batch is not None)
            control = trained.with_random_weights()
            checks = check_clips(trained.model, control, clips, layer, seed=trained.config.seed)
    return FoldExplanation(explained, checks, data, layer, trained.precision)


def _pooled(checked: list[Checked]) -> tuple[pd.DataFrame | None, dict[str, Floats], dict[str, pd.DataFrame]]:
    """Pool rows, mean curves and methods of all folds."""
    import pandas as pd

    if not checked:
        return None, {}, {}
    rows = pd.concat([fold.rows for fold in checked], ignore_index=True)
    curves = {name: np.concatenate([fold.curves[name] for fold in checked]).mean(axis=0) for name in checked[0].curves}
    return rows, curves, {name: pd.concat([fold.methods[name] for fold in checked]) for name in checked[0].methods}


def _rows(data: FerDataModule, chosen: pd.DataFrame) -> Rows:
    test = data.fold.test
    return test[data.clips["clip_id"].iloc[test].isin(chosen["clip_id"]).to_numpy()]


def _batches(data: FerDataModule, rows: Rows, doing: str) -> Iterator[ClipBatch]:
    return track(data.plain_batches(rows), doing, -(-len(rows) // data.batch_size))


def _gallery(parts: list[FoldExplanation], rows: pd.DataFrame) -> list[Shown]:
    """Return film strips: most attribution off the face, most confident errors, most confident right clips by class,
    and maps of other methods on some checked clips."""
    from fer_id.explain.attribution import GRAD_CAM
    from fer_id.explain.shares import off_face_attribution
    from fer_id.reporting.explanation import METHOD_NAMES
    from fer_id.reporting.gallery import film_strip

    rows = rows.assign(leakage=off_face_attribution(rows))
    explained = rows[rows["target"] >= 0].sort_values("confidence", ascending=False)
    right = explained[explained["label"] == explained["predicted"]]
    others = {clip: maps for part in parts if part.checked for clip, maps in part.checked.maps.items()}
    kinds = {
        "Worst leakage first": explained.dropna(subset="leakage").sort_values("leakage", ascending=False),
        "Wrong, the surest first": explained[
            explained["label"].notna() & (explained["label"] != explained["predicted"])
        ],
        "Right, of every class the surest": right.groupby("label").head(1),
        _OTHER_METHODS: explained[explained["clip_id"].isin(others)],
    }
    places = {clip: part for part in parts for clip in part.explained.maps}
    strips = []
    for kind, clips in kinds.items():
        for record in clips.head(_MOST_IN_GALLERY).to_dict("records"):
            row = {str(key): value for key, value in record.items()}
            part = places[row["clip_id"]]
            where = part.data.clips.set_index("clip_id").loc[row["clip_id"]]
            store = part.data.stores[int(where["store"])]
            own = part.explained.maps[row["clip_id"]].astype(np.float32)
            maps = others[row["clip_id"]] if kind == _OTHER_METHODS else {GRAD_CAM: own}
            named = {METHOD_NAMES[name]: attribution for name, attribution in maps.items()}
            shareable = store.card.shareable(str(row["subject_id"]))
            clip, provenance = store.read(int(where["row"])), store.card.provenance
            strips.append(film_strip(kind, clip, named, row, provenance=provenance, shareable=shareable))
    return strips
