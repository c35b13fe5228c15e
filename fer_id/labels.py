"""Label spaces of the target emotions and of the benchmarks, and the mapping between them by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from fer_id.errors import ConfigError

SUM_TOLERANCE = 1e-3
"""Tolerance of the sum of class shares around 1; they are stored as float32 and computed in bfloat16 at worst."""


@dataclass(frozen=True)
class LabelSpace:
    """Ordered class names; their order is the order of all logits, tables and figures."""

    name: str  # of the space, in configs and cards
    names: tuple[str, ...]  # class names; the index in this tuple is the class index

    def __len__(self) -> int:
        return len(self.names)

    def index(self, label: str | None) -> int:
        """Return the class index of ``label``, -1 for None (unlabelled); ConfigError where it has no such class."""
        if label is None:
            return -1
        try:
            return self.names.index(label)
        except ValueError:
            raise ConfigError(f"label {label!r} is not in {self.name}: {', '.join(self.names)}") from None


TARGET = LabelSpace("target5", ("happy", "sad", "angry", "fear", "neutral"))
FER7 = LabelSpace("fer7", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
FERPLUS8 = LabelSpace("ferplus8", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))
AFFECTNET8 = LabelSpace("affectnet8", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"))
SPACES = {space.name: space for space in (TARGET, FER7, FERPLUS8, AFFECTNET8)}


def get_space(name: str) -> LabelSpace:
    """Return the label space of a name; raise ConfigError, with the known names, where there is none."""
    if name not in SPACES:
        near = get_close_matches(name, SPACES, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"unknown label space {name!r}{meant}; known: {', '.join(SPACES)}")
    return SPACES[name]


def map_labels(labels: Sequence[str | None], to: LabelSpace) -> tuple[list[str | None], dict[str, int]]:
    """Map labels by name into another space, to None where it lacks the name; return also the number lost by name."""
    dropped = Counter(label for label in labels if label is not None and label not in to.names)
    return [label if label in to.names else None for label in labels], dict(dropped)
