"""MediaPipe's landmarks on real faces, and the 68 points computed from them."""

import csv
import gzip
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
from cv2 import INTER_CUBIC, resize

from fer_id.errors import ConfigError, DataError
from fer_id.preprocessing.alignment import eye_centres
from fer_id.preprocessing.landmarks import (
    MESH_68,
    STILL_CONFIDENCE,
    FaceLandmarker,
    landmarks_of_still,
    landmarks_of_stills,
    mesh_to_68,
)
from fer_id.types import FLIP_68


@pytest.fixture(scope="module")
def landmarker(landmark_model):
    with FaceLandmarker(landmark_model, confidence=STILL_CONFIDENCE, max_faces=2, blendshapes=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def stills(shared_data):
    """Every 190th image of FER2013, 150 in all, as RGB."""
    with gzip.open(shared_data / "fer2013" / "fer2013.csv.gz", "rt") as file:
        rows = islice(csv.reader(file), 1, 1 + 190 * 150, 190)
        gray = [np.array(pixels.split(), dtype=np.uint8).reshape(48, 48, 1) for _, pixels, _ in rows]
    return [np.repeat(image, 3, axis=2) for image in gray]


@pytest.fixture(scope="module")
def points(stills, landmark_model):
    return np.array(list(landmarks_of_stills(stills, bundle=landmark_model)))


def test_the_mapping_is_68_points_with_the_agreed_ones():
    assert len(MESH_68) == len(set(MESH_68)) == 68
    assert [MESH_68[i] for i in (8, 36, 39, 42, 45)] == [152, 33, 133, 362, 263]
    mesh = np.arange(478 * 2, dtype=np.float32).reshape(478, 2)
    np.testing.assert_array_equal(mesh_to_68(mesh)[8], mesh[152])


@pytest.mark.slow
def test_faces_of_fer2013_are_found_at_the_known_rate(points):
    detected = np.isfinite(points).all(axis=(1, 2))
    assert np.isnan(points[~detected]).all()
    assert 0.85 < detected.mean() < 0.99


def test_points_are_laid_out_as_a_face(points):
    """Medians of FER2013, whose faces are roughly upright and centred."""
    face = np.nanmedian(points, axis=0)
    left_eye, right_eye = eye_centres(face)
    np.testing.assert_allclose([left_eye, right_eye], [(14.4, 18.4), (32.4, 18.4)], atol=1.5)
    assert (np.diff(face[:17, 0]) > 0).all()  # jaw from image-left to image-right
    assert (np.diff(face[17:27, 0]) > 0).all()  # brows
    assert (np.diff(face[27:31, 1]) > 0).all()  # down the nose
    assert (np.diff(face[31:36, 0]) > 0).all()
    assert face[8, 1] == face[:, 1].max()  # the chin is lowest
    assert face[17:27, 1].max() < left_eye[1]
    assert face[37:39, 1].max() < face[40:42, 1].min()  # upper lids above lower lids
    assert face[43:45, 1].max() < face[46:48, 1].min()
    assert face[48, 0] < face[60, 0] < face[64, 0] < face[54, 0]  # inner lips within outer lips
    assert face[51, 1] < face[62, 1] <= face[66, 1] < face[57, 1]


def test_lip_points_stand_where_annotators_put_them(points):
    """Places along the line between the corners, as dlib's 68-point predictor has them on frontal faces of FER2013."""
    expected = {
        (48, 54): {49: 0.174, 50: 0.361, 51: 0.494, 52: 0.633, 53: 0.825, 55: 0.834, 56: 0.647, 58: 0.35, 59: 0.167},
        (60, 64): {61: 0.336, 62: 0.496, 63: 0.664, 65: 0.669, 66: 0.498, 67: 0.333},
    }
    faces = points[np.isfinite(points).all(axis=(1, 2))]
    for (left, right), places in expected.items():
        line = faces[:, [right]] - faces[:, [left]]
        along = ((faces - faces[:, [left]]) * line).sum(-1) / (line**2).sum(-1)
        for index, place in places.items():
            limit = 0.075 if index in (49, 53) else 0.05  # there the mesh has no nearer point
            assert abs(np.median(along[:, index]) - place) < limit, index


def test_left_and_right_belong_together(points, stills, landmarker):
    """A mirrored picture has the mirrored points, in the order of ``FLIP_68``."""
    known = [i for i in range(40) if np.isfinite(points[i]).all()]
    mirrored = np.array([landmarks_of_still(stills[i][:, ::-1], landmarker) for i in known])
    expected = points[known][:, FLIP_68] * [-1, 1] + [47, 0]
    distance = np.linalg.norm(mirrored - expected, axis=-1)
    assert np.nanmedian(distance) < 0.75
    assert (np.nanmedian(distance, axis=0) < 1.5).all()  # a point under another name would be off by more


def test_the_same_image_gives_the_same_points(stills, points, landmarker):
    index = int(np.flatnonzero(np.isfinite(points[:, 0, 0]))[0])
    first = landmarks_of_still(stills[index], landmarker)
    landmarks_of_still(stills[index + 1], landmarker)
    np.testing.assert_array_equal(landmarks_of_still(stills[index], landmarker), first)


@pytest.mark.slow
def test_several_processes_give_the_same_in_order_and_draw_as_needed(stills, points, landmark_model):
    drawn = []
    images = [*stills[:40], np.full((48, 48, 3), 90, np.uint8), *stills[40:160]]
    landmarks = landmarks_of_stills((drawn.append(1) or image for image in images), workers=2, bundle=landmark_model)
    first = next(landmarks)
    assert len(drawn) < 160  # not all 161
    result = np.array([first, *landmarks])
    np.testing.assert_array_equal(result[:40], points[:40])
    assert np.isnan(result[40]).all()
    np.testing.assert_array_equal(result[41:], points[40:160])


def test_detect_gives_faces_the_largest_first(stills, points, landmarker):
    """Two stills side by side, one of them twice as large."""
    good = stills[int(np.flatnonzero(np.isfinite(points[:, 0, 0]))[0])]
    large, small = (resize(good, (side, side), interpolation=INTER_CUBIC) for side in (240, 120))
    image = np.full((400, 640, 3), 128, np.uint8)
    image[80:320, 360:600], image[140:260, 60:180] = large, small
    faces = landmarker.detect(image)
    assert len(faces) == 2
    assert faces[0].box[0] > 330
    assert faces[1].box[2] < 210
    for face in faces:
        assert (face.points68.shape, face.points478.shape) == ((68, 2), (478, 2))
        assert face.points68.dtype == np.float32
        assert len(face.blendshapes) == 52
        assert all(0 <= value <= 1 for value in face.blendshapes.values())


def test_no_face_is_an_empty_list(landmarker):
    assert landmarker.detect(np.full((240, 320, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("image", [np.zeros((48, 48), np.uint8), np.zeros((48, 48, 3), np.float32)])
def test_only_rgb_images_are_taken(image, landmarker, landmark_model):
    with pytest.raises(DataError, match=r"expected \(H, W, 3\) of uint8"):
        landmarker.detect(image)
    with pytest.raises(DataError, match=r"expected \(H, W, 3\) of uint8"):
        next(landmarks_of_stills([image], bundle=landmark_model))


def test_it_works_in_silence(landmark_model, capfd):
    with FaceLandmarker(landmark_model) as opened:
        opened.detect(np.zeros((100, 100, 3), np.uint8))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_without_mediapipe_the_error_says_so(landmark_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ConfigError, match="mediapipe cannot be loaded"):
        FaceLandmarker(landmark_model)


def test_importing_the_package_loads_nothing_heavy():
    modules = ("alignment", "augmentation", "landmarker_file", "landmarks")
    code = f"import sys; {'; '.join(f'import fer_id.preprocessing.{name}' for name in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cv2", "mediapipe", "albumentations", "torch"} & set(loaded)
