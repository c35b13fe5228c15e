"""Files of ELAN (``.eaf``): writer of a timeline, and reader of the labels that a person entered.

Tiers hold predictions; the tier ``corrected`` has an empty segment for each segment with a face: only a label that a
person enters counts as an opinion, never a prediction that nobody reviewed.

ELAN counts an annotation's time from ``TIME_ORIGIN`` of the media descriptor: of a video whose first 1000 ms were cut
off in the synchronisation mode, ELAN's 0 ms is the video's 1000 ms.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from fer_id.errors import DataError, Problems
from fer_id.inputs import MOST_ANNOTATIONS, MOST_NESTING, read_bytes
from fer_id.shapes import shown
from fer_id.video.corrections import Corrected, Opinion, opinion
from fer_id.video.timeline import ANSWERED, NO_FACE, Timeline

ABOUT, EMOTION, REVIEW, GAPS, CORRECTED = "about", "emotion", "for_review", "no_face", "corrected"
VOCABULARY = "emotions"

VIDEO, VIDEO_SHA256, SUBJECT = "fer_id video", "fer_id video sha256", "fer_id subject"
_MS = 1000
MILLISECONDS = "milliseconds"

_WHOLE = re.compile(r"[+-]?\d{1,13}")


class Annotation(NamedTuple):
    """A labelled segment of the file: its name for messages (``annotation a7``), text, and time slots, if any."""

    name: str
    label: str
    start: str | None
    end: str | None


def write(timeline: Timeline, media: str) -> bytes:
    """Return the content of an ``.eaf``; ``media`` is the path of the video as seen from the folder of the file."""
    from pympi.Elan import Eaf, to_string

    eaf = Eaf(author="fer_id")
    eaf.remove_tier("default")
    _add_vocabulary(eaf, timeline.labels.names)
    for tier in (ABOUT, EMOTION, REVIEW, GAPS, CORRECTED):
        eaf.add_tier(tier, ling=VOCABULARY if tier in (EMOTION, CORRECTED) else "default-lt")
    kind = mimetypes.guess_type(timeline.video.path.name)[0] or "video/mp4"
    eaf.add_linked_file(media, relpath=media, mimetype=kind)  # ELAN takes its addresses as they are, spaces and all
    eaf.add_property(VIDEO, timeline.video.name)
    eaf.add_property(VIDEO_SHA256, timeline.video.sha256)
    eaf.add_property(SUBJECT, timeline.subject)
    segments = timeline.segments()
    _annotate(eaf, ABOUT, segments[0].start_s, segments[-1].end_s, timeline.about.sentence)
    for segment in segments:
        if segment.status == NO_FACE:
            continue
        tier = EMOTION if segment.status == ANSWERED else REVIEW
        text = f"{segment.status}: {segment.words}" if segment.words else segment.answer or segment.status
        _annotate(eaf, tier, segment.start_s, segment.end_s, text)
        _annotate(eaf, CORRECTED, segment.start_s, segment.end_s, "")
    for gap in timeline.gaps():
        _annotate(eaf, GAPS, gap.start_s, gap.end_s, gap.words)
    content: bytes = to_string(eaf, encoding="UTF-8")
    return content


def _add_vocabulary(eaf: Any, labels: tuple[str, ...]) -> None:
    """Add the labels as a controlled vocabulary, for the tiers that hold labels."""
    eaf.add_language("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    eaf.add_controlled_vocabulary(VOCABULARY)
    eaf.add_cv_description(VOCABULARY, "und", "how the expression looks")
    for label in labels:
        eaf.add_cv_entry(VOCABULARY, f"cve_{label}", [(label, "und", None)])
    eaf.add_linguistic_type(
        VOCABULARY,
        param_dict={
            "LINGUISTIC_TYPE_ID": VOCABULARY,
            "TIME_ALIGNABLE": "true",
            "GRAPHIC_REFERENCES": "false",
            "CONTROLLED_VOCABULARY_REF": VOCABULARY,
        },
    )


def _annotate(eaf: Any, tier: str, start_s: float, end_s: float, text: str) -> None:
    """Add an annotation in whole milliseconds, ELAN's resolution; neighbours share their border."""
    start, end = round(start_s * _MS), round(end_s * _MS)
    if end > start:
        eaf.add_annotation(tier, start, end, text)


