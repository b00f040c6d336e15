"""The code of a Python function or class that a user passes to `ib.run`: from its file, its package or its source.

Nothing is pickled. Workers execute a bundle whose main file imports the function and marks it: from the user's file or
package, which are in the bundle, too; from an installed package; or from a file that is made of the source in a
notebook, and of what that uses.
"""

import ast
import builtins
import functools
import importlib
import importlib.metadata
import inspect
import linecache
import symtable
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from initbench.errors import UserError, shown
from initbench.plugins import bundle, changes
from initbench.plugins.bundle import RESERVED, Bundle
from initbench.plugins.changes import Definition
from initbench.plugins.marks import kind_of

# Where functions of PyTorch, NumPy and Python that are not written in Python are imported from, if they are there.
PUBLIC = ("torch.nn.functional", "torch", "numpy", "math")

# The arguments of a function that is not written in Python, by kind.
POSITIONAL = {"initializer": "shape", "activation": "x", "loss": "output, labels", "optimizer": "parameters, lr"}

# Names that every module has.
OF_MODULES = frozenset({"__name__", "__file__", "__doc__", "__builtins__", "__package__", "__spec__", "__loader__"})

# The flag of code below `from __future__ import annotations`.
LAZY_ANNOTATIONS = importlib.import_module("__future__").annotations.compiler_flag

# Packages that import their public modules when they are imported, or when one is first used.
ALWAYS_WHOLE = frozenset({"initbench", "numpy", "torch"})

# Names that IPython adds to Python's own.
OF_IPYTHON = frozenset({"display", "get_ipython"})


def bundle_of(thing: Any, kind: str = "") -> tuple[Bundle, str]:
    """Return the code of a function or class, and its name there.

    Parameters
    ----------
    thing
        A function or a class: of a file that can be imported, of an installed package, of a notebook or a script. Of a
        notebook or a script, the source is taken, with the functions, classes, imports and constants that it uses.
    kind
        What it is used as: `"initializer"`, `"activation"`, `"loss"` or `"optimizer"`; default what it is marked as,
        or else an initializer.

    Raises
    ------
    UserError
        With one line: it is a lambda, a method, a `functools.partial`, a nested function or a closure; its source is
        not available; it uses a global variable that cannot be written to a file; or a file cannot be read.
    """
    mark = kind_of(thing)
    kind = kind or mark or "initializer"
    name = _checked_name(thing)
    if mark and mark != kind:
        raise UserError(
            f"{name}: it is marked as {mark}; allowed: functions and classes marked as {kind}, or not marked"
        )
    module = sys.modules.get(thing.__module__ or "")
    if imported := _public_module(thing, name):
        return _of_installed(thing, name, imported, kind), name
    if module is None or _is_session(module):
        return _of_session(thing, name, kind), name
    if getattr(module, name, None) is not thing:
        raise UserError(f"{name}: {module.__name__}.{name} is something else; pass what is defined there as {name}")
    if _is_installed(module):
        return _of_installed(thing, name, module.__name__, kind), name
    folder, file = _origin(module)
    is_single = file == folder / f"{module.__name__}.py"
    if mark and is_single:
        code = bundle.read(file, _shown(file))
        changes.check_modules(code, [folder])
        return code, name
    main = f"{module.__name__}.{name}.py"  # its name cannot be imported
    content = _main(kind, name, f"from {module.__name__} import {name}", f"ib.{kind}({name})")
    label = _shown(file if is_single else folder / module.__name__)
    code = bundle.with_imports(main, {main: content}, [folder], label)
    changes.check_modules(code, [folder])
    return code, name


def _main(kind: str, name: str, statement: str, *lines: str, comment: str = "") -> bytes:
    """Return the main file that imports a function and marks it."""
    heading = f"# {name}{comment}, marked as {kind}"
    return "\n".join([heading, "import initbench as ib", statement, "", *lines, ""]).encode()


