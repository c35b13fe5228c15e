"""Face landmarks by MediaPipe: 478 mesh points, and the 68 iBUG points that the project uses."""

from __future__ import annotations

import functools
import math
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fer_id.preprocessing.alignment import check_image
from fer_id.preprocessing.landmarker_file import find_bundle, silence, system_libraries
from fer_id.preprocessing.offline import OfflineThread
from fer_id.processes import in_processes
from fer_id.types import LANDMARKS

MESH_68: tuple[int, ...] = (
    *[127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356],  # 0-16 jaw, ear to ear
    *[70, 63, 105, 66, 107], *[336, 296, 334, 293, 300],  # 17-26 brows, upper edge
    *[168, 197, 195, 4], *[98, 97, 2, 326, 327],  # 27-35 bridge and base of the nose
    *[33, 160, 158, 133, 153, 144], *[362, 385, 387, 263, 373, 380],  # 36-47 eyes
    *[61, 40, 37, 0, 267, 270, 291, 405, 314, 17, 84, 181],  # 48-59 outer lips
    *[78, 82, 13, 312, 308, 317, 14, 87],  # 60-67 inner lips
)  # fmt: skip
"""Index of the mesh point for each iBUG point.

MediaPipe publishes no such mapping, and public ones (such as PeizhiYan/Mediapipe_2_Dlib_Landmarks) differ, mostly on
the jaw. Here points with a meaning of their own are fixed (chin 152, eye corners 33/133 and 362/263, lip corners 61 and
291, nose tip 4), and brows and nostrils follow the public mappings. Of the face oval, the eyes and the bridge of the
nose, the contour points nearest to equal steps of arc length on the mean mesh of 244 frontal faces of FER2013 were
taken; of the lips, those nearest, in the mean over 1,207 such faces, to the points of dlib's predictor, which learned
from the annotations of 300-W. Left and right mirror each other under ``FLIP_68``. The mesh's oval is a line on the
head: in a turned face the far side of the jaw lies farther in than an annotator, who follows the visible outline, would
put it."""

MESH_MAPPING = "mesh-2"
"""Version of :data:`MESH_68` in a card (``StoreCard.landmarks_from``). In ``mesh-1`` the points 55 and 59 were mesh 321
and 91, and 61, 63, 65, 67 were mesh 81, 311, 402, 178, about a ninth of the mouth's width from here."""

STILL_SIDE = 192  # pixels to which the longer side of a smaller still is enlarged
STILL_CONFIDENCE = 0.3  # confidence threshold for stills that are known to show a face
_CHUNK = 16  # stills per message to a worker: enough to hide the cost of the transfer


@dataclass(frozen=True)
class Face:
    """Detected face; MediaPipe applies its confidence thresholds but does not return the confidence."""

    # float32 (68, 2), iBUG order, image pixels (x, y), pixel centres at whole numbers; may lie outside
    points68: NDArray[np.float32]
    points478: NDArray[np.float32]  # float32 (478, 2), mesh order, image pixels
    # name -> [0, 1], such as ``mouthSmileLeft``; empty unless enabled in the landmarker
    blendshapes: dict[str, float] = field(default_factory=dict)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box of the mesh: left, top, right, bottom, pixels."""
        (x0, y0), (x1, y1) = self.points478.min(axis=0), self.points478.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    @property
    def middle(self) -> tuple[float, float]:
        """Centre (x, y) of the box, pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def size(self) -> float:
        """Side of a square of the same area as the box, pixels."""
        return max(math.sqrt(self.area), 1e-6)