def read(path: Path) -> Corrected:
    """Return the labelled segments of the tier ``corrected``; segments without a label are ignored.

    Raise DataError, with all problems together, where the file is no ``.eaf``, not made by ``fer-id predict``, or
    without the tier, where times cannot be converted to the reviewed video's, and for a label without a stretch of
    time.
    """
    root = _parsed(path)
    tiers = [tier for tier in root.iter("TIER") if tier.get("TIER_ID") == CORRECTED]
    if not tiers:
        names = ", ".join(shown(tier.get("TIER_ID")) for tier in root.iter("TIER"))
        raise DataError(f"{path}: has no tier {CORRECTED!r}; its tiers are {names[:300] or 'none'}")
    properties = {item.get("NAME"): (item.text or "").strip() for item in root.iter("PROPERTY")}
    video, sha256, subject = (properties.get(name, "") for name in (VIDEO, VIDEO_SHA256, SUBJECT))
    file, problems = Corrected(path, video, sha256, subject), Problems(str(path))
    origin = _origin(root, file, problems)
    slots = _time_slots(root, problems)
    opinions = list[Opinion]()
    for annotation in (annotation for tier in tiers for annotation in _annotations(tier) if annotation.label):
        try:
            start, end = (_moment(slots, slot) + origin for slot in (annotation.start, annotation.end))
            opinions.append(opinion(start / _MS, end / _MS, annotation.label, "an end after its start"))
        except ValueError as problem:
            problems.add(f"tier {CORRECTED}, {annotation.name}: {shown(annotation.label)!r} {problem}")
    problems.raise_if_any(DataError)
    return file.holding(opinions)


class _ShallowTree(ET.TreeBuilder):
    """Builder of a document that nests at most :data:`MOST_NESTING` elements; raises ValueError beyond."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self.depth += 1
        if self.depth > MOST_NESTING:
            raise ValueError(f"nested more than {MOST_NESTING} deep")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self.depth -= 1
        return super().end(tag)


def _parsed(path: Path) -> ET.Element:
    """Return the root of the document, or raise DataError."""
    try:
        content = read_bytes(path, DataError, most=MOST_ANNOTATIONS)
        root: ET.Element = ET.XML(content, ET.XMLParser(target=_ShallowTree()))
    except (ET.ParseError, ValueError, LookupError) as problem:
        raise DataError(f"{path}: cannot be read as a file of ELAN ({str(problem)[:200]})") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{path}: cannot be read as a file of ELAN (it is {shown(root.tag)}, no ANNOTATION_DOCUMENT)")
    return root


def _origin(root: ET.Element, file: Corrected, problems: Problems) -> int:
    """Return the milliseconds of the reviewed video at which ELAN's time is 0."""
    header = root.find("HEADER")
    units = MILLISECONDS if header is None else header.get("TIME_UNITS", MILLISECONDS)
    if units != MILLISECONDS:
        problems.add(f"TIME_UNITS is {shown(units)}, expected {MILLISECONDS}; save it with a current ELAN")
    media = list(root.iter("MEDIA_DESCRIPTOR"))
    reviewed = [
        item for item in media if file.is_played_by(item.get("MEDIA_URL", ""), item.get("RELATIVE_MEDIA_URL", ""))
    ]
    origins = {item.get("TIME_ORIGIN", "0") for item in reviewed}
    if not reviewed:
        names = ", ".join(shown(item.get("MEDIA_URL", "")) for item in media[:3]) or "none"
        problems.add(
            f"its media are {names}; expected the reviewed video {shown(file.video)!r}, whose time the labels are in, "
            "and no other file of its name. Link it again in ELAN (Edit, Linked Files)"
        )
        return 0
    if len(origins) > 1:
        problems.add(
            f"the reviewed video is linked with {len(origins)} different offsets (TIME_ORIGIN); remove one link"
        )
    wrong = [origin for origin in origins if not _WHOLE.fullmatch(origin)]
    if wrong:
        problems.add(f"TIME_ORIGIN is {shown(wrong[0])}, expected whole milliseconds")
    return 0 if wrong or len(origins) > 1 else int(origins.pop())


def _time_slots(root: ET.Element, problems: Problems) -> dict[str, int | None]:
    """Return milliseconds by time slot's name; None for a slot that ELAN has not aligned."""
    slots = dict[str, int | None]()
    for slot in root.iter("TIME_SLOT"):
        name, value = slot.get("TIME_SLOT_ID", ""), slot.get("TIME_VALUE")
        if value is not None and not _WHOLE.fullmatch(value):
            problems.add(f"time slot {shown(name)}: TIME_VALUE is {shown(value)}, expected whole milliseconds")
        elif name in slots:
            problems.add(f"time slot {shown(name)} stands there twice")
        slots[name] = int(value) if value is not None and _WHOLE.fullmatch(value) else None
    return slots


def _annotations(tier: ET.Element) -> Iterator[Annotation]:
    """Yield every annotation of a tier, including annotations without text or without time slots."""
    for kind in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
        for number, item in enumerate(tier.iter(kind), start=1):
            label = "".join("".join(value.itertext()) for value in item.iter("ANNOTATION_VALUE")).strip()
            name = f"annotation {shown(item.get('ANNOTATION_ID') or number)}"
            yield Annotation(name, label, item.get("TIME_SLOT_REF1"), item.get("TIME_SLOT_REF2"))


def _moment(slots: dict[str, int | None], name: str | None) -> int:
    """Return the milliseconds of a time slot, or raise ValueError where it is absent or not aligned."""
    if name is not None and name not in slots:
        raise ValueError(f"refers to the time slot {shown(name)}, which is not in the file")
    if name is None or (value := slots[name]) is None:
        raise ValueError("has no time; align it in ELAN")
    return value
