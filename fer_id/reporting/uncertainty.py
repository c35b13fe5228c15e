"""Output of ``fer-id uncertainty``: table, numbers, and a page with aleatoric and epistemic uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fer_id.files import atomic_write_bytes
from fer_id.reporting import style
from fer_id.reporting.doubt import uncertainty_sentences
from fer_id.reporting.jobs import run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.runs.metrics import Uncertainty
from fer_id.runs.run_dir import RunDir

FOLDER = "uncertainty"
_MOST_SHOWN = 12  # clips of each list


def write_uncertainty(run: RunDir, table: pd.DataFrame, scores: Uncertainty, provenance: str) -> Path:
    """Write ``uncertainty.parquet``, ``uncertainty.json`` and ``index.html``; return the page's path.

    Args:
        run: the run.
        table: from :func:`fer_id.evaluation.confidence.uncertainty.uncertainty_table`.
        scores: from :func:`fer_id.evaluation.confidence.uncertainty.uncertainty_scores`.
        provenance: provenance of the clips.
    """
    folder = run.path / FOLDER
    atomic_write_bytes(folder / "uncertainty.parquet", table.to_parquet(index=False))
    scores.write(folder / "uncertainty.json")
    return write_page(
        folder / "index.html",
        "uncertainty.html.j2",
        title=run_name(run),
        provenance=provenance,
        found=scores,
        sentences=uncertainty_sentences(scores),
        picture=data_uri(style.svg(doubt_figure(table, provenance))),
        lists={
            "Most unlike anything seen": _most(table, "epistemic"),
            "Most ambiguous": _most(table, "aleatoric"),
        },
    )


def doubt_figure(table: pd.DataFrame, provenance: str) -> Figure:
    """Draw each clip as a dot by aleatoric and epistemic uncertainty, coloured by whether the prediction is right."""
    kinds = {
        "right": (table["right"].fillna(False).astype(bool), "o", style.BLUE),
        "wrong": (~table["right"].fillna(True).astype(bool), "X", style.VERMILION),
        "no label": (table["right"].isna(), "o", style.MUTED),
    }
    with style.styled():
        figure = style.new_figure(5.6, 4.4, "Two kinds of doubt", provenance)
        axes = figure.subplots()
        for name, (rows, marker, colour) in kinds.items():
            if rows.any():
                label = f"{name} ({int(rows.sum()):,})"
                x, y = table["aleatoric"][rows], table["epistemic"][rows]
                axes.plot(x, y, marker, color=colour, markersize=4, alpha=0.6, markeredgewidth=0, label=label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.set_xlabel("ambiguous: mean entropy of the members (nats)")
        axes.set_ylabel("unlike anything seen: mutual information (nats)")
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _most(table: pd.DataFrame, measure: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.nlargest(_MOST_SHOWN, measure).to_dict("records")  # type: ignore[assignment]
    return [row | {"right": None if pd.isna(row["right"]) else bool(row["right"])} for row in rows]
