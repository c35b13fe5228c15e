"""Extras of the package (``pip install "fer-id[NAME]"``): the modules of each, and the error where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from fer_id.errors import FerIdError

EXTRAS = {
    "sweep": ("ray", "optuna"),
    "workspaces": ("wandb_workspaces",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
}
"""Extra in ``pyproject.toml`` -> modules that it installs. ``all`` is all of them."""


class MissingExtraError(FerIdError):
    """A module of an extra is not installed."""


def require_extra(extra: str, purpose: str) -> None:
    """Raise MissingExtraError, with the command that installs the extra, unless all its modules are installed;
    ``purpose`` is what needs it, as the subject of "needs"."""
    if missing := [module for module in EXTRAS[extra] if find_spec(module) is None]:
        raise MissingExtraError(
            f"{purpose} needs {', '.join(missing)}, not installed here; install the extra {extra!r}: "
            f'pip install "fer-id[{extra}]", or in a checkout: pip install -c constraints.txt -e ".[{extra}]"'
        )
