"""GuardedRun: a W&B run for user code that sends only values that the rules of disclosure allow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fer_id.loggers.disclosure import Rules, holds_place
from fer_id.progress import say

if TYPE_CHECKING:
    import wandb

READABLE = frozenset({"id", "name", "project", "entity", "group", "job_type", "tags", "url", "offline", "mode", "step"})
"""Attributes of a W&B run that are safe to read."""


class GuardedRun:
    """The W&B run of ``PrivateWandbLogger.experiment``: ``log``, ``summary``, ``config``, ``define_metric`` and names.

    ``log`` and ``summary`` send finite numbers (``fer_id.loggers.disclosure``), and images where every face is drawn.
    ``config`` sends no path and no name. Every other method of a W&B run (files, artifacts, code, tables, alerts,
    gradients) sends nothing, and prints a message once. Without a W&B run no method sends anything.
    """

    def __init__(self, run: wandb.Run | None, rules: Rules, epoch: Callable[[], int | None] = lambda: None) -> None:
        self._run, self._rules, self._epoch = run, rules, epoch
        self._refused: set[str] = set()

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Send numbers and drawn images to the history, on the present epoch where ``data`` names none; ``step`` and
        ``commit`` are W&B's."""
        values, epoch = self._allowed(data), self._epoch()
        if self._run is not None and values:
            self._run.log(values if epoch is None else {"epoch": epoch, **values}, step=step, commit=commit)

    @property
    def summary(self) -> GuardedMapping:
        """The summary, which takes what :meth:`log` takes."""
        return GuardedMapping(self._summarise)

    @property
    def config(self) -> GuardedMapping:
        """The configuration, which takes settings that hold neither a path nor a name of a place or person."""
        return GuardedMapping(self._configure)

    def define_metric(self, name: str, step_metric: str | None = None, summary: str | None = None) -> None:
        """Choose the x axis of a number, and its value in the summary, as W&B does."""
        if self._run is not None:
            self._run.define_metric(name, step_metric=step_metric, summary=summary)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in READABLE:
            return getattr(self._run, name, None)
        return lambda *args, **settings: self._refuse(f"{name}()", "files, code and artifacts stay here")

    def _summarise(self, values: Mapping[str, Any]) -> None:
        allowed = self._allowed(values)
        if self._run is not None:
            self._run.summary.update(allowed)

    def _configure(self, values: Mapping[str, Any]) -> None:
        if self._run is not None:
            self._run.config.update(self._rules.settings(_plain(values)), allow_val_change=True)  # type: ignore[no-untyped-call]

    def _allowed(self, data: Mapping[str, Any]) -> dict[str, object]:
        """Return the values that may leave; print a message once for each other value."""
        allowed: dict[str, object] = dict(self._rules.numbers({key: _number(value) for key, value in data.items()}))
        for key, value in data.items():
            if key in allowed:
                continue
            if self._rules.drawn and _is_image(value):
                allowed[key] = value
            else:
                self._refuse(key, self._why(key, value))
        return allowed

    def _why(self, key: str, value: Any) -> str:
        if isinstance(_number(value), int | float):
            hidden = self._rules.hidden.get(key.partition("/")[0])
            return hidden or "it is not finite, or its name says neither train/, val/ nor test/, or names a subject"
        return "only numbers leave, and images where every face is drawn"

    def _refuse(self, what: str, why: str) -> None:
        if what not in self._refused:
            self._refused.add(what)
            say(f"W&B: {what} is not sent: {why}")


def guard_globals(guarded: GuardedRun) -> None:
    """Let ``wandb.run``, ``wandb.log``, ``wandb.config`` and the like mean the guarded run until it is finished. W&B's
    library sets them to the run that it opens; somebody's callback that uses them would pass by every rule."""
    from wandb.sdk.lib import module

    methods = [name for name in inspect.signature(module.set_global).parameters if name != "run"]
    module.set_global(run=guarded, **{name: getattr(guarded, name) for name in methods})  # type: ignore[no-untyped-call]


class GuardedMapping:
    """A write-only mapping that passes its values to the guarded run."""

    def __init__(self, update: Callable[[Mapping[str, Any]], object]) -> None:
        self._update = update

    def update(self, values: Mapping[str, Any], allow_val_change: bool = True) -> None:
        """Send several values."""
        self._update(values)

    def __setitem__(self, key: str, value: Any) -> None:
        self._update({key: value})


def _number(value: Any) -> Any:
    """Return a tensor or array of one value as a number, and any other value unchanged."""
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", None)
    return value.item() if count == 1 and hasattr(value, "item") else value


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that are plain JSON, since the text of any other object may hold a path."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is None or isinstance(value, Mapping | str | int | float | list | tuple)
    }


def _is_image(value: Any) -> bool:
    """Return whether a value is an image, or a list of images, without a path in a caption."""
    import wandb

    images: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    return bool(value) and all(
        isinstance(image, wandb.Image) and not holds_place(getattr(image, "_caption", None) or "") for image in images
    )
