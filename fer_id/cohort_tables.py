"""Columns of the tables in a cohort folder, real or drawn."""

from __future__ import annotations

SUBJECT_COLUMNS = ("subject_id", "age_group", "gender", "severity", "ethnicity", "site")
CLIP_ROW_COLUMNS = ("clip_id", "subject_id", "video", "start_s", "end_s", "label", "context")
ANNOTATION_COLUMNS = ("clip_id", "annotator", "label", "confidence")
FACE_COLUMNS = ("video", "time_s", "x", "y")
CONSENT_COLUMNS = ("subject_id", "recorded_on", "status", "guardian", "assent", "purposes", "expires_on", "ethics_ref")
