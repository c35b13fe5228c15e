"""Stand-in for a W&B server on this machine, which answers W&B's client and keeps every byte it receives."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT = {"id": "p", "name": "fer-id", "entityName": "team", "entity": {"id": "e", "name": "team"}}
PROJECT |= {"createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None}


class Server(ThreadingHTTPServer):
    """Answers on a free port.

    Attributes:
        sent: path and body of every request.
        trials: parameters of the trials that a sweep's agent gets, in order.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple[str, bytes]] = []
        self.trials: list[dict[str, Any]] = []
        self._begun = 0

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def variables_of(self, name: str) -> list[dict[str, Any]]:
        """Return the variables of every GraphQL operation of that name."""
        bodies = [json.loads(body) for path, body in self.sent if path == "/graphql"]
        return [body["variables"] for body in bodies if f" {name}" in body["query"]]

    def answer(self, text: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a GraphQL operation."""
        if "UpsertSweep" in text:
            return {"upsertSweep": {"sweep": {"name": "sweep1", "project": PROJECT}, "configValidationWarnings": []}}
        if "SweepWithRuns" in text:
            return {
                "project": {"sweep": {"id": "s", "name": "sweep1", "config": "method: grid", "runs": {"edges": []}}}
            }
        if "CreateAgent" in text:
            return {"createAgent": {"agent": {"id": "agent1"}}}
        if "Heartbeat" in text:
            commands = json.dumps(self._commands(json.loads(variables["runState"])))
            return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": commands}}
        if "UpsertBucket" in text:
            bucket = {"id": "b", "name": variables["name"], "config": "{}", "historyLineCount": 0, "project": PROJECT}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "CreateRunFiles" in text:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "upsertView" in text:
            view = {**variables, "id": "view1", "project": PROJECT, "type": variables["type"]}
            return {"upsertView": {"view": view, "inserted": True}}
        if "projects" in text.lower() or "models" in text:
            page = {"edges": [{"node": PROJECT, "cursor": ""}], "pageInfo": {"hasNextPage": False, "endCursor": ""}}
            return {"models": page}
        return {"viewer": {"id": "v", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _commands(self, running: dict[str, bool]) -> list[dict[str, Any]]:
        if running:
            return []
        if self._begun == len(self.trials):
            return [{"type": "exit"}]
        parameters = {key: {"value": value} for key, value in self.trials[self._begun].items()}
        self._begun += 1
        return [{"type": "run", "run_id": f"trial{self._begun}", "program": None, "args": parameters}]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self._read()
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            request = json.loads(body)
            answer = {"data": self.server.answer(request["query"], request.get("variables") or {})}
        self._reply(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        self._read()
        self._reply(b"")

    def _read(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        self.server.sent.append(
            (self.path, str(self.headers).encode() + b"\n" + body if self.path != "/graphql" else body)
        )
        return body

    def _reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Suppress the log on the terminal."""


@contextmanager
def running() -> Iterator[Server]:
    """Run a server in the block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fer_id(server: Server, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a new process, with an API key for the server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567"}
    environment |= {"HOME": str(home), "USER": "planted-user", "HOSPITAL_PASSWORD": "value-of-the-environment"}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "experiments.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=300, check=False)
