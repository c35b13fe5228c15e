"""Figure of predicted against annotated valence and arousal."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fer_id.evaluation.affect import affect_clips
from fer_id.evaluation.predictions import PREDICTED_AFFECT
from fer_id.reporting import style
from fer_id.reporting.words import with_sign
from fer_id.runs.metrics import Metrics
from fer_id.types import AFFECT

_MOST_DOTS = 3000
"""Clips that are drawn, evenly chosen: more dots hide each other, and make the page heavy."""


@style.styled()
def affect_scatter(predictions: pd.DataFrame, metrics: Metrics) -> Figure | None:
    """Draw predicted against annotated valence and arousal, a dot for each test clip; None without such a clip."""
    rows = affect_clips(predictions)
    if rows.empty:
        return None
    rows = rows.iloc[:: -(-len(rows) // _MOST_DOTS)]
    figure = style.new_figure(8.6, 4.3, "Valence and arousal: predicted against annotated", metrics.provenance)
    for axes, name, predicted in zip(figure.subplots(1, 2, sharey=True), AFFECT, PREDICTED_AFFECT, strict=True):
        truth, own = rows[name].to_numpy(np.float64), rows[predicted].to_numpy(np.float64)
        axes.plot([-1, 1], [-1, 1], color=style.MUTED, linewidth=0.9, linestyle=style.DASHED)
        axes.scatter(truth, own, s=max(3.0, 14 - len(rows) / 250), alpha=0.45, linewidths=0, color=style.BLUE)
        score = metrics[f"{name}_ccc"]
        axes.set_title(f"{name}: CCC {'undefined' if score is None else with_sign(score, 2)}", loc="left")
        axes.set(xlabel="annotated", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axes.grid(visible=True)
    figure.axes[0].set_ylabel("predicted")
    return figure
