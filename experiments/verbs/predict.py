"""``fer-id predict VIDEO``: predictions of a model over a video, for review by a person.

The output folder holds the windows with their probabilities, a timeline, a page, and files for ELAN and BORIS. A window
below the confidence threshold has no answer in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from fer_id.errors import ConfigError
from fer_id.evaluation.config import LEAST_FACE
from fer_id.settings import Clash, setting

if TYPE_CHECKING:
    from data_modules.cohort.admission import Permitted
    from experiments.training.video_model import Opened
    from fer_id.video.inference import VideoPrediction
    from fer_id.video.timeline import Timeline, Video

UNCHECKED = (
    "Nobody's consent was checked: no cohort was given. Showing somebody to this model takes their guardian's consent "
    "and their own assent to it (purpose inference)."
)

FACE_FORMAT = "expected x,y@t with x and y from 0 to 1 and t in seconds, such as 0.3,0.45@2; each t once"
_PLACE = re.compile(r"([0-9]*\.?[0-9]+),\s*([0-9]*\.?[0-9]+)@([0-9]*\.?[0-9]+)")


@dataclass
class PredictConfig:
    """Configuration of a prediction: video, model, consent and output."""

    video: str = setting("", required=True, help="the video file")
    run: str | None = setting(
        None, help="folder of a finished run, of a cross-validation one of its folds; or shipped:fer2013"
    )
    bundle: str | None = setting(None, help="folder of a released bundle, in place of a run")
    out: str = setting("prediction", help="folder to make; it speaks of a person: for its owner only")
    overwrite: bool = setting(False, help="replace an older prediction there")
    stride: int | None = setting(
        None, min=1, max=1_000_000, help="frames from one window to the next; null: windows that touch"
    )
    fps: float | None = setting(None, above=0, max=120, help="frames per second, only where the model does not say")
    reacquire_s: float | None = setting(
        None,
        above=0,
        max=86_400,
        help="seconds without the followed face after which the most prominent one is taken for it again; null: never, "
        "since it may be somebody else's",
    )
    face: str = setting(
        "",
        help="whose face, where several people are in the picture: x,y@t, shares of the picture and seconds, such as "
        "0.3,0.45@2; several with ; between. Empty: as faces.csv of the cohort says, else the larger, more central one",
    )
    least_face: float = setting(
        LEAST_FACE, min=0, max=1, help="share of a window's frames that must show the face before it is answered"
    )
    thumbnails: bool = setting(True, help="small pictures of the followed face beside the page, for its owner only")
    cohort: str | None = setting(None, help="cohort folder whose consent.csv must allow inference for this person")
    subject: str = setting("", help="whose video it is, as subjects.csv calls them; empty: as clips.csv says")
    trusted_key: str | None = setting(None, help="of a bundle: fingerprint of the releaser's key, as they told it")
    face_landmarker: str | None = setting(
        None,
        help="file of MediaPipe's model, face_landmarker.task; null: $FER_ID_FACE_LANDMARKER, else fetched once (4 MB)",
    )

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of no model or two, and of keys without the key that they belong to."""
        if bool(self.run) == bool(self.bundle):
            yield Clash(("run", "bundle"), "give one of them: run=FOLDER, or bundle=FOLDER")
        if self.subject and not self.cohort:
            yield Clash(("subject",), "has no cohort to be looked up in; say cohort=FOLDER")
        if self.face and parse_marks(self.face) is None:
            yield Clash(("face",), f"{self.face[:60]!r}: {FACE_FORMAT}")
        if self.face and self.reacquire_s is not None:
            yield Clash(("face", "reacquire_s"), "contradict each other: nobody else's face is taken for the one said")
        if self.trusted_key and not self.bundle:
            yield Clash(("trusted_key",), "is of bundles only")


def predict(config: PredictConfig) -> str:
    """Apply the model to the video and write the folder; return the results as text.

    Raises:
        ConsentError: no consent to ``inference``; then the video is not opened.
        RunError, ConfigError, BundleError, DataError: the model cannot be used for a video, or the video is none.
    """
    from data_modules.cohort.admission import permit
    from experiments.training.video_model import open_bundle, open_run
    from fer_id.consent.keys import keys_home
    from fer_id.files import atomic_folder
    from fer_id.preprocessing.landmarker_file import find_bundle
    from fer_id.video.output import ERASURE, RECORD, notes, sentences, write_outputs

    video, out, permitted, consent = Path(config.video), Path(config.out), None, UNCHECKED
    if config.cohort:
        permitted = permit(Path(config.cohort), video, config.subject, keys_home(), date.today())
        until = f" until {permitted.until}" if permitted.until else ""
        consent = f"Consent to inference of {permitted.subject} holds{until}, checked on {date.today()}."
    landmarker = find_bundle(config.face_landmarker)  # before anything is loaded, since it may have to be fetched
    if config.bundle:
        opened = open_bundle(config.bundle, config.trusted_key, config.fps)
    else:
        opened = open_run(str(config.run), config.fps)
    if permitted is not None and permitted.provenance != "synthetic":
        _require_fit(opened, permitted)
    with atomic_folder(out, replaces=RECORD if config.overwrite else None) as draft:
        timeline = _timeline(config, video, opened, permitted, landmarker)
        write_outputs(timeline, draft, out, consent)
        if permitted is not None:  # before the folder can be opened
            facts = {"subject": permitted.subject, "video": permitted.video}
            permitted.log.append("predicted", **facts, provenance=timeline.about.provenance)
    lines = [*sentences(timeline), *notes(timeline), timeline.about.sentence, consent]
    return "\n".join([*lines, f"{ERASURE} {out}", str(out / "index.html")])


