"""README and docs: links lead somewhere, commands exist and quote their brackets, all without the site's generator."""

import ast
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from experiments import cli
from experiments.help_page import OVERVIEW
from experiments.settings.loading import load
from experiments.verbs.table import VERBS
from fer_id.simulation.domain import DomainConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
UNQUOTED = re.compile(r"""(?:^|[\s`(])[a-z_]+(?:\.[a-z_]+)*=\[""", re.MULTILINE)
"""A setting whose bracket zsh would take for a pattern."""

OWN = {"data=web_faces", "data=school_clips"}
"""Datasets of docs/DATASETS.md that its reader writes (tests/data_modules/test_own_dataset.py runs them)."""


def prose(text: str) -> str:
    """Return the text without blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a forge and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> list[str]:
    """Return the whole commands of ``fer-id`` in blocks of code, their continued lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.startswith("fer-id ")]


def problems(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text("utf-8"))):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists():
            wrong.append(f"{page.name}: {target}: there is no {path}")
        elif anchor and anchor not in anchors(place):
            wrong.append(f"{page.name}: {target}: no such heading")
    return wrong


def test_links_lead_somewhere(tmp_path: Path) -> None:
    assert not [problem for page in PAGES for problem in problems(page)]
    page = tmp_path / "page.md"
    links = "[a](page.md#a-page-with-words) [b](none.md) [c](#none)"
    page.write_text(f"# A page, with words\n{links}\n```\n[d](none)\n```\n")
    assert problems(page) == ["page.md: none.md: there is no none.md", "page.md: #none: no such heading"]


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page.suffix != ".md" or page in reached:
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s]+)", prose(page.read_text("utf-8")))
        todo += [place for target in targets if (place := (page.parent / target).resolve()).is_file()]
    assert set(PAGES) - reached - {ROOT / "docs" / "index.md"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_existing_settings(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.config.file_problems", lambda model: [])  # a file of weights is the reader's
    text = page.read_text("utf-8")
    for verb in re.findall(r"`fer-id ([a-z]+)", text):
        assert verb in VERBS, verb
    for command in commands(text):
        _, verb, *arguments = shlex.split(command)
        if OWN & set(arguments):
            continue
        load(cli.imported(VERBS[verb].config), arguments, VERBS[verb].paths)


def test_brackets_are_quoted() -> None:
    """Brackets are quoted in pages (but RESULTS, a record of the past), help and messages: zsh expands them."""
    pages = [page for page in PAGES if page.name not in ("RESULTS.md", "CHANGELOG.md")]
    python = re.compile(r"^```python\n.*?^```$", re.DOTALL | re.MULTILINE)
    texts = {page.name: python.sub("", page.read_text("utf-8")) for page in pages}
    texts |= {name: verb.example for name, verb in VERBS.items()} | {"help": OVERVIEW}
    for package in ("fer_id", "data_modules", "experiments"):
        for file in (ROOT / package).rglob("*.py"):
            values = [getattr(node, "value", None) for node in ast.walk(ast.parse(file.read_text("utf-8")))]
            texts[str(file.relative_to(ROOT))] = "\n".join(
                text for text in values if isinstance(text, str) and " " in text
            )
    assert {name: UNQUOTED.findall(text) for name, text in texts.items() if UNQUOTED.search(text)} == {}
    assert UNQUOTED.search("say `data.groups=[a]`")
    assert not UNQUOTED.search('say `"data.groups=[a]"`')


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_setting_of_the_simulation_stands_among_its_assumptions() -> None:
    """Each with a source, or the word "assumption"."""
    page = (ROOT / "docs" / "SIMULATION.md").read_text("utf-8")
    table = page.partition("## Assumptions")[2].partition("| --- |")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(field.name for field in fields(DomainConfig))
    assert all(row[-1].strip() for row in rows)
