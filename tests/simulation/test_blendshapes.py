"""Drawn action units against MediaPipe's blendshapes, an independent reading of the drawings."""

from collections.abc import Iterator

import numpy as np
import pytest

from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import eye_centres
from fer_id.preprocessing.landmarks import FaceLandmarker
from fer_id.simulation.drawn.canvas import Canvas
from fer_id.simulation.drawn.expression import Array, prototype, units
from fer_id.simulation.drawn.faces import draw_person
from fer_id.simulation.drawn.geometry import Pose
from fer_id.simulation.drawn.traits import AGE_GROUPS, ETHNICITIES, GENDERS, sample_look

SIDE, SUBJECTS = 512, 6
CAMERA = np.array([[SIDE / 4.6, 0, SIDE / 2], [0, SIDE / 4.6, SIDE * 0.45]])
EXPRESSIONS = {name: prototype(name) for name in TARGET.names} | {
    "surprise": units(AU1=1, AU2=1, AU5=0.7, AU26=1, AU25=1)
}


@pytest.fixture(scope="module")
def landmarker(landmark_model: str) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(landmark_model, confidence=0.3, blendshapes=True) as reader:
        yield reader


@pytest.fixture(scope="module")
def readings(landmarker: FaceLandmarker) -> dict[str, list[dict[str, float]]]:
    """Return blendshapes of every subject in every expression, and the error of the detected eye corners."""
    return {
        name: [_read(landmarker, subject, activation) for subject in range(SUBJECTS)]
        for name, activation in EXPRESSIONS.items()
    }


def _read(landmarker: FaceLandmarker, subject: int, activation: Array) -> dict[str, float]:
    groups = AGE_GROUPS[subject % 3], GENDERS[subject % 2], ETHNICITIES[subject % 5]
    canvas = Canvas((SIDE, SIDE), CAMERA)
    canvas.pixels[:] = (200, 210, 215)
    drawn = draw_person(canvas, sample_look(*groups, np.random.default_rng(subject)), activation, Pose())
    faces = landmarker.detect(canvas.pixels)
    if not faces:
        return {}
    corners = np.abs(faces[0].points478[[33, 133, 362, 263]] - drawn[[36, 39, 42, 45]]).mean()
    unit = float(np.linalg.norm(np.diff(eye_centres(drawn), axis=0)))
    return {**faces[0].blendshapes, "corners": corners / unit}


def mean(readings: dict[str, list[dict[str, float]]], expression: str, shape: str) -> float:
    """Average a blendshape over subjects and both sides of the face."""
    names = [shape] if shape in readings["neutral"][0] else [f"{shape}Left", f"{shape}Right"]
    return float(np.mean([[reading[name] for name in names] for reading in readings[expression]]))


def test_a_face_is_detected_in_every_drawing(readings: dict[str, list[dict[str, float]]]) -> None:
    missed = [(name, subject) for name, row in readings.items() for subject, reading in enumerate(row) if not reading]
    assert not missed


def test_detected_eye_corners_are_where_they_are_drawn(readings: dict[str, list[dict[str, float]]]) -> None:
    assert max(reading["corners"] for row in readings.values() for reading in row) < 0.05  # interocular distances


@pytest.mark.parametrize(
    ("expression", "shape", "least", "margin"),
    [
        ("happy", "mouthSmile", 0.80, 0.75),
        ("happy", "eyeSquint", 0.15, 0.10),
        ("sad", "mouthFrown", 0.25, 0.20),
        ("sad", "browInnerUp", 0.60, 0.25),
        ("angry", "browDown", 0.10, 0.08),
        ("angry", "eyeSquint", 0.20, 0.15),
        ("fear", "browInnerUp", 0.70, 0.30),
        ("fear", "eyeWide", 0.35, 0.15),
        ("fear", "jawOpen", 0.25, 0.20),
    ],
)
def test_the_drawn_units_are_read(
    readings: dict[str, list[dict[str, float]]], expression: str, shape: str, least: float, margin: float
) -> None:
    """The reading is at least ``least``, and ``margin`` above that of the same people at rest."""
    read = mean(readings, expression, shape)
    assert read >= least
    assert read - mean(readings, "neutral", shape) >= margin


def test_rest_is_read_as_rest(readings: dict[str, list[dict[str, float]]]) -> None:
    for shape in ("mouthSmile", "mouthFrown", "jawOpen", "browDown"):
        assert mean(readings, "neutral", shape) < 0.1


def test_anger_lowers_the_inner_brows(readings: dict[str, list[dict[str, float]]]) -> None:
    assert mean(readings, "angry", "browInnerUp") < mean(readings, "neutral", "browInnerUp") - 0.2
