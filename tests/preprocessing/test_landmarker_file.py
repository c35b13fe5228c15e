"""The model file is located, checked and downloaded once; without it the error states a remedy."""

import io
import urllib.error
from http.client import IncompleteRead

import pytest

from fer_id.errors import ConfigError
from fer_id.preprocessing import landmarker_file as bundle
from fer_id.preprocessing.landmarker_file import BUNDLE_URL, BUNDLE_VARIABLE, cache_path, find_bundle, system_libraries


@pytest.fixture(autouse=True)
def no_bundle(tmp_path, monkeypatch):
    """Environment of a user without a cached file, without the variable and without a network."""
    monkeypatch.delenv(BUNDLE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    serve(monkeypatch, urllib.error.URLError("no route to host"))


def serve(monkeypatch, content):
    """Let the server answer with these bytes, or the connection fail with this exception; return the requested URLs."""
    requests = []

    def urlopen(url, timeout):
        requests.append(url)
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    monkeypatch.setattr(bundle.urllib.request, "urlopen", urlopen)
    return requests


@pytest.fixture
def official(shared_data):
    return shared_data / "models" / "face_landmarker.task"


def test_a_path_comes_before_the_variable_and_both_before_the_cache(official, tmp_path, monkeypatch):
    assert find_bundle(official) == official
    monkeypatch.setenv(BUNDLE_VARIABLE, str(official))
    assert find_bundle() == official
    with pytest.raises(ConfigError, match=r"other\.task \(from the path given\): no such file"):
        find_bundle(tmp_path / "other.task")


def test_another_file_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.task"
    other.write_bytes(b"not the model")
    monkeypatch.setenv(BUNDLE_VARIABLE, str(other))
    refusal = rf"other\.task \(from {BUNDLE_VARIABLE}\): its sha256 is .*, expected 64184e22"
    with pytest.raises(ConfigError, match=refusal):
        find_bundle()


def test_it_is_fetched_once_into_the_cache(official, monkeypatch):
    requests = serve(monkeypatch, official.read_bytes())
    assert find_bundle() == cache_path()
    assert find_bundle() == cache_path()
    assert requests == [BUNDLE_URL]
    assert [path.name for path in cache_path().parent.iterdir()] == ["face_landmarker.task"]


def test_a_damaged_cache_is_fetched_again(official, monkeypatch):
    cache_path().parent.mkdir(parents=True)
    cache_path().write_bytes(b"half a fi")
    serve(monkeypatch, official.read_bytes())
    assert find_bundle().read_bytes() == official.read_bytes()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (urllib.error.URLError("no route to host"), "no route to host"),
        (urllib.error.HTTPError(BUNDLE_URL, 403, "Forbidden", None, None), "403"),
        (TimeoutError("timed out"), "timed out"),
        (IncompleteRead(b""), "IncompleteRead"),
        (b"<html>please log in</html>", "sent something else"),
    ],
)
def test_a_failed_download_says_where_to_put_the_file(answer, words, monkeypatch):
    serve(monkeypatch, answer)
    with pytest.raises(ConfigError, match=words) as caught:
        find_bundle()
    assert str(cache_path()) in str(caught.value)
    assert f"curl --create-dirs -o {cache_path()} {BUNDLE_URL}" in str(caught.value)
    assert all(f"{name}=FILE" in str(caught.value) for name in (BUNDLE_VARIABLE, "face_landmarker"))
    assert not cache_path().exists()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ImportError("libGL.so.1: cannot open shared object file: No such file"), "apt-get install libgl1"),
        (OSError("libEGL.so.1: cannot open shared object file"), "apt-get install libegl1"),
        (OSError("libGLESv2.so.2: cannot open shared object file"), "apt-get install libgles2"),
        (OSError("libother.so.7: cannot open shared object file"), r"libother\.so\.7: install the package"),
        (ModuleNotFoundError("No module named 'mediapipe'"), "reinstall"),
    ],
)
def test_a_missing_library_is_named_with_its_package(problem, words):
    with pytest.raises(ConfigError, match=words), system_libraries():
        raise problem
