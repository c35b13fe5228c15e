"""Folders of videos of people, one clip a file, with ids in their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data_modules.named_files import NamesConfig, read_names
from data_modules.patterns import compile_pattern
from data_modules.recordings import Recorded, Recording, VideoDataModule
from data_modules.video_store import VideoConfig
from fer_id.evaluation.config import SPLITS
from fer_id.settings import Clash, setting

SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".3gp"}


@dataclass
class VideoFolderConfig(NamesConfig, VideoConfig):
    """Settings of a folder of videos."""

    example: ClassVar[str] = "data.source=FOLDER 'data.pattern=**/{subject}-{label}.mp4'"
    name: str = setting("video_folder", help="dataset, chosen by data=")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of the pattern, and of one without subjects."""
        yield from (clashes := list(super().clashes()))
        if not clashes and not self.pattern:
            yield Clash(("pattern",), "is empty; say what the names hold, such as {subject}-{label}.mp4")
        elif not clashes and "subject" not in compile_pattern(self.pattern).groupindex:
            yield Clash(("pattern",), "has no field {subject}, and clips of people are divided by person")


class VideoFolderDataModule(VideoDataModule):
    """Videos whose names hold label, subject, split and groups; each file is one clip of one person.

    Without ``label_space`` the store has the smallest one with all classes.
    """

    dataset = "video_folder"
    settings = VideoFolderConfig
    splits = dict(zip(SPLITS, SPLITS, strict=True))
    layout = "videos whose names data.pattern describes"

    @classmethod
    def recorded(cls, config: VideoFolderConfig, left_out: Counter[str]) -> Recorded:
        """Return the videos whose names match ``config.pattern``, and the card; see ``read_names`` for errors."""
        files, space, columns = read_names(config.source, config, SUFFIXES, left_out)
        title = config.title or Path(str(config.source)).resolve().name
        card = config.card("real", space.name, title, columns)
        card.parameters |= config.facts
        recordings = [
            Recording(clip_id, str(subject), label, path, split=split, groups=groups)
            for path, clip_id, label, subject, split, groups in files
        ]
        return Recorded(recordings, card)
