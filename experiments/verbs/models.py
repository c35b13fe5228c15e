"""``fer-id models``: table of the models' cost, and of timm's models that work at 64x64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_modules.config import DataConfig
from experiments.config import timm_model
from experiments.settings.loading import GROUPS, chosen_by_name, group_names, load, read
from fer_id.errors import ConfigError, cut
from fer_id.models.config import TIMM, ModelConfig
from fer_id.runs.shipped import shipped_names
from fer_id.settings import REST, Clash, setting

SECTION = "model."
"""Start of the keys of a training that this verb takes."""

MOST_NAMED = 50
"""Number of timm's models up to which a pattern lists each by its name."""


@dataclass
class ModelsConfig:
    """Configuration of the cost table."""

    model: list[str] = setting(
        [],
        help="shipped models by name, .yaml files, or timm:NAME; timm:PATTERN with a * lists which of timm's work at "
        "64x64; empty: all that are shipped",
    )
    settings: list[str] = setting([], kind=REST, help="model.KEY=VALUE as in a training, for each model: no settings=")
    frames: int = setting(10, min=1, max=1000, help="frames of a clip; the paper's T is 10")
    classes: int = setting(5, min=2, max=1000, help="classes")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of a pattern beside names, which make different tables, and keys that are no model's."""
        if unknown := [cut(text) for text in self.settings if not text.startswith(SECTION)]:
            known = "model, model.* (as in a training), frames, classes"
            yield Clash(("settings",), f"{', '.join(unknown)}: unknown key. Known here: {known}")
        elif len(self.model) + len(self.settings) > 1 and any("*" in name for name in self.model):
            yield Clash(("model",), "a pattern with * stands alone")


@dataclass
class ModelFile:
    """Contents of a file of ``configs/model/``."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig, metadata=chosen_by_name("cnn_lstm", shorthand=timm_model))


def model_file(choice: str) -> ModelFile:
    """Return a model by a shipped name, ``timm:NAME``, or the path of a ``.yaml`` file; raise ConfigError where there
    is no such model, or its file has mistakes."""
    if choice.startswith(TIMM):
        return ModelFile(DataConfig(frames="frame"), ModelConfig(choice, choice, "mean"))
    if not choice.endswith(".yaml") and choice not in group_names("model"):
        known = ", ".join(group_names("model"))
        raise ConfigError(f"no shipped model of that name. Known: {known}; or {TIMM}NAME, or the path of a .yaml file")
    return read(ModelFile, Path(choice) if choice.endswith(".yaml") else GROUPS / "model" / f"{choice}.yaml")


def models(config: ModelsConfig) -> str:
    """Return the table in Markdown, and the names of the shipped weights."""
    if any("*" in name for name in config.model):
        return _timm_table(config.model[0].removeprefix(TIMM))
    from fer_id.models.build import model_cost

    names = config.model or group_names("model")
    chosen = [load(ModelFile, [f"model={name}", *config.settings]).model for name in names]
    rows = sorted((model_cost(model, config.classes, config.frames) for model in chosen), key=lambda cost: cost.clip)
    header = ["model", "encoder", "head", "parameters (M)", "M multiply-adds a frame", f"a clip of {config.frames}"]
    numbers = ((row.parameters, row.frame, row.clip) for row in rows)
    cells = [
        [row.name, row.encoder, row.head, *(f"{number / 1e6:,.2f}" for number in three)]
        for row, three in zip(rows, numbers, strict=True)
    ]
    table = _markdown([header, ["---", "---", "---", "---:", "---:", "---:"], *cells])
    shipped = ", ".join(shipped_names()) or "none, in this installation"
    return f"{table}\n\nWeights to start from (init.run=, init.encoder_from=; fer-id predict VIDEO run=): {shipped}"


def _timm_table(pattern: str) -> str:
    """Return a table of timm's models at 64x64 with their last maps and reasons of refusals, of many by family."""
    from fer_id.models.backbones import backbone_rows, family_rows, survey

    backbones = list(survey(pattern))
    if len(backbones) <= MOST_NAMED:
        return _markdown([["model", "last map", "refused, and why"], ["---"] * 3, *backbone_rows(backbones)])
    header = ["family", "work at 64x64", "last map", "refused, and why"]
    return _markdown([header, ["---", "---:", "---", "---"], *family_rows(backbones)])


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
