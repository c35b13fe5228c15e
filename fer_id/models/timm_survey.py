"""Survey of timm's backbones at 64x64: which can be built, and the size of their last feature map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import timm
from timm.models import model_entrypoint

from fer_id.errors import ConfigError
from fer_id.models.backbones import MAP, fit_to_crop
from fer_id.models.config import TIMM
from fer_id.progress import track


class Backbone(NamedTuple):
    """A timm model at 64x64."""

    name: str
    family: str  # module of timm that defines it, such as ``resnet``
    side: int | None  # cells a side of its last feature map; 0 where it ends in tokens; None where it cannot be built
    reason: str  # reason why it cannot be built, or empty


def survey(pattern: str) -> Iterator[Backbone]:
    """Try every timm model whose name matches a pattern with ``*``, on the meta device; ConfigError where none does."""
    names = timm.list_models(pattern)
    if not names:
        raise ConfigError(f"{TIMM}{pattern}: timm has no model of such a name")
    for name in track(names, "timm at 64x64"):
        family = model_entrypoint(name).__module__.rpartition(".")[2]
        try:
            yield Backbone(name, family, fit_to_crop(name).side, "")
        except ConfigError as refusal:
            yield Backbone(name, family, None, str(refusal).partition(" images (")[2].removesuffix("); choose another"))


@dataclass(frozen=True)
class Family:
    """Backbones that one module of timm defines."""

    name: str
    members: Sequence[Backbone]

    def cells(self) -> list[str]:
        """Return a row of the table: family, number that can be built, last maps, and the others with their reasons."""
        built = [member for member in self.members if member.side is not None]
        sides = sorted({member.side for member in built if member.side is not None})
        maps = ", ".join(f"{side}x{side}" + (" (coarse)" if side < MAP else "") if side else "tokens" for side in sides)
        refused: dict[str, list[str]] = {}
        for member in self.members:
            if member.side is None:
                refused.setdefault(member.reason, []).append(member.name)
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items())
        return [self.name, f"{len(built)} of {len(self.members)}", maps, reasons.replace("|", "/")]


def by_family(backbones: Sequence[Backbone]) -> list[Family]:
    """Return the families in alphabetical order, each with its backbones in theirs."""
    names = sorted({backbone.family for backbone in backbones})
    return [Family(name, [backbone for backbone in backbones if backbone.family == name]) for name in names]
