"""The house rules: floors, sizes, names, and the places that must say the same."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from nucseg.study.digest import PACKAGE, imported_modules

ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Floors from the ground up; a module may import from its own floor or below.
FLOORS = [
    {"errors", "arrays", "atomic", "seeding", "data", "metrics", "viz"},
    {"models", "losses", "explain", "supervision", "postprocess"},
    {"engine"},
    {"methods"},
    {"study"},
    {"cli", "__main__"},
]


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(name):
    room = name.split(".")[1]
    levels = [level for level, rooms in enumerate(FLOORS) if room in rooms]
    assert levels, f"{name}: no floor is set for nucseg.{room}"
    return levels[0]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_downward_only(path):
    name = dotted(path)
    if name == "nucseg":
        assert imported_modules(name) == set(), "importing nucseg must stay cheap"
        return
    upward = {other for other in imported_modules(name) if other != "nucseg" and floor(other) > floor(name)}
    assert not upward, f"{name} imports from a floor above: {upward}"


def test_the_check_sees_an_upward_import():
    assert floor("nucseg.study.tables") > floor("nucseg.metrics")
    assert "nucseg.data.loading" in imported_modules("nucseg.study.experiment")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_modules_and_functions_stay_small(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") < 400, f"{path.name} has {source.count(chr(10))} lines"
    assert path.stem != "utils"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 < 60, f"{path.name}: {node.name} is too long"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_public_things_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or path.read_text().strip() == "", (
        f"{path.name} does not say what it is for"
    )
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_nothing_unpickles():
    pattern = re.compile(r"\bpickle\b|allow_pickle\s*=\s*True|weights_only\s*=\s*False")
    guilty = [p.name for p in MODULES if pattern.search(p.read_text(encoding="utf-8"))]
    assert not guilty


def test_importing_nucseg_loads_nothing_heavy():
    code = "import sys, nucseg; print([m for m in ('numpy', 'torch', 'matplotlib', 'pandas') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_ground_floor_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, nucseg.data, nucseg.metrics, nucseg.supervision, nucseg.postprocess\n"
        "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def requirement_sets():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = set(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted |= set(extra)
    return project, wanted


def test_environment_yml_equals_pyproject():
    project, wanted = requirement_sets()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert f"python{project['requires-python']}" in conda
    assert set(pip) - {"--editable ."} == wanted
    assert "--editable ." in pip


def test_lock_pins_every_requirement_exactly():
    _, wanted = requirement_sets()
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"[A-Za-z0-9_.\-\[\]]+==[^ ]+( ; .+)?$", line) for line in lines), (
        "a lock line is not a pin"
    )
    pinned = {re.split(r"==", line)[0].lower().replace("_", "-") for line in lines}
    named = {re.match(r"[A-Za-z0-9_.\-]+", item).group().lower().replace("_", "-") for item in wanted}
    assert named <= pinned


def test_no_registry_addresses_and_no_machine_paths():
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    pattern = re.compile(
        r"file:///|(?<![\w.])/(?:root|home/\w+|work|opt)/|--(?:extra-)?index-url|files\.pythonhosted"
    )
    guilty = []
    for name in filter(None, files):
        path = ROOT / name
        if (
            path.suffix in {".png", ".svg", ".webp"}
            or Path(name) == Path("tests/test_house.py")
            or not path.is_file()
        ):
            continue
        if pattern.search(path.read_text(encoding="utf-8", errors="replace")):
            guilty.append(name)
    assert not guilty


BRITISH = re.compile(
    r"\b(colour\w*|centres?|centred|grey\w*|licences?|normalis\w+|neighbour\w*|artefact\w*|analys(?:e|ed|ing)\b"
    r"|behaviour\w*|labell(?:ed|ing))\b",
    flags=re.IGNORECASE,
)


def test_american_spelling():
    patterns = ["*.py", "*.md", "*.yml", "*.yaml", "*.smk", "*.cff", "Makefile"]
    listing = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    guilty = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and name != "tests/test_house.py":
            guilty += [f"{name}: {word}" for word in sorted(set(BRITISH.findall(path.read_text(encoding="utf-8"))))]
    assert not guilty


PACKAGES = ["data", "metrics", "viz", "supervision", "postprocess", "losses", "models", "explain", "engine"]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_document_every_argument(package):
    module = importlib.import_module(f"nucseg.{package}")
    for name in module.__all__:
        function = getattr(module, name)
        if not inspect.isfunction(function):
            continue
        text = inspect.getdoc(function)
        described = re.findall(r"^\*{0,2}(\w[\w, ]*)(?: : |$)", text, flags=re.M)
        named = {word.strip() for group in described for word in group.split(",")}
        missing = set(inspect.signature(function).parameters) - named
        assert not missing, f"nucseg.{package}.{name} does not describe {sorted(missing)}"
        if "return " in inspect.getsource(function):
            assert "Returns\n-------" in text, f"nucseg.{package}.{name} does not say what it returns"
