"""Checkpoints, configs and tables are data: nothing in the program reads a file in a way that can run what is in it.

Read from the source with `ast`; ruff's rules on pickle, eval and YAML see less (an alias, a loader passed by name).
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for storey in ("fer_id", "data_modules", "experiments") for path in sorted((ROOT / storey).rglob("*.py"))]

RUN_WHAT_THEY_READ = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "hydra"}
"""Modules that execute the content of a file, or import by names in it."""

CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"),
    *("torch.jit.load", "torch.package.PackageImporter", "torch.hub.load", "pd.read_pickle", "pandas.read_pickle"),
    *("OmegaConf.register_new_resolver", "OmegaConf.register_resolver", "OmegaConf.load", "OmegaConf.resolve"),
}
"""Functions that execute their argument, or instantiate classes named by a config."""

SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"}
TABLES = {"experiments/cli.py", "fer_id/exports.py"}
"""Files that import modules by names from a table of the program itself."""


def problems(source: str, where: str) -> list[str]:
    """Return the statements of a source text that could execute data as code, with their lines."""
    return [f"{where}:{line}: {what}" for line, what in _problems(ast.parse(source), where)]


def _problems(tree: ast.Module, where: str) -> Iterator[tuple[int, str]]:
    own_loaders = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(_name(base).split(".")[-1] in SAFE_LOADERS for base in node.bases)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                if module.partition(".")[0] in RUN_WHAT_THEY_READ:
                    yield node.lineno, f"imports {module}"
            if isinstance(node, ast.ImportFrom) and (node.module, "load") in {
                (module, alias.name) for module in ("torch", "yaml") for alias in node.names
            }:
                yield node.lineno, f"takes load from {node.module}, so that its calls look harmless"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _call_problems(node, own_loaders))
            constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
            if _name(node.func).endswith("import_module") and not constant and where not in TABLES:
                yield node.lineno, "imports a module whose name is not written there"


def _call_problems(node: ast.Call, own_loaders: set[str]) -> Iterator[str]:
    name, kwargs = _name(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
    if name in CALLS:
        yield f"calls {name}"
    if name == "torch.load" and not _is(kwargs.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if "ckpt_path" in kwargs and not _is(kwargs["ckpt_path"], None) and not _is(kwargs.get("weights_only"), True):
        yield f"{name} loads a checkpoint without weights_only=True"
    if name.endswith("load_from_checkpoint"):
        yield "load_from_checkpoint makes what the checkpoint names"
    if name == "yaml.load":
        loader = _name(kwargs["Loader"] if "Loader" in kwargs else node.args[1]) if len(node.args) > 1 or kwargs else ""
        if loader.split(".")[-1] not in SAFE_LOADERS | own_loaders:
            yield "yaml.load without a safe loader"
    if "allow_pickle" in kwargs and not _is(kwargs["allow_pickle"], False):
        yield f"{name} with allow_pickle"
    if "shell" in kwargs and not _is(kwargs["shell"], False):
        yield f"{name} through a shell"


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_read_is_run() -> None:
    lines = [line for path in FILES for line in problems(path.read_text("utf-8"), str(path.relative_to(ROOT)))]
    assert len(FILES) > 100
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "source",
    [
        *("import torch\ntorch.load(path)", "from torch import load"),
        *("torch.load(path, weights_only=False)", "torch.load(path, weights_only=flag)"),
        "trainer.fit(task, data, ckpt_path=last)",
        "ClipClassification.load_from_checkpoint(path)",
        *("import pickle", "from pickle import loads", "def f():\n    import cloudpickle as harmless"),
        *("yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "yaml.load(text, yaml.FullLoader)"),
        *("class Mine(yaml.Loader): pass\nyaml.load(text, Loader=Mine)", "yaml.unsafe_load(text)"),
        *("eval(text)", "__import__(name)", "import_module(name)", "importlib.import_module(name)"),
        *("np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)"),
        "OmegaConf.register_new_resolver('env', os.environ.get)",
    ],
)
def test_the_reader_sees_it(source: str) -> None:
    assert len(problems(source, "some.py")) == 1


@pytest.mark.parametrize(
    "source",
    [
        *("torch.load(path, weights_only=True)", "trainer.fit(task, data, ckpt_path=last, weights_only=True)"),
        *("trainer.predict(task, ckpt_path=None)", "np.load(path, allow_pickle=False)"),
        *("yaml.safe_load(text)", "yaml.load(text, Loader=yaml.BaseLoader)"),
        "class Strict(yaml.SafeLoader): pass\nyaml.load(text, Loader=Strict)",
        *("model.eval()", "import_module('ray')", "re.compile(text)"),
    ],
)
def test_the_reader_lets_the_rest_pass(source: str) -> None:
    assert problems(source, "some.py") == []


# ------------------------------------------------------------------------------------------------------ dependencies

KNOWN_BAD = {
    "pytorch-lightning": {"2.6.2": "malicious release", "2.6.3": "malicious release"},
    "torch": {"2.5.1": "CVE-2025-32434: weights_only=True could run code", "2.6.0": "CVE-2025-2953, CVE-2025-3730"},
    "pyyaml": {"5.3.1": "CVE-2020-14343: full_load runs code"},
    "pyarrow": {"14.0.0": "CVE-2023-47248: a Parquet or IPC file runs code"},
    "jinja2": {"3.1.5": "CVE-2025-27516", "3.1.3": "CVE-2024-34064: attributes escape their quotes"},
    "ray": {"2.51.1": "CVE-2025-62593: a web page reaches the dashboard and runs jobs"},
    "pillow": {"11.2.1": "CVE-2025-48379", "10.2.0": "CVE-2024-28219"},
    "cryptography": {"42.0.3": "CVE-2024-26130"},
    "onnx": {"1.16.0": "CVE-2024-5187: unpacking a model writes anywhere"},
    "scikit-learn": {"1.4.2": "CVE-2024-5206"},
}
"""Package -> released version with a vulnerability that affects this program -> the vulnerability."""


def test_no_version_with_a_known_vulnerability_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    requirements = [Requirement(line) for line in [*project["dependencies"], *extras]]
    assert KNOWN_BAD.keys() <= {requirement.name.lower() for requirement in requirements}
    allowed = [
        f"{requirement}: allows {version} ({why})"
        for requirement in requirements
        for version, why in KNOWN_BAD.get(requirement.name.lower(), {}).items()
        if requirement.specifier.contains(version)
    ]
    assert not allowed
