"""The house has three storeys and one way through: experiments -> data_modules -> fer_id (docs/DECISIONS.md).

Read from the source with `ast`, so that a wrong import fails here before anything slow is loaded. An import inside a
function runs when the function is called; everything else (class bodies and `try` blocks too) runs on import.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from data_modules.registry import DATASETS

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "fer_id": {"fer_id"},
    "data_modules": {"fer_id", "data_modules"},
    "experiments": {"fer_id", "data_modules", "experiments"},
}
HEAVY = {
    *("torch", "torchvision", "pytorch_lightning", "timm", "torchmetrics", "mediapipe", "cv2", "albumentations"),
    *("pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "PIL", "wandb", "ray", "pydantic", "omegaconf"),
}
"""Packages too slow to import for `fer-id --help`."""


@dataclass(frozen=True)
class Import:
    """One imported module: where it stands, and whether importing the file runs it."""

    target: str
    line: int
    at_import_time: bool


class _Imports(ast.NodeVisitor):
    """Collects the imports of one file; `package` is what its relative imports start from."""

    def __init__(self, package: str) -> None:
        self.package, self.found, self._deferred = package, list[Import](), 0

    def _add(self, target: str, node: ast.AST) -> None:
        self.found.append(Import(target, getattr(node, "lineno", 0), not self._deferred))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parents = self.package.split(".")
        base = ".".join(parents[: len(parents) - node.level + 1]) + "." if node.level else ""
        origin = (base + (node.module or "")).rstrip(".")
        for alias in node.names:  # `from fer_id import store` imports fer_id.store as well
            self._add(f"{origin}.{alias.name}", node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            self._visit_deferred(node.body)
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_deferred(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _visit_deferred(self, body: list[ast.stmt]) -> None:
        self._deferred += 1
        for child in body:
            self.visit(child)
        self._deferred -= 1


def imports_of(source: str, package: str) -> list[Import]:
    """Every import of a source text, in the order of its lines."""
    visitor = _Imports(package)
    visitor.visit(ast.parse(source))
    return visitor.found


def _house() -> dict[str, Path]:
    """Module name -> file, for every module of the three packages."""
    files = [path for storey in MAY_IMPORT for path in sorted((ROOT / storey).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


HOUSE = _house()


@cache
def house_imports() -> dict[str, list[Import]]:
    """Module name -> its imports, for every module of the three packages; parsed at the first use."""
    return {
        name: imports_of(path.read_text("utf-8"), name if path.name == "__init__.py" else name.rpartition(".")[0])
        for name, path in HOUSE.items()
    }


def _loaded_by(target: str) -> list[str]:
    """Modules of the house that importing `target` runs: itself and the packages around it."""
    parts = target.split(".")
    return [name for end in range(1, len(parts) + 1) if (name := ".".join(parts[:end])) in HOUSE]


def chains(start: str) -> Iterator[tuple[str, ...]]:
    """Every outside package that importing `start` reaches, each as the chain of modules leading to it."""
    todo: list[tuple[str, ...]] = [(name,) for name in _loaded_by(start)]
    seen = {chain[-1] for chain in todo}
    while todo:
        chain = todo.pop(0)
        for imported in house_imports()[chain[-1]]:
            if not imported.at_import_time:
                continue
            if imported.target.partition(".")[0] not in MAY_IMPORT:
                yield (*chain, imported.target.partition(".")[0])
            for name in _loaded_by(imported.target):
                if name not in seen:
                    seen.add(name)
                    todo.append((*chain, name))


def _reach(start: str, forbidden: set[str]) -> list[str]:
    _inside(start)
    return sorted({" -> ".join(chain) for chain in chains(start) if chain[-1] in forbidden})


def _inside(*packages: str) -> list[str]:
    """Modules of these packages (or these modules); one that is missing fails, or its rule would say nothing."""
    for package in packages:
        if package not in HOUSE:
            raise LookupError(f"{package} is no module of {ROOT}: a rule of this test names something that moved")
    return [name for name in HOUSE if name.startswith(tuple(f"{package}." for package in packages)) or name in packages]


def test_imports_run_downstairs_only() -> None:
    wrong = [
        f"{HOUSE[name].relative_to(ROOT)}:{imported.line} imports {imported.target}"
        for name, imports in house_imports().items()
        for imported in imports
        if (storey := imported.target.partition(".")[0]) in MAY_IMPORT
        and storey not in MAY_IMPORT[name.partition(".")[0]]
    ]
    assert not wrong, "the way is experiments -> data_modules -> fer_id:\n" + "\n".join(wrong)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other, by Tarjan's algorithm."""
    order, lowest, stack, groups = dict[str, int](), dict[str, int](), list[str](), list[list[str]]()

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[-len(group) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return groups


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and for types count too: modules that import each other are one module in two files."""
    graph = {
        name: {target for imported in imports if (target := _defined_in(imported.target)) and target != name}
        for name, imports in house_imports().items()
    }
    assert not circles(graph)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c"]]


def _defined_in(target: str) -> str | None:
    """The module that an imported name stands in."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in HOUSE), None)


def test_lightning_is_never_mixed_in() -> None:
    """`lightning` and `pytorch_lightning` are two copies of one library: their classes do not recognise each other."""
    tests = {str(path): imports_of(path.read_text("utf-8"), "tests") for path in ROOT.glob("tests/**/*.py")}
    wrong = [
        f"{where}:{imported.line}"
        for where, imports in {**house_imports(), **tests}.items()
        for imported in imports
        if imported.target.partition(".")[0] == "lightning"
    ]
    assert not wrong, f"import pytorch_lightning instead: {wrong}"


def test_the_cli_imports_nothing_heavy() -> None:
    assert not _reach("experiments.cli", HEAVY), "import it inside the verb that needs it"


def test_the_cli_loads_nothing_heavy() -> None:
    """The same by experiment: what a library of ours brings along counts too."""
    code = f"import sys, experiments.cli; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_the_processes_that_follow_faces_never_import_lightning() -> None:
    """A dataset's own file imports it, since its data module stands there; what is sent to a worker does not."""
    datasets = {target.partition(":")[0] for target in DATASETS.values()}
    bases = ("base", "pictures", "recordings", "frame_sequences")
    learning = datasets | {f"data_modules.{name}" for name in bases}
    preparing = set(_inside("fer_id.preprocessing", "data_modules", "experiments.verbs.stores")) - learning
    assert "data_modules.videos" in preparing
    wrong = [chain for name in sorted(preparing) for chain in _reach(name, {"pytorch_lightning"})]
    assert not wrong


def test_models_are_plain_torch() -> None:
    assert not [chain for name in _inside("fer_id.models") for chain in _reach(name, {"pytorch_lightning", "wandb"})]


def test_training_never_imports_mediapipe() -> None:
    training = _inside("fer_id.models", "fer_id.tasks", "fer_id.callbacks", "data_modules", "experiments.verbs.train")
    wrong = sorted({chain for name in training for chain in _reach(name, {"mediapipe"})})
    assert not wrong, "landmarks belong to preparing; import them inside the function that prepares"


@pytest.mark.parametrize(
    ("source", "target", "at_import_time"),
    [
        ("import torch", "torch", True),
        ("import torch.nn as nn", "torch.nn", True),
        ("from . import store", "fer_id.tasks.store", True),
        ("from ..store import ClipStore", "fer_id.store.ClipStore", True),
        ("class A:\n    import torch", "torch", True),
        ("try:\n    import torch\nexcept ImportError:\n    pass", "torch", True),
        ("def f():\n    import torch", "torch", False),
        ("async def f():\n    import torch", "torch", False),
        ("if TYPE_CHECKING:\n    import torch", "torch", False),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "torch", True),
        ("if debug:\n    import torch", "torch", True),
    ],
)
def test_the_reader_knows_when_an_import_runs(source: str, target: str, at_import_time: bool) -> None:
    (imported,) = imports_of(source, "fer_id.tasks")
    assert (imported.target, imported.at_import_time) == (target, at_import_time)
