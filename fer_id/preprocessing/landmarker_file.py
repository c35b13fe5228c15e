"""MediaPipe's model bundle (not in its wheels since 0.10.30) and the system libraries that MediaPipe loads."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from fer_id.errors import ConfigError
from fer_id.files import atomic_write_bytes
from fer_id.inputs import MB, read_bytes
from fer_id.places import expanded, user_folder
from fer_id.progress import say

BUNDLE_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
"""Checksum of the official bundle (float16, version 1, Apache-2.0); landmarks of another model are not comparable."""
BUNDLE_VARIABLE = "FER_ID_FACE_LANDMARKER"

_BUNDLE_BYTES = 3_758_596
_MOST_BYTES = 64 * MB
_TIMEOUT_S = 30
_DEBIAN = {"libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2"}


def find_bundle(path: str | Path | None = None) -> Path:
    """Return the bundle's path: ``path``, else ``$FER_ID_FACE_LANDMARKER``, else the user's cache, filled on first use.

    Raise ConfigError, with where to put the file by hand, where the named file is missing or not the official one, or
    the download failed.
    """
    named = path or os.environ.get(BUNDLE_VARIABLE)
    if named:
        return _checked(expanded(str(named)), "the path given" if path else BUNDLE_VARIABLE)
    cached = cache_path()
    if not cached.is_file() or _sha256(cached.read_bytes()) != BUNDLE_SHA256:
        atomic_write_bytes(cached, _download(BUNDLE_URL, cached))
    return cached


def cache_path() -> Path:
    """Return the bundle's path in the user's cache (``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    remedy = f"say {BUNDLE_VARIABLE}=FILE, or XDG_CACHE_HOME=FOLDER"
    return user_folder("XDG_CACHE_HOME", ".cache", remedy) / "fer_id" / "face_landmarker.task"


def _checked(path: Path, origin: str) -> Path:
    try:
        checksum = _sha256(read_bytes(path, ConfigError, most=_MOST_BYTES))
    except ConfigError as problem:
        reason = str(problem).removeprefix(f"{path}: ")
        raise ConfigError(f"{path} (from {origin}): {reason}; download it from {BUNDLE_URL}") from None
    if checksum != BUNDLE_SHA256:
        raise ConfigError(
            f"{path} (from {origin}): its sha256 is {checksum}, expected {BUNDLE_SHA256}; "
            f"it is damaged or another version. Replace it with {BUNDLE_URL}"
        )
    return path


def _download(url: str, place: Path) -> bytes:
    """Download the bundle; ConfigError for no network, a server error, or other content (a login page, for example)."""
    by_hand = (
        f"Where there is a network: curl --create-dirs -o {place} {BUNDLE_URL}. Or copy the file here and name it: "
        f"face_landmarker=FILE of predict, data.face_landmarker=FILE of prepare, or {BUNDLE_VARIABLE}=FILE"
    )
    say(f"fetching MediaPipe's face models (4 MB) from {url}")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # a fixed https address
            content: bytes = response.read(_BUNDLE_BYTES + 1)
    except (OSError, HTTPException) as problem:  # URLError, HTTPError and timeouts are OSError
        raise ConfigError(f"cannot fetch MediaPipe's face models ({problem}). {by_hand}") from None
    if _sha256(content) != BUNDLE_SHA256:
        raise ConfigError(f"{url} sent something else (sha256 {_sha256(content)}, expected {BUNDLE_SHA256}). {by_hand}")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def system_libraries() -> Iterator[None]:
    """Raise ConfigError with the Debian package to install where loading mediapipe lacks a system library."""
    try:
        yield
    except (ImportError, OSError) as problem:
        missing = re.search(r"lib\w+\.so[.\d]*", str(problem))
        if missing is None:
            raise ConfigError(
                f"mediapipe cannot be loaded: {problem}; reinstall the project's dependencies"
            ) from problem
        package = _DEBIAN.get(missing[0])
        advice = f"apt-get install {package}" if package else "install the package that holds it"
        raise ConfigError(f"mediapipe needs the system library {missing[0]}: {advice}") from problem


@contextmanager
def silence() -> Iterator[None]:
    """Discard standard error of native code: MediaPipe's start-up messages ignore every log level. Errors still arrive
    as exceptions."""
    original, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
