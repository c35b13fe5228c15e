"""Conversion of a site's cohort folder (tables, consent, videos) to a ClipStore of pseudonymous aligned clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from data_modules.base import FerDataModule
from data_modules.cohort.admission import Cohort, admit, open_keys
from data_modules.cohort.corrections import add_corrections
from data_modules.cohort.manifests import read_manifests
from data_modules.video_store import VideoConfig, Videos, written_videos
from data_modules.videos import Stretch, VideoJob
from fer_id.consent.keys import keys_home
from fer_id.consent.records import known_withdrawals, snapshot
from fer_id.errors import ConfigError
from fer_id.evaluation.agreement import agreement, vote_shares
from fer_id.labels import TARGET
from fer_id.progress import say
from fer_id.settings import Clash, setting
from fer_id.store.card import StoreCard


@dataclass
class CohortConfig(VideoConfig):
    """Settings of a cohort; ``source`` is its folder."""

    name: str = setting("cohort", help="dataset, chosen by data=")
    retention_days: int = setting(365, min=1, max=36500, help="days after which the store refuses to open")
    corrections: list[str] = setting(
        [], help="files of fer-id predict that a person corrected in ELAN or BORIS; first added to annotations.csv"
    )
    groups: list[str] = setting(
        [], help="further columns of subjects.csv and clips.csv that become group columns of the store"
    )
    annotator: str = setting("", help="who corrected them, as annotations.csv is to call them")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of ``corrections`` and ``annotator``."""
        if bool(self.corrections) != bool(self.annotator.strip()):
            yield Clash(("corrections", "annotator"), "belong together: data.corrections=FILE data.annotator=NAME")
        if self.annotator.strip()[:1] in tuple("=+@-") or not self.annotator.isprintable() or len(self.annotator) > 200:
            yield Clash(("annotator",), f"{self.annotator[:60]!r}: expected a name, at most 200 characters, no formula")


class CohortDataModule(FerDataModule):
    """A site's children: the five target classes, one shard per subject, under pseudonyms; consent in the card."""

    dataset = "cohort"
    settings = CohortConfig
    label_space = TARGET.name
    licence = "recordings of children, for what their guardians consented to; not to be passed on"
    layout = "a folder with subjects.csv, clips.csv, consent.csv and videos/"

    @classmethod
    def prepare(cls, config: CohortConfig, out: Path, *, overwrite: bool = False) -> StoreCard:
        """Convert a cohort folder to a ClipStore; an interrupted preparation continues at the next video.

        Raises:
            ConfigError: no source, or no key.
            DataError: bad tables or videos, all problems together; corrections that contradict ``annotations.csv``;
                nobody admitted; no face in any video.
        """
        if config.source is None:
            raise ConfigError("data.source is empty; say data.source=FOLDER of the cohort")
        home, manifests = keys_home(), read_manifests(Path(config.source), config.groups)
        for note in manifests.notes:
            say(note)
        key, log = open_keys(home)
        gone = known_withdrawals(home, log)
        cohort = admit(manifests, key, gone, date.today())
        if config.corrections:
            for line in add_corrections(cohort, [Path(path) for path in config.corrections], config.annotator, log):
                say(line)
            cohort = admit(read_manifests(Path(config.source), config.groups), key, gone, date.today())
        votes = None if cohort.votes is None or cohort.votes.empty else agreement(cohort.votes, TARGET)
        videos = Videos(list(_jobs(cohort, config)), _rows(cohort, cohort.manifests.groups), cohort.left_out, votes)
        card = _card(cohort, config)
        with written_videos(videos, card, out, config, overwrite=overwrite) as several:
            written = set(card.findings.coverage.by_subject)
            card.consent = {subject: consent for subject, consent in card.consent.items() if subject in written}
            admitted = {subject: consent["purposes"] for subject, consent in card.consent.items()}
            log.append("prepared", admitted=admitted, left_out=dict(cohort.left_out))  # before the store can be opened
        for line in several.sentences(out):
            say(line)
        return card


def _jobs(cohort: Cohort, config: CohortConfig) -> Iterator[VideoJob]:
    """Yield one job per video file, under any spelling of its path, in the order of the clips."""
    key, folder = cohort.key, cohort.manifests.folder.resolve()
    files = cohort.clips["video"].map(lambda video: (folder / video).resolve().relative_to(folder).as_posix())
    for video, rows in cohort.clips.groupby(files, sort=False):
        path = cohort.manifests.folder / str(video)
        marks = {name: cohort.manifests.marks_of(path, name) for name in rows["subject_id"].unique()}
        clips = rows[["clip_id", "subject_id", "start_s", "end_s"]].itertuples(index=False)
        stretches = tuple(
            Stretch(key.pseudonym("clip", clip_id), cohort.subject(name), start_s, end_s, marks[name])
            for clip_id, name, start_s, end_s in clips
        )
        name = key.pseudonym("video", str(video))
        yield VideoJob(path, name, stretches, config.min_eye_distance, config.colour == "gray", config.fps)


def _rows(cohort: Cohort, groups: list[str]) -> dict[str, dict[str, object]]:
    """Return subject, labels and groups of each annotated clip, by its pseudonym."""
    soft = {} if cohort.votes is None else vote_shares(cohort.votes, TARGET)
    people = cohort.manifests.subjects.set_index("subject_id").to_dict("index")
    rows = {}
    for clip in cohort.clips.to_dict("records"):
        shares, columns = soft.get(clip["clip_id"]), {**people[clip["subject_id"]], **clip}
        rows[cohort.key.pseudonym("clip", clip["clip_id"])] = {
            "subject_id": cohort.subject(clip["subject_id"]),
            "label": clip["label"] or _majority(shares),
            "soft_label": shares,
            **{name: columns[name] for name in groups},
        }
    return rows


def _majority(shares: list[float] | None) -> str | None:
    """Return the class with the largest share; None for a tie or without shares."""
    if shares is None or sorted(shares)[-1] == sorted(shares)[-2]:
        return None
    return TARGET.names[int(np.argmax(shares))]


def _card(cohort: Cohort, config: CohortConfig) -> StoreCard:
    card = config.card(cohort.manifests.provenance, TARGET.name, "cohort", cohort.manifests.groups)
    card.parameters["key_id"] = cohort.key.id
    admitted = cohort.clips["subject_id"].unique()
    card.consent = {cohort.subject(name): snapshot(cohort.decisions[name]) for name in admitted}
    card.expires_on = (date.today() + timedelta(days=config.retention_days)).isoformat()
    return card
