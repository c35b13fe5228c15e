"""MediaPipe's usage metrics stay on this machine: system calls of real processes, with the protection and without.

strace records every attempt to reach something, and lets each of them fail, so that even without the protection nothing
leaves the machine.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.request import ProxyHandler, build_opener, getproxies

import numpy as np
import pandas as pd
import pytest

from fer_id.errors import ConfigError
from fer_id.preprocessing import offline
from fer_id.preprocessing.landmarks import FaceLandmarker
from fer_id.preprocessing.offline import METRICS_VARIABLE, OfflineThread

Attempts = Callable[[list[str], dict[str, str]], list[str]]

PROXY = "http://192.0.2.1:3128"  # an address reserved for documentation
CALLS = ("connect", "sendto", "sendmsg", "sendmmsg")
LOCAL = re.compile(r"sin6?_port=htons\((?!53\))\d+\).*(127\.\d+\.\d+\.\d+|\"::1\")|sun_path=(?!.*(nscd|resolve))")
"""A connection inside the machine, and not to a resolver, which would ask others in turn."""

SCRIPT = """
import numpy
from fer_id.preprocessing.landmarks import FaceLandmarker
with FaceLandmarker({bundle!r}) as landmarker:
    landmarker.detect(numpy.zeros((64, 64, 3), numpy.uint8))
"""
WORKERS = """
import numpy
from fer_id.preprocessing.landmarks import landmarks_of_stills
if __name__ == "__main__":
    list(landmarks_of_stills([numpy.zeros((48, 48, 3), numpy.uint8)] * 40, workers=2, bundle={bundle!r}))
"""


@pytest.fixture(scope="session")
def strace() -> str:
    """The program that records system calls; a machine without it skips these tests, CI fails."""
    if program := shutil.which("strace"):
        return program
    message = "strace is not installed (Debian: apt-get install strace)"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(params=[True, False], ids=["offline", "unprotected"])
def protected(request: pytest.FixtureRequest) -> bool:
    """Protection on or off; with it off, the same process must be recorded trying to connect."""
    if not request.param and int(version("mediapipe").split(".")[0]) < 1:
        pytest.skip("MediaPipe sends usage metrics from 1.0 on")
    return bool(request.param)


@pytest.fixture
def attempts(strace: str, protected: bool, tmp_path: Path) -> Attempts:
    """``attempts(arguments, environment)``: outside addresses that a Python process, its threads and children tried."""

    def record(arguments: list[str], environment: dict[str, str]) -> list[str]:
        trace, calls = tmp_path / "trace", ",".join(CALLS)
        command = [strace, "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-e", f"trace={calls}"]
        command += ["-e", f"inject={calls}:error=ENETUNREACH", "-o", str(trace), sys.executable, *arguments]
        proxies = {name for name in os.environ if name.lower().endswith("_proxy")}
        inherited = {name: value for name, value in os.environ.items() if name not in {*proxies, METRICS_VARIABLE}}
        inherited |= {"LOGNAME": "somebody"}  # else torch looks the user up, by the daemon that knows hosts as well
        allowed = {} if protected else {METRICS_VARIABLE: "allow"}
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=inherited | environment | allowed)
        lines = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
        return [line for line in lines if line.split("(")[0] in CALLS and not LOCAL.search(line)]

    return record


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        pytest.param(SCRIPT, {"no_proxy": "*", "HTTPS_PROXY": PROXY}, id="no_proxy=*"),
        pytest.param(SCRIPT, {"ALL_PROXY": PROXY, "http_proxy": PROXY}, id="ALL_PROXY", marks=pytest.mark.slow),
        pytest.param(WORKERS, {}, id="workers", marks=pytest.mark.slow),  # prepare, below, has workers too
    ],
)
def test_a_landmarker_reaches_nothing(attempts, protected, code, environment, tmp_path: Path, landmark_model) -> None:
    (tmp_path / "script.py").write_text(code.format(bundle=landmark_model))
    assert bool(attempts([str(tmp_path / "script.py")], environment)) != protected


@pytest.mark.parametrize(
    "protected", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["offline", "unprotected"], indirect=True
)
def test_preparing_a_cohort_reaches_nothing(attempts, protected, tmp_path, shared_data, landmark_model) -> None:
    site = tmp_path / "site"
    (site / "videos").mkdir(parents=True)
    clips = []
    for number in range(2):
        shutil.copy(shared_data / "videos" / "single_face.mp4", site / "videos" / f"{number}.mp4")
        clips.append({"subject_id": "a", "clip_id": str(number), "video": f"videos/{number}.mp4", "start_s": 0})
    tables = {
        "subjects": [
            {"subject_id": "a", "age_group": "adult", "gender": "", "severity": "", "ethnicity": "", "site": ""}
        ],
        "clips": [{**clip, "end_s": 1, "label": "happy", "context": ""} for clip in clips],
        "consent": [
            {"subject_id": "a", "recorded_on": "2026-01-01", "status": "given", "guardian": "yes", "assent": "yes"}
            | {"purposes": "training", "expires_on": "2999-01-01", "ethics_ref": ""}
        ],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(site / f"{name}.csv", index=False)
    settings = [f"data.source={site}", f"data.face_landmarker={landmark_model}", "data.workers=2"]
    command = ["-m", "experiments.cli", "prepare", "data=cohort", *settings, f"out={tmp_path / 'store'}"]
    assert bool(attempts(command, {"FER_ID_KEYS": str(tmp_path / "keys")})) != protected
    assert (tmp_path / "store" / "card.json").is_file()


def test_the_rest_of_the_process_stays_online(landmark_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    with FaceLandmarker(landmark_model) as landmarker:
        landmarker.detect(np.zeros((64, 64, 3), np.uint8))
        assert build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{server.server_port}").status == 204
        assert getproxies()["https"] == PROXY
    server.shutdown()
    server.server_close()


def test_a_thread_and_its_threads_open_no_socket() -> None:
    import socket
    from concurrent.futures import ThreadPoolExecutor

    def in_another_thread() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM).result()

    thread = OfflineThread()
    for function in (socket.socket, in_another_thread, lambda: socket.socket(socket.AF_UNIX)):
        with pytest.raises(PermissionError):
            thread.call(function)
    with pytest.raises(socket.gaierror):
        thread.call(socket.getaddrinfo, "localhost.invalid", 80)
    assert thread.call(divmod, 7, 2) == (3, 1)
    thread.close()
    with pytest.raises(RuntimeError):
        thread.call(divmod, 7, 2)


def test_a_system_that_cannot_keep_it_offline_is_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(METRICS_VARIABLE, raising=False)
    monkeypatch.setattr(offline.platform, "machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match=f"{METRICS_VARIABLE}=allow"):
        OfflineThread()
    monkeypatch.setenv(METRICS_VARIABLE, "allow")
    assert OfflineThread().call(divmod, 7, 2) == (3, 1)
