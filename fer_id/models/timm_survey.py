"""Survey of timm's backbones at 64x64: which can be built, and the size of their last feature map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
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


def family_rows(backbones: Iterable[Backbone]) -> Iterator[list[str]]:
    """Yield a row for each family, by name: number that can be built, last maps, and the others with their reasons."""
    families = groupby(sorted(backbones, key=attrgetter("family")), attrgetter("family"))
    for family, members in ((family, list(members)) for family, members in families):
        sides = [member.side for member in members if member.side is not None]
        maps = [
            f"{side}x{side}" + (" (coarse)" if side < MAP else "") if side else "tokens" for side in sorted({*sides})
        ]
        refused: dict[str, list[str]] = {}
        for member in members:
            if member.side is None:
                refused.setdefault(member.reason, []).append(member.name)
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items())
        yield [family, f"{len(sides)} of {len(members)}", ", ".join(maps), reasons.replace("|", "/")]