def mesh_to_68(points478: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the iBUG points (..., 68, 2) of mesh points (..., 478, 2); see :data:`MESH_68`."""
    return points478[..., MESH_68, :]


class FaceLandmarker:
    """MediaPipe's FaceLandmarker in IMAGE mode: the points depend on the image alone, not on earlier images.

    MediaPipe sends usage metrics to its maker, which no option disables. It runs in an
    :class:`~fer_id.preprocessing.offline.OfflineThread`, so nothing is sent, unless the process has used MediaPipe
    directly before.

    Create one landmarker per process, after the fork or spawn, and close it::

        with FaceLandmarker() as landmarker:
            faces = landmarker.detect(image)

    ``bundle`` is the model file; None finds or fetches it, see
    :func:`fer_id.preprocessing.landmarker_file.find_bundle`. ``confidence`` is the threshold in [0, 1] of both the
    detector and the mesh's presence score; with ``blendshapes`` the faces have the 52 expression coefficients, too.

    Raise ConfigError where the model file, mediapipe or a system library of it is missing, or the system cannot keep
    MediaPipe from the network.
    """

    def __init__(
        self,
        bundle: str | Path | None = None,
        *,
        max_faces: int = 1,
        confidence: float = 0.5,
        blendshapes: bool = False,
    ) -> None:
        # Bytes instead of a path: MediaPipe resolves a relative path from its own folder.
        models = find_bundle(bundle).read_bytes()
        self._thread = OfflineThread()
        with system_libraries(), silence():
            self._mp, self._landmarker = self._thread.call(_load, models, max_faces, confidence, blendshapes)
            self.detect(np.zeros((64, 64, 3), dtype=np.uint8))  # MediaPipe prints messages at the first image
        _ignore_profiling()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the models; at the interpreter's end MediaPipe would fail on its own half-removed modules."""
        with suppress(RuntimeError):  # closed already, or the interpreter ends and its threads are gone
            self._thread.call(self._landmarker.close)
        self._thread.close()

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Detect the faces of an RGB image, uint8 (H, W, 3), the largest first; raise DataError for any other image."""
        check_image(image)
        result = self._thread.call(self._detect, image)
        faces = []
        for index, mesh in enumerate(result.face_landmarks):
            relative = np.array([(point.x, point.y) for point in mesh], dtype=np.float64)
            # 0 and 1 are the image's edges, half a pixel outside the centres of its outermost pixels.
            points = (relative * (image.shape[1], image.shape[0]) - 0.5).astype(np.float32)
            shapes = result.face_blendshapes[index] if result.face_blendshapes else []
            faces.append(Face(mesh_to_68(points), points, {s.category_name: float(s.score) for s in shapes}))
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def _detect(self, image: NDArray[np.uint8]) -> Any:
        picture = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        return self._landmarker.detect(picture)


def _load(models: bytes, max_faces: int, confidence: float, blendshapes: bool) -> tuple[Any, Any]:
    """Return the module ``mediapipe`` and its landmarker."""
    import mediapipe

    mp: Any = mediapipe
    options = mp.tasks.vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_buffer=models),
        running_mode=mp.tasks.vision.RunningMode.IMAGE,
        num_faces=max_faces,
        min_face_detection_confidence=confidence,
        min_face_presence_confidence=confidence,
        output_face_blendshapes=blendshapes,
    )
    return mp, mp.tasks.vision.FaceLandmarker.create_from_options(options)


def _ignore_profiling() -> None:
    """Register in Python that SIGPROF is ignored, as MediaPipe's native code has set before it sends that signal.

    A Lightning Trainer in the same process (a notebook) restores the handlers known to Python when it ends: without
    this the default handler, which kills the process.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def landmarks_of_still(image: NDArray[np.uint8], landmarker: FaceLandmarker) -> NDArray[np.float32]:
    """Return the landmarks, float32 (68, 2) in its pixels, of the face that fills a small image, such as FER2013's
    48x48; all NaN where no face was found.

    The image, uint8 (H, W, 3) RGB, is enlarged (cubic) until its longer side has 192 pixels, and gets a replicated
    border of half its size, because the detector was trained on faces with surroundings. With a landmarker of
    ``confidence=STILL_CONFIDENCE`` it detects 93 % of FER2013.
    """
    import cv2

    check_image(image)
    height, width = image.shape[:2]
    factor = max(1.0, STILL_SIDE / max(height, width))
    big_w, big_h = round(width * factor), round(height * factor)
    big = cv2.resize(image, (big_w, big_h), interpolation=cv2.INTER_CUBIC)
    border = max(big_h, big_w) // 2
    framed = cv2.copyMakeBorder(big, border, border, border, border, cv2.BORDER_REPLICATE)
    faces = landmarker.detect(np.asarray(framed, dtype=np.uint8))
    if not faces:
        return np.full((LANDMARKS, 2), np.nan, dtype=np.float32)
    scale = np.array([width / big_w, height / big_h])
    points: NDArray[np.float32] = ((faces[0].points68 - border + 0.5) * scale - 0.5).astype(np.float32)
    return points


def landmarks_of_stills(
    images: Iterable[NDArray[np.uint8]], workers: int = 1, bundle: str | Path | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield :func:`landmarks_of_still` of many images in their order, computed by several processes.

    The result does not depend on the number of ``workers`` (1: this process); memory is constant, images are drawn as
    workers become free. Raise ConfigError as :class:`FaceLandmarker`, and DataError where an image is not RGB of uint8.
    """
    path = find_bundle(bundle)
    if workers <= 1:
        with FaceLandmarker(path, confidence=STILL_CONFIDENCE) as landmarker:
            for image in images:
                yield landmarks_of_still(image, landmarker)
        return
    source = iter(images)
    chunks = iter(lambda: list(islice(source, _CHUNK)), [])
    landmarks = in_processes(functools.partial(_landmarks_of_chunk, bundle=path), chunks, None, workers)
    yield from chain.from_iterable(landmarks)


def _landmarks_of_chunk(images: list[NDArray[np.uint8]], bundle: Path) -> list[NDArray[np.float32]]:
    landmarker = landmarker_of_process(bundle, 1, STILL_CONFIDENCE)
    return [landmarks_of_still(image, landmarker) for image in images]


@functools.cache
def landmarker_of_process(bundle: Path, max_faces: int, confidence: float) -> FaceLandmarker:
    """Return the landmarker of a worker process, which is closed when the process ends."""
    from multiprocessing.util import Finalize

    import cv2

    cv2.setNumThreads(0)
    landmarker = FaceLandmarker(bundle, max_faces=max_faces, confidence=confidence)
    Finalize(None, landmarker.close, exitpriority=1)  # a worker process ends without running atexit
    return landmarker