def _checked_name(thing: Any) -> str:
    """Return the name of a function or a class that can be imported by it; UserError says what is allowed instead."""
    if isinstance(thing, functools.partial):
        wrapped = getattr(thing.func, "__name__", shown(thing.func))
        raise UserError(
            f"given a functools.partial of {wrapped}; with parameters: {{'name': {wrapped}, 'parameter': value}}, or "
            "define a function with def that calls it"
        )
    if isinstance(thing, types.MethodType):
        raise UserError(f"given the method {thing.__qualname__} of an object; define a function with def that calls it")
    if not callable(thing) or not isinstance(getattr(thing, "__name__", None), str):
        hint = f"; with parameters: {{'name': {type(thing).__name__}, 'parameter': value}}" if callable(thing) else ""
        raise UserError(f"given {shown(thing)}; allowed: a function or a class{hint}")
    name: str = thing.__name__
    function = inspect.unwrap(thing)
    if name == "<lambda>":
        raise UserError("given a lambda; define it with def, so that it has a name")
    qualified = str(getattr(thing, "__qualname__", name))
    hint = "define it at the top of the file or the cell"
    if getattr(function, "__closure__", None):
        names = ", ".join(function.__code__.co_freevars)
        of_decorator = any(isinstance(cell.cell_contents, FunctionType) for cell in function.__closure__)
        raise UserError(
            f"{name}: it uses local variables of the function that defines it ({names}); {hint}, and make them keyword "
            "arguments with defaults" + "; if a decorator returned it, that needs functools.wraps" * of_decorator
        )
    if "<locals>" in qualified:
        outer = qualified.partition(".<locals>")[0]
        raise UserError(f"{name}: it is defined inside {outer}; {hint}")
    if qualified != name and not isinstance(thing, types.BuiltinFunctionType):
        raise UserError(f"{name}: it is defined in the class {qualified.rpartition('.')[0]}; {hint}")
    if not name.isidentifier():
        raise UserError(f"given {shown(name)}; allowed: a function or a class whose name is one in Python")
    return name


# ---------------------------------------------------------------------------------------------------------------------
# Modules


def _is_session(module: ModuleType) -> bool:
    """Return whether a module cannot be imported elsewhere: that of a notebook, a script or an interactive session."""
    file = getattr(module, "__file__", None)
    is_python = str(file).endswith(".py") if file else hasattr(module, "__path__")
    return module.__name__ == "__main__" or not (is_python or _is_installed(module))


def _is_installed(module: ModuleType) -> bool:
    """Return whether a module is of an installed package, of the standard library, or not written in Python."""
    if module.__name__.partition(".")[0] in RESERVED:
        return True
    paths = [getattr(module, "__file__", None), *list(getattr(module, "__path__", []))[:1]]
    file = next((str(path) for path in paths if path), "")
    is_extension = "." in Path(file).name and not file.endswith(".py")
    return is_extension or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _origin(module: ModuleType) -> tuple[Path, Path]:
    """Return the folder from which a user's module is imported, and its file."""
    parts = module.__name__.split(".")
    file = Path(getattr(module, "__file__", None) or Path(next(iter(module.__path__)), "__init__.py")).absolute()
    folder = file.parent
    named = [*folder.parts, file.stem]
    if file.stem == "__init__":
        named.pop()
        folder = folder.parent
    if named[-len(parts) :] != parts:
        raise UserError(f"{_shown(file)}: it was not imported as a file of that name, but as {module.__name__}")
    for _ in parts[1:]:
        folder = folder.parent
    return folder, file


