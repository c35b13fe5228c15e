"""Self-contained HTML pages: autoescaping templates, inlined pictures, no requests."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fer_id.files import atomic_write_text
from fer_id.reporting.words import MODE_CAVEATS, PROVENANCE_NAMES, percent, provenance_caveat


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
    environment.filters |= {
        "percent": percent,
        "count": lambda number: f"{number:,}",
        "seconds": duration,
        "p": p_value,
    }
    environment.globals |= {"PROVENANCE_NAMES": PROVENANCE_NAMES, "provenance_caveat": provenance_caveat}
    environment.globals |= {"MODE_CAVEATS": MODE_CAVEATS}
    return environment


def data_uri(svg: bytes) -> str:
    """Return an SVG as a data URI. As an ``img`` it runs no script, and its ids do not clash."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def p_value(p: float | None) -> str:
    """Format a p-value as ``.031`` or ``< .001``; an en dash without a test."""
    if p is None:
        return "–"
    return "< .001" if p < 0.0005 else f"{p:.3f}".replace("0.", ".", 1)


def duration(seconds: float | None) -> str:
    """Format seconds: ``4210`` -> ``1 h 10 min``; an en dash where no time was measured."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
