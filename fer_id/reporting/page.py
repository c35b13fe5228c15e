"""Self-contained HTML pages: autoescaping templates, inlined pictures, no requests."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fer_id.files import atomic_write_text
from fer_id.reporting.words import MODE_CAVEATS, PROVENANCE_NAMES, error_pattern, p_value, percent, provenance_caveat


def write_page(path: Path, template: str, *, mode: int | None = None, **content: Any) -> Path:
    """Render ``templates/<template>`` into a file atomically; ``mode`` as in ``atomic_write_bytes``."""
    atomic_write_text(path, _environment().get_template(template).render(**content), mode=mode)
    return path


@cache
def _environment() -> Environment:
    """Return Jinja's environment, once per process: compiling a template takes longer than rendering it."""
    environment = Environment(
        loader=PackageLoader("fer_id.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": "{:,}".format, "seconds": duration, "p": p_value}
    environment.globals |= {"MODE_CAVEATS": MODE_CAVEATS, "PROVENANCE_NAMES": PROVENANCE_NAMES}
    environment.globals |= {"provenance_caveat": provenance_caveat, "error_pattern": error_pattern}
    return environment


def data_uri(picture: bytes, kind: str = "image/svg+xml") -> str:
    """Return a picture as a data URI. An SVG as an ``img`` runs no script, and its ids do not clash."""
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def duration(seconds: float | None) -> str:
    """Format seconds: ``4210`` -> ``1 h 10 min``; an en dash where no time was measured."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
