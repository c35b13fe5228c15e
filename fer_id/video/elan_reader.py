"""Reader of corrections made in ELAN (``.eaf``): the tier ``corrected``, in the reviewed video's time.

ELAN counts an annotation's time from ``TIME_ORIGIN`` of the media descriptor: of a video whose first 1000 ms were cut
off in the synchronisation mode, ELAN's 0 ms is the video's 1000 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from fer_id.errors import DataError, Problems
from fer_id.inputs import MOST_ANNOTATIONS, MOST_NESTING, read_bytes
from fer_id.shapes import LATEST_S, shown
from fer_id.video.corrections import Corrected, Opinion, corrected
from fer_id.video.elan_writer import CORRECTED, SUBJECT, VIDEO, VIDEO_SHA256

MILLISECONDS = "milliseconds"

_MS = 1000
_WHOLE = re.compile(r"[+-]?\d{1,13}")


class Annotation(NamedTuple):
    """A labelled segment of the file.

    Attributes:
        name: ``annotation a7``, for messages.
        label: its text.
        start, end: names of its time slots; None without a slot.
    """

    name: str
    label: str
    start: str | None
    end: str | None


def read(path: Path) -> Corrected:
    """Return the labelled segments of the tier ``corrected``; segments without a label are ignored.

    Raises:
        DataError: not an ``.eaf``, not made by ``fer-id predict``, or without the tier; times that cannot be
            converted to the reviewed video's; a label without a stretch of time; all problems together.
    """
    root = _parsed(path)
    tiers = [tier for tier in root.iter("TIER") if tier.get("TIER_ID") == CORRECTED]
    if not tiers:
        names = ", ".join(shown(tier.get("TIER_ID")) for tier in root.iter("TIER"))
        raise DataError(f"{path}: has no tier {CORRECTED!r}; its tiers are {names[:300] or 'none'}")
    properties = {item.get("NAME"): (item.text or "").strip() for item in root.iter("PROPERTY")}
    video, sha256, subject = (properties.get(name, "") for name in (VIDEO, VIDEO_SHA256, SUBJECT))
    checked, problems = corrected(path, video, sha256, subject, []), Problems(str(path))
    origin = _origin(root, checked, problems)
    slots = _time_slots(root, problems)
    opinions = list[Opinion]()
    for annotation in (annotation for tier in tiers for annotation in _annotations(tier) if annotation.label):
        try:
            start, end = (_moment(slots, slot) + origin for slot in (annotation.start, annotation.end))
            opinions.append(_opinion(start, end, annotation.label))
        except ValueError as problem:
            problems.add(f"tier {CORRECTED}, {annotation.name}: {shown(annotation.label)!r} {problem}")
    problems.raise_if_any(DataError)
    return corrected(path, video, sha256, subject, opinions)


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
    if name is None:
        raise ValueError("has no time; align it in ELAN")
    if name not in slots:
        raise ValueError(f"refers to the time slot {shown(name)}, which is not in the file")
    if (value := slots[name]) is None:
        raise ValueError("has no time; align it in ELAN")
    return value


def _opinion(start: int, end: int, label: str) -> Opinion:
    """Return a labelled stretch of the video, or raise ValueError where its times are outside or reversed."""
    if start < 0:
        raise ValueError(f"begins at {start / _MS:.3f} s of the video, before the video does")
    if end <= start or end > LATEST_S * _MS:
        raise ValueError(f"lasts from {start / _MS:.3f} to {end / _MS:.3f} s; expected an end after its start")
    return Opinion(start / _MS, end / _MS, label)
