"""The real command in processes of their own that die at chosen moments; a script, so that torch is imported once.

    python dying.py '[{"arguments": [...], "moments": [["kill", "module:Class.method", 3]], "without": [...]}]'

Every story is one command that is given again after each death. A moment is ``[how, where, n]``:

- ``kill``: SIGKILL at the n-th call of ``where`` (``module:name`` or ``module:Class.method``);
- ``term``: SIGTERM at that call, which the process may answer;
- ``half``: SIGKILL when the n-th checkpoint of that file name is half written;
- ``rename``: SIGKILL when the n-th file of that name is written and has not taken its name.

The last time it runs to its end. ``without`` names methods that do nothing in that story. Printed is, as JSON, for each
story a list of ``[exit code or minus the signal, what was said]``.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# Slow, and needed by every story.
import albumentations  # noqa: F401
import fairlearn.metrics  # noqa: F401
import timm  # noqa: F401
import wandb  # noqa: F401

import experiments.verbs.train  # noqa: F401

Moment = tuple[str, str, int]


def tell(stories: list[dict[str, Any]]) -> list[list[tuple[int, str]]]:
    """Each story, one after the other."""
    return [
        [live(story["arguments"], moment, story.get("without", [])) for moment in (*story["moments"], None)]
        for story in stories
    ]


def live(arguments: list[str], moment: Moment | None, without: list[str]) -> tuple[int, str]:
    """One process from its fork to its end."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), sys.stderr.fileno())
            os.dup2(said.fileno(), sys.stdout.fileno())
            from experiments.cli import main

            for place in without:
                replace(place, lambda original: lambda *_, **__: None)
            if moment is not None:
                prepare(*moment)
            code = main(arguments)
            sys.stdout.flush()
            os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return ended, said.read().decode(errors="replace")


def prepare(how: str, where: str, n: int) -> None:
    """Puts the fault in its place."""
    if how in ("kill", "term"):
        number = signal.SIGKILL if how == "kill" else signal.SIGTERM
        replace(where, counted(n, lambda *_: os.kill(os.getpid(), number)))
    elif how == "half":
        replace("fer_id.callbacks.checkpoint:atomic_write_bytes", counted(n, half, where))
    else:
        replace("os:replace", counted(n, lambda *_: os.kill(os.getpid(), signal.SIGKILL), where))


def counted(n: int, fault: Callable[..., None], name: str | None = None) -> Callable[[Any], Any]:
    """Around a function: the fault at its n-th call, of those that name a file ``name`` where one is given."""
    calls = 0

    def around(original: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += name is None or any(isinstance(one, Path) and one.name == name for one in args)
            if calls == n:
                fault(*args)
            return original(*args, **kwargs)

        return called

    return around


def half(path: Path, content: Any) -> None:
    path.with_name(f".{path.name}.abcdefgh").write_bytes(bytes(content)[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def replace(place: str, around: Callable[[Any], Any]) -> None:
    """Puts ``around(original)`` where ``module:Class.method`` or ``module:name`` is."""
    module, _, names = place.partition(":")
    *path, last = names.split(".")
    owner: Any = import_module(module)
    for name in path:
        owner = getattr(owner, name)
    setattr(owner, last, around(getattr(owner, last)))


if __name__ == "__main__":
    print(json.dumps(tell(json.loads(sys.argv[1]))))
