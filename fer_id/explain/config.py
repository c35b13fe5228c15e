"""Settings of explanations."""

from __future__ import annotations

from dataclasses import dataclass

from fer_id.settings import setting


@dataclass
class ExplainConfig:
    """Grad-CAM of test clips with facial regions, and the checks of its maps."""

    clips: int | None = setting(
        None,
        min=0,
        max=1_000_000,
        help="test clips, as many of every class, the same for every run on a store; null: all; 0: no explanation",
    )
    checks: int = setting(
        32,
        min=0,
        max=1_000_000,
        help="number of these clips whose maps are checked and compared with other methods; 0: none",
    )
    layer: str | None = setting(
        None, help="encoder layer of Grad-CAM; null: the latest with a map of at least 8x8 cells"
    )
    batch_size: int = setting(16, min=1, max=65_536, help="clips at a time; determines the memory needed")
