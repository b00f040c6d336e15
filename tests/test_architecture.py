"""Packages import what the table in docs/explanation/architecture.md allows, and torch only where it is needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import initbench
from tools import make_architecture_page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "initbench"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
WITHOUT_TORCH = ("spec", "execution", "results", "stats")
LAZY_NAMES = {name: f"{module}.{name}" for name, module in initbench._NAMES.items()} | initbench._MODULES


def table():
    """For each package, the names that it may import: the last column of the table in the page."""
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| .* \| (.+?) \|$", text.partition("| may import |")[2], re.MULTILINE)
    names = re.compile(r"`([\w.]+)/?`")
    return {package: set(names.findall(allowed)) for packages, allowed in rows for package in names.findall(packages)}


def imports(name):
    """The full names of what a module imports, anywhere in it: in functions and under TYPE_CHECKING too."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def own_imports(name):
    """What a module imports of initbench, without that first name; lazy names such as `initbench.run` are resolved."""
    for full in imports(name):
        first, _, rest = full.partition(".")
        if first == "initbench" and rest and rest != "__version__":
            yield LAZY_NAMES.get(rest, full).partition(".")[2]


def allowed_by(names, target):
    return any(target == name or target.startswith(name + ".") for name in names)


def test_the_table_has_every_package_and_module_at_the_top():
    top = {name.split(".")[1] for name in MODULES if "." in name}
    assert set(table()) == top - {"__main__"}


def test_every_module_imports_only_what_the_table_allows():
    rows = table()
    violations = {
        f"{name} imports {target.split('.')[0]}"
        for name in MODULES
        if "." in name and name != "initbench.__main__"
        for package in [name.split(".")[1]]
        for target in own_imports(name)
        if "everything" not in rows[package] and not allowed_by(rows[package] | {package}, target)
    }
    assert not violations


def test_every_name_that_the_table_allows_is_used():
    unused = {
        f"{package}: {allowed}"
        for package, names in table().items()
        for allowed in names - {"everything"}
        if not any(
            allowed_by({allowed}, target)
            for name in MODULES
            if name.split(".")[1:2] == [package]
            for target in own_imports(name)
        )
    }
    assert not unused


def test_the_table_has_no_cycle_between_packages():
    rows = {package: {name.split(".")[0] for name in names} - {package} for package, names in table().items()}
    rows = {package: names for package, names in rows.items() if "everything" not in names}
    while rows:
        leaves = [package for package, names in rows.items() if not names & set(rows)]
        assert leaves, rows
        for package in leaves:
            del rows[package]


def test_the_list_of_modules_is_current():
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert text.partition(make_architecture_page.MARK)[2] == make_architecture_page.modules(), "run `make docs`"


def test_torch_is_imported_by_nothing_that_plans_executes_stores_or_judges():
    names = [name for name in MODULES if name.partition(".")[2].split(".")[0] in WITHOUT_TORCH]
    assert not [(name, full) for name in names for full in imports(name) if full.split(".")[0] == "torch"]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