def _require_fit(opened: Opened, permitted: Permitted) -> None:
    """Raise ConfigError where the bundle is not released for this person."""
    if opened.demonstration:
        raise ConfigError("the bundle is a demonstration: it was not released for use with anybody in this cohort")
    for unfit in opened.unfit:
        columns = unfit.column.split(" x ")
        values = unfit.group.split(" x ") if len(columns) > 1 else [unfit.group]
        if len(values) == len(columns) and all(
            value in permitted.groups.get(column, ()) for column, value in zip(columns, values, strict=True)
        ):
            raise ConfigError(f"the bundle is not for use with this person: {unfit}")


def _timeline(
    config: PredictConfig, path: Path, opened: Opened, permitted: Permitted | None, landmarker: Path
) -> Timeline:
    """Run the model on the video, whose face the file ``landmarker`` finds; return the timeline."""
    from data_modules.videos import CONFIDENCE
    from fer_id.preprocessing.face_marks import Mark
    from fer_id.preprocessing.landmarks import FaceLandmarker
    from fer_id.preprocessing.tracking import MOST_FACES
    from fer_id.video.inference import open_video, predict_windows
    from fer_id.video.timeline import Timeline, judge_windows, spans, with_affect, with_face

    watcher = opened.watcher
    stride = config.stride or watcher.frames
    if stride > watcher.frames:
        raise ConfigError(
            f"stride={stride}: a window has {watcher.frames} frames; those between two windows would not be looked at"
        )
    video = open_video(path)
    marks = [Mark(*place, row=f"face={config.face}") for place in parse_marks(config.face) or ()]
    if not marks and permitted is not None:
        marks = list(permitted.marks)
    with FaceLandmarker(landmarker, max_faces=MOST_FACES, confidence=CONFIDENCE) as detector:
        watched = predict_windows(video, watcher, detector, stride=stride, reacquire_s=config.reacquire_s, marks=marks)
    settings = {
        "fps": watcher.fps,
        "window": watcher.frames,
        "stride": stride,
        "least_face": config.least_face,
        "colour": "gray" if watcher.gray else "rgb",
        "min_eye_distance": watcher.min_eye_distance,
        "precision": watcher.precision,
    }
    subject, about_model = permitted.subject if permitted is not None else "", opened.about.notes
    if subject in opened.learned_from:
        about_model += ("The model learned from this very person: it is surer of them than of anybody new.",)
    of_video = _of_video(video, watched, marked=bool(marks))
    about = replace(opened.about, settings=settings, notes=about_model, of_video=of_video)
    times = spans(watched.windows, watcher.fps, video.length_s)
    seen, sure = with_face(times, watched.frames), (about.temperature, about.threshold, config.least_face)
    windows = judge_windows(times, watched.valid, seen, watched.logits, watcher.labels, *sure)
    if watched.affect is not None:
        windows = with_affect(windows, watched.affect)
    faces = tuple(watched.faces if config.thumbnails else ())
    return Timeline(video, about, watcher.labels, watched.frames, windows, faces, subject)


def parse_marks(text: str) -> list[tuple[float, float, float]] | None:
    """Parse ``x,y@t;...`` to (t, x, y) tuples; None for another format, or for two marks of one time.

    >>> parse_marks("0.3,0.45@2")
    [(2.0, 0.3, 0.45)]
    """
    parts = [_PLACE.fullmatch(part.strip()) for part in text.split(";")] if text else []
    places = [(float(part[3]), float(part[1]), float(part[2])) for part in parts if part]
    inside = all(x <= 1 and y <= 1 for _, x, y in places)
    return places if inside and len({time for time, _, _ in places}) == len(parts) else None


def _of_video(video: Video, watched: VideoPrediction, *, marked: bool) -> tuple[str, ...]:
    """Return notes on the followed face, on losses that may have changed it, and on the video's format."""
    from fer_id.preprocessing.display import HDR_NOTE

    notes = []
    if watched.restarts:
        notes.append(
            f"The face was lost and looked for anew {watched.restarts} times: from there on it may be somebody else's."
        )
    if watched.several_faces:
        larger = (
            "the larger, more central one. If that is somebody else, predict again and say where the right face is: "
            "face=0.3,0.45@2 means three tenths of the picture from its left edge, 0.45 from its upper edge, at 2 s"
        )
        whose = "the one that was said" if marked else larger
        notes.append(
            f"More than one face in {watched.several_faces} of {len(watched.frames)} frames: followed was {whose}."
        )
    return (*notes, f"{HDR_NOTE}.") if video.hdr else tuple(notes)
