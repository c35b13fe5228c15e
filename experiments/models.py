"""``fer-id models``: what the shipped models cost, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data_modules.config import DataConfig
from experiments.loading import read
from experiments.sources import GROUPS, group_names
from fer_id.models.config import ModelConfig
from fer_id.settings import setting

if TYPE_CHECKING:
    from fer_id.models.cost import ModelCost


@dataclass
class ModelsConfig:
    """What the costs are counted for."""

    frames: int = setting(10, min=1, max=1000, help="frames of a clip; the paper's T is 10")
    classes: int = setting(5, min=2, max=1000, help="classes")


@dataclass
class ModelFile:
    """What a file of ``configs/model/`` holds."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)


def models(config: ModelsConfig) -> str:
    """The table, in Markdown, so that it can go into a document as it is."""
    from fer_id.models.cost import cost_table

    shipped = [read(ModelFile, GROUPS / "model" / f"{name}.yaml").model for name in group_names("model")]
    rows = sorted(cost_table(shipped, config.classes, config.frames), key=lambda cost: cost.clip)
    header = ["model", "encoder", "head", "parameters (M)", "M multiply-adds a frame", f"a clip of {config.frames}"]
    lines = [header, ["---", "---", "---", "---:", "---:", "---:"], *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(cost: ModelCost) -> list[str]:
    numbers = (cost.parameters, cost.frame, cost.clip)
    return [cost.name, cost.encoder, cost.head, *(f"{number / 1e6:,.2f}" for number in numbers)]
