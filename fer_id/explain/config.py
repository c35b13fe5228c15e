"""What can be set about explanations."""

from __future__ import annotations

from dataclasses import dataclass

from fer_id.settings import setting


@dataclass
class ExplainConfig:
    """Where the model looks: Grad-CAM on facial regions, and the checks of its maps."""

    clips: int | None = setting(
        None,
        min=0,
        max=1_000_000,
        help="test clips, as many of every class, the same ones of a store for every run; null: all; 0: no explanation",
    )
    checks: int = setting(
        32, min=0, max=1_000_000, help="of those, clips whose maps are checked and asked of other methods; 0: none"
    )
    layer: str | None = setting(None, help="of the encoder, for Grad-CAM; null: its latest map of 8x8 cells or more")
    batch_size: int = setting(16, min=1, max=65_536, help="clips at a time; what memory is needed for")