def _shown(file: Path) -> str:
    """Return the path of a file relative to the working directory, if it is below it."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _public_module(value: Any, name: str) -> str:
    """Return the module from which a function that is not written in Python is imported; "" for any other value."""
    if not isinstance(value, types.BuiltinFunctionType) and type(value).__name__ != "ufunc":
        return ""
    for module in (*PUBLIC, str(getattr(value, "__module__", None))):
        if module in sys.modules and vars(sys.modules[module]).get(name) is value:
            return module
    return ""


def _of_installed(thing: Any, name: str, module: str, kind: str) -> Bundle:
    """Return a main file with a subclass, or a function that calls it: a mark on it itself is seen by all plugins."""
    own = f"_{name}"
    if isinstance(thing, type):
        lines = [f"@ib.{kind}", f"class {name}({own}):", "    pass"]
    elif isinstance(thing, FunctionType):
        lines = [f"@ib.{kind}", f"@functools.wraps({own})", f"def {name}(*arguments, **parameters):"]
        lines += [f"    return {own}(*arguments, **parameters)"]
    else:  # it may have no signature
        lines = [f"@ib.{kind}", f"def {name}({POSITIONAL[kind]}):", f"    return {own}({POSITIONAL[kind]})"]
    main = f"{module}.{name}.py"
    statement = f"from {module} import {name} as {own}"
    if isinstance(thing, FunctionType):
        statement = f"import functools\n{statement}"
    content = _main(kind, name, statement, *lines, comment=f" of {_version(module)}")
    return bundle.with_imports(main, {main: content}, [], f"{module}.{name}")


def _version(module: str) -> str:
    """Return the package of a module with its version; without a local part such as +cpu."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "Python {}.{}".format(*sys.version_info)
    try:
        version = importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        version = str(getattr(sys.modules.get(top), "__version__", "of unknown version"))
    return f"{top} {version.partition('+')[0]}"


# ---------------------------------------------------------------------------------------------------------------------
# Source of notebooks and scripts


def _of_session(thing: Any, name: str, kind: str) -> Bundle:
    session = _Session(thing, name)
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path, module = (Path(file).name, "script_code") if file else ("notebook", "notebook_cell")
    while any((folder / module).is_dir() or (folder / f"{module}.py").exists() for folder in session.folders):
        module += "_"
    main = f"{module}.{name}.py"
    contents = {
        main: _main(kind, name, f"from {module} import {name}", f"ib.{kind}({name})"),
        f"{module}.py": session.text.encode(),
    }
    code = bundle.with_imports(main, contents, session.folders, path)
    changes.check_modules(code, session.folders)
    return code


