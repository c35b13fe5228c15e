"""A site of one's own: a copy of the drawn cohort, which a test may change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def site(drawn_site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn_site, tmp_path / "site"))
