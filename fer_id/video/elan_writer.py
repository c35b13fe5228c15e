"""Writer of a timeline for ELAN (``.eaf``): tiers of predictions, and a tier ``corrected`` for a person's labels.

The tier ``corrected`` has an empty segment for each segment with a face: only a label that a person enters counts as an
opinion, never a prediction that nobody reviewed.
"""

from __future__ import annotations

import mimetypes
from typing import Any

from fer_id.video.timeline import ANSWERED, NO_FACE, Timeline

ABOUT, EMOTION, REVIEW, GAPS, CORRECTED = "about", "emotion", "for_review", "no_face", "corrected"
TIERS = (ABOUT, EMOTION, REVIEW, GAPS, CORRECTED)
VOCABULARY = "emotions"

VIDEO, VIDEO_SHA256, SUBJECT = "fer_id video", "fer_id video sha256", "fer_id subject"
_MS = 1000


def write(timeline: Timeline, media: str) -> bytes:
    """Return the content of an ``.eaf``.

    Args:
        timeline: predictions to write.
        media: path of the video as seen from the folder of the file.
    """
    from pympi.Elan import Eaf, to_string

    eaf = Eaf(author="fer_id")
    eaf.remove_tier("default")
    _add_vocabulary(eaf, timeline.labels.names)
    for tier in TIERS:
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