class _Session:
    """The source of a function or class of a notebook or a script, and of all that it uses there.

    Attributes
    ----------
    text
        The source: imports, constants, and definitions, each after those that it uses, in the order of their names.
    folders
        The folders of the user's modules that it imports.
    """

    def __init__(self, thing: Any, name: str) -> None:
        self._values = _globals(thing)
        self._has_lazy_annotations = False
        self._imports: set[str] = set()
        self._constants: dict[str, str] = {}
        self._definitions: dict[str, str] = {}
        self._visited: set[str] = {name}
        self.folders: list[Path] = []
        self._define(thing, name)
        parts = [
            ["from __future__ import annotations"] * self._has_lazy_annotations,
            sorted(line for line in self._imports if not any(_binds_too(other, line) for other in self._imports)),
            [f"{name} = {text}" for name, text in sorted(self._constants.items())],
        ]
        blocks = ["\n".join(lines) for lines in parts if lines]
        self.text = "\n\n\n".join([*blocks, *self._definitions.values()]) + "\n"

    def _define(self, thing: Any, name: str) -> None:
        """Add the definition of a function or class, after those of what it uses."""
        node, text = _source(thing, name)
        if node.name != name:
            raise UserError(f"{name}: it is defined as {node.name}; pass and use it by that name")
        if self._values.get(name, thing) is not thing or (
            inspect.unwrap(thing) is not thing and not node.decorator_list
        ):
            raise UserError(
                f"{name}: it is not what def {name} defines; write what wraps it as a decorator above def, or run the "
                "definition again"
            )
        code = getattr(inspect.unwrap(thing), "__code__", None)
        flags = code.co_flags & LAZY_ANNOTATIONS if code else 0
        self._has_lazy_annotations |= bool(flags)
        if code and changes.has_changed(code):
            raise UserError(f"{name}: its source has changed since it was defined; run it again")
        for used, is_optional in _names_used(text, node, bool(flags)).items():
            if used not in self._visited:
                self._add(used, name, is_optional)
        if difference := changes.of_session(thing, node, self._values):
            raise UserError(f"{name}: {difference}; run its definition again")
        for used, *attributes in _attributes(node):
            if isinstance(module := self._values.get(used), ModuleType) and used in self._visited:
                self._import_submodule(module, attributes)
        self._definitions[name] = text

    def _add(self, name: str, user: str, is_optional: bool) -> None:
        """Add what a global name means that the definition of `user` uses."""
        if name in OF_MODULES:
            return
        if name not in self._values:
            if is_optional or (hasattr(builtins, name) and name not in OF_IPYTHON):
                return
            raise UserError(f"{user}: it uses {name}, which is not defined")
        self._visited.add(name)
        value: Any = self._values[name]
        own_name = getattr(value, "__name__", name)
        literal = changes.literal(value)
        if literal is not None:
            self._constants[name] = literal
        elif isinstance(value, ModuleType):
            self._import_module(value, name, user)
        elif self._import_name(value, name):
            pass
        elif _is_definition(value) and own_name != name and self._values.get(own_name) is value:
            if own_name not in self._visited:
                self._add(own_name, user, is_optional)
            self._definitions[name] = f"{name} = {own_name}"
        elif _is_definition(value):
            self._define(value, name)
        elif not is_optional:
            kind = "a lambda" if own_name == "<lambda>" else type(value).__name__
            raise UserError(
                f"{user}: it uses the global variable {name} ({kind}), which cannot be written to a file; "
                "define it inside the function"
            )

    def _import_module(self, module: ModuleType, name: str, user: str) -> None:
        full = module.__name__
        if sys.modules.get(full) is not module or _is_session(module):
            raise UserError(f"{user}: it uses the module {name} ({full}), which cannot be imported by its name")
        self._imports.add(f"import {full}" if full == name else f"import {full} as {name}")
        self._use(module)

    def _import_submodule(self, module: ModuleType, attributes: list[str]) -> None:
        """Add the import of `x.y`, of which an attribute is used through `x`."""
        full = module.__name__
        if full in ALWAYS_WHOLE:
            return
        inner: object = module
        for attribute in attributes:
            inner = getattr(inner, attribute, None)
            if not isinstance(inner, ModuleType) or inner.__name__ != f"{full}.{attribute}":
                break
            full = inner.__name__
        if full != module.__name__:
            self._imports.add(f"import {full}")

    def _import_name(self, value: Any, name: str) -> bool:
        """Add the import of a function, a class or a type such as `typing.Literal`; false if it is of no module."""
        own_name = getattr(value, "__name__", None)
        if not isinstance(own_name, str) or not own_name.isidentifier():
            return False
        module = sys.modules.get(_public_module(value, own_name) or str(getattr(value, "__module__", None)))
        if module is None or _is_session(module) or getattr(module, own_name, None) is not value:
            return False
        alias = "" if own_name == name else f" as {name}"
        self._imports.add(f"from {module.__name__} import {own_name}{alias}")
        self._use(module)
        return True

    def _use(self, module: ModuleType) -> None:
        """Add the folder of a user's module."""
        if not _is_installed(module):
            folder, _ = _origin(module)
            if folder not in self.folders:
                self.folders.append(folder)


def _binds_too(other: str, line: str) -> bool:
    """Return whether an import of a submodule also binds the name of a module: `import x.y` that of `import x`."""
    return other.startswith(f"{line}.") and " as " not in other


def _is_definition(value: Any) -> bool:
    """Return whether a value was defined by `def` or `class`, perhaps with decorators."""
    function = inspect.unwrap(value) if callable(value) else None
    return isinstance(function, type) or (isinstance(function, FunctionType) and function.__name__ != "<lambda>")


def _globals(thing: Any) -> Mapping[str, Any]:
    function = inspect.unwrap(thing)
    if isinstance(function, FunctionType):
        return function.__globals__
    return vars(sys.modules[thing.__module__]) if thing.__module__ in sys.modules else {}


