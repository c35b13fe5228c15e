"""``fer-id synth``: a cohort of drawn children, as a ClipStore or as a cohort folder with videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from experiments.verbs.inspect import describe, require_free
from fer_id.settings import Clash, setting
from fer_id.simulation.drawn.clip_store import SyntheticConfig, write_synthetic_store
from fer_id.simulation.drawn.site_videos import HEIGHT, VIDEO_FPS, WIDTH, write_cohort_folder
from fer_id.simulation.strips import film_strips
from fer_id.store.reader import ClipStore


@dataclass
class SynthConfig(SyntheticConfig):
    """Configuration of a drawn cohort and its output."""

    as_: str = setting(
        "store",
        choices=("store", "videos"),
        help="store: aligned crops to train on; videos: a cohort folder, as a site hands it over, for `prepare`",
    )
    out: str = setting("", required=True, help="folder of the store or the cohort to make")
    overwrite: bool = setting(False, help="replace what is there")
    workers: int = setting(0, min=0, max=256, help="processes that draw; 0: one per core")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of videos with a shortcut patch, and of clips with less than two frames."""
        if self.as_ == "videos" and self.shortcut != "none":
            yield Clash(("shortcut",), f"{self.shortcut} is drawn into crops; say as=store")
        if self.as_ == "videos" and self.frames / self.fps * VIDEO_FPS < 2:
            yield Clash(
                ("frames", "fps"), f"give a clip of less than two frames of a video with {VIDEO_FPS} per second"
            )


def synth(config: SynthConfig) -> str:
    """Write the cohort, a store with a picture ``strips.png``; return its summary."""
    out = Path(config.out)
    require_free(out, overwrite=config.overwrite)
    cohort = SyntheticConfig(**{field.name: getattr(config, field.name) for field in fields(SyntheticConfig)})
    if config.as_ == "videos":
        write_cohort_folder(cohort, out, overwrite=config.overwrite, workers=config.workers)
        return (
            f"{out}: {config.subjects} drawn subjects on {len(list((out / 'videos').iterdir()))} videos "
            f"({WIDTH}x{HEIGHT}, {VIDEO_FPS} frames per second)\n"
            f"next: fer-id prepare data=cohort data.source={out} out={out}_store"
        )
    write_synthetic_store(cohort, out, overwrite=config.overwrite, workers=config.workers)
    strips = film_strips(cohort, out / "strips.png")
    return f"{describe(ClipStore.open(out))}\npicture: {strips}"