def _source(thing: Any, name: str) -> tuple[Definition, str]:
    """Return the definition of a function or class of a notebook or a script, and its text."""
    function = inspect.unwrap(thing)
    try:
        lines = _lines_of_class(function) if isinstance(function, type) else inspect.getsource(function)
        lines = textwrap.dedent(lines)
        tree = ast.parse(lines)
    except (OSError, TypeError, SyntaxError):
        tree = ast.Module(body=[], type_ignores=[])
    if not tree.body or not isinstance(tree.body[0], Definition):
        raise UserError(
            f"{name}: its source is not available; define it in a notebook cell, or in a file from which it is imported"
        )
    return tree.body[0], _text(tree.body[0], lines)


def _text(node: Definition, lines: str) -> str:
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(lines.splitlines()[start - 1 : node.end_lineno])


def _lines_of_class(thing: type) -> str:
    """Return the source of a class: `inspect` does not find one that is defined in a notebook."""
    for file, first_line in _places_of_methods(thing):
        linecache.checkcache(file)
        lines = "".join(linecache.getlines(file))
        for node in ast.walk(ast.parse(lines)):
            if not isinstance(node, ast.ClassDef) or node.name != thing.__name__:
                continue
            if node.lineno <= first_line <= (node.end_lineno or 0):
                return _text(node, lines)
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return _last_cell_with(thing.__name__)


def _places_of_methods(thing: type) -> Iterator[tuple[str, int]]:
    """Yield the file and the first line of each function that a class defines."""
    for value in vars(thing).values():
        function: Any = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
        is_own = isinstance(function, FunctionType) and function.__qualname__.startswith(f"{thing.__qualname__}.")
        if is_own and linecache.getlines(function.__code__.co_filename):
            yield function.__code__.co_filename, function.__code__.co_firstlineno


def _last_cell_with(name: str) -> str:
    """Return the last definition of a class without methods in the cells of a notebook."""
    for file in reversed(list(linecache.cache)):
        if "ipykernel_" in file or file.startswith("<ipython-input"):
            lines = "".join(linecache.getlines(file))
            for node in reversed(ast.parse(lines).body):
                if isinstance(node, ast.ClassDef) and node.name == name:
                    return _text(node, lines)
    raise OSError(f"the source of {name} is not available")


def _names_used(text: str, node: Definition, has_lazy_annotations: bool) -> dict[str, bool]:
    """Return the global names that a definition uses, sorted, and whether it runs without: names in annotations.

    Raises UserError for a global variable that it assigns.
    """
    names: dict[str, bool] = {}
    for table in _tables(symtable.symtable(text, "<source>", "exec")):
        is_module = table.get_type() == "module"
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if not (is_module or symbol.is_global()) or name == node.name:
                continue
            if symbol.is_declared_global() and symbol.is_assigned():
                raise UserError(f"{node.name}: it assigns the global variable {name}; return the value instead")
            if symbol.is_referenced():
                names[name] = False
    for annotation in _annotations(node):
        for part in ast.walk(annotation):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                names |= {name: True for name in _names_in(part.value) if name not in names}
            elif isinstance(part, ast.Name) and has_lazy_annotations:
                names[part.id] = True
    return dict(sorted(names.items()))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for part in ast.walk(node):
        annotation = getattr(part, "annotation", None) or getattr(part, "returns", None)
        if isinstance(annotation, ast.expr):
            yield annotation


def _names_in(text: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    except SyntaxError:  # a string of a Literal
        return set()


def _attributes(node: ast.AST) -> Iterator[list[str]]:
    """Yield the parts of all dotted names, such as x.y.z, in a definition."""
    for part in ast.walk(node):
        names = []
        while isinstance(part, ast.Attribute):
            names.append(part.attr)
            part = part.value  # noqa: PLW2901
        if names and isinstance(part, ast.Name):
            yield [part.id, *reversed(names)]
