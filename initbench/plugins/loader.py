"""Load a plugin: execute the bytes of its bundle in this process, as modules that are named by its digest.

Only processes that were started for it call `load`: the one that describes a plugin's functions, and workers.
"""

import ast
import builtins
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import PurePath
from types import CodeType, FrameType, ModuleType

from initbench.errors import PluginError, printable
from initbench.plugins.bundle import RESERVED, Bundle, syntax_error

# The package of a plugin's modules, and the folder of their files in tracebacks: neither is on a disk.
PREFIX = "initbench_plugin_"


def load(bundle: Bundle) -> ModuleType:
    """Return the module of a plugin's main file, which is executed the first time.

    The modules of a bundle are those of a package that is named by its digest, so that any number of plugins, and of
    versions of one, can be loaded: `import helper` in a plugin's module means the plugin's own `helper.py`, and
    that of no other. The name of the main module is not `__main__`. Its `__file__` is a name in tracebacks, not a
    path: what a plugin reads from files is not part of its digest. After it, `sys.path` is what it was.

    Raises
    ------
    PluginError
        With the line of `located`, for any exception but KeyboardInterrupt. None of its modules is loaded then.
    """
    package = _package(bundle)
    if package in _modules:
        return _modules[package]
    loader = _BundleLoader(package, bundle)
    path, entries = sys.path, list(sys.path)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _loaders[package] = loader
    try:
        _modules[package] = importlib.import_module(loader.main)
        return _modules[package]
    except BaseException as error:
        del _loaders[package]
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(located(error, bundle)) from error
    finally:
        path[:] = entries
        sys.path = path


def located(error: BaseException, bundle: Bundle) -> str:
    """Return an exception of a plugin's code as one line.

    It has the last place of the traceback in the plugin's files, and the first line of the exception's message:
    `my_schemes.py, line 7, in scaled_orthogonal: ZeroDivisionError: division by zero`.
    """
    package = _package(bundle)
    if isinstance(error, SyntaxError) and (label := _label(str(error.filename), bundle)):
        return printable(syntax_error(error, label))
    position, is_own_line = bundle.path, False
    for frame, line in _frames(error):
        label = _label(frame.f_code.co_filename, bundle)
        if label:
            function = _function_name(frame.f_code)
            position = f"{label}, line {line}" + (f", in {function}" if function else "")
        is_own_line = bool(label) or (is_own_line and frame.f_code.co_filename in _OF_IMPORT)
    if isinstance(error, SystemExit):
        return printable(f"{position}: it calls sys.exit")
    message = _first_line(error).replace(f"{package}.", "").replace(f"{package}/", "")
    if is_own_line and isinstance(error, ModuleNotFoundError):
        message += _advice_on_import(str(error.name).removeprefix(f"{package}."), bundle)
    elif isinstance(error, FileNotFoundError) and package in str(error.filename):
        message += (
            "; workers have no files of a plugin but its code: write the numbers into it, or let a data set read a "
            "file by its absolute path"
        )
    elif message.startswith("cannot cache function"):  # numba's
        message = f"{message.partition(':')[0]}; leave out cache=True: what a plugin compiles is not kept"
    return printable(f"{position}: {type(error).__name__}" + (f": {message}" if message else ""))


# ---------------------------------------------------------------------------------------------------------------------
# Modules from bytes


class _BundleLoader(InspectLoader):
    """The modules of one bundle, by their full names."""

    def __init__(self, package: str, bundle: Bundle) -> None:
        self.package = package
        self.files: dict[str, str] = {}
        self.packages = {package}
        for name in sorted(bundle.files.keys() - {bundle.main}):
            parts = name.removesuffix(".py").split("/")
            is_package = parts[-1] == "__init__" and len(parts) > 1
            module = ".".join([package, *(parts[:-1] if is_package else parts)])
            self.packages |= {".".join([package, *parts[:n]]) for n in range(1, len(parts))}
            if is_package or module not in self.files:  # a package comes before a module of its name
                self.files[module] = name
        stem = bundle.main.removesuffix(".py")
        self.main = f"{package}." + re.sub(r"\W", "_", stem)
        while self.main in self.files or self.main in self.packages:
            self.main += "_"
        self.files[self.main] = bundle.main
        self.contents = bundle.files
        # What an import statement means by its first name; the main file's name may not be one.
        tops = {name.partition("/")[0].removesuffix(".py") for name in bundle.files}
        self.tops = {name for name in tops if name.isidentifier()} - RESERVED

    def find(self, fullname: str) -> ModuleSpec | None:
        """Return the spec of a module; None if the bundle does not have it."""
        is_package = fullname in self.packages
        if not is_package and fullname not in self.files:
            return None
        origin = f"{self.package}/{self.files[fullname]}" if fullname in self.files else None
        return ModuleSpec(fullname, self, origin=origin, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the bytes of a module; a folder without `__init__.py` has none."""
        name = module.__name__
        if name in self.files:
            module.__file__ = f"{self.package}/{self.files[name]}"
            # Functions look `__import__` up here, among their module's builtins.
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.import_module}
            exec(self.get_code(name), vars(module))

    def import_module(
        self,
        name: str,
        module_globals: Mapping[str, object] | None = None,
        module_locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import a module for one of the bundle: its own modules come first; this is their `__import__`."""
        top = name.partition(".")[0]
        if level or top not in self.tops:
            return builtins.__import__(name, module_globals, module_locals, fromlist or (), level)
        full = f"{self.package}.{name}"
        module = builtins.__import__(full, module_globals, module_locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{self.package}.{top}"]

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled bytes of a module."""
        name = self.files[fullname]
        code: CodeType = compile(self.contents[name], f"{self.package}/{name}", "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str:
        """Return the source, for tracebacks and `inspect`."""
        return importlib.util.decode_source(self.contents[self.files[fullname]]) if fullname in self.files else ""

    def is_package(self, fullname: str) -> bool:
        """Return whether a module is a package."""
        return fullname in self.packages


class _Finder(MetaPathFinder):
    """Finds the modules of all loaded plugins by the first part of their names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a plugin's module, None of any other."""
        loader = _loaders.get(fullname.partition(".")[0])
        return loader.find(fullname) if loader else None


# Files of functions that import, and of the error that they cannot.
_OF_IMPORT = frozenset({__file__, importlib.__file__, "<frozen importlib._bootstrap>"})

_FINDER = _Finder()
_loaders: dict[str, _BundleLoader] = {}
_modules: dict[str, ModuleType] = {}


# ---------------------------------------------------------------------------------------------------------------------
# Places in the code


def _package(bundle: Bundle) -> str:
    return f"{PREFIX}{bundle.digest}"


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    frames, traceback = [], error.__traceback__
    while traceback:
        frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _label(filename: str, bundle: Bundle) -> str:
    """Return the path, as messages show it, of a file of the plugin as tracebacks name it; "" for any other file."""
    folder, _, name = filename.partition("/")
    if folder != _package(bundle):
        return ""
    is_imported = name in bundle.files.keys() - {bundle.main}  # the main file may have had another name when loaded
    return str(PurePath(bundle.path).parent / name) if is_imported else bundle.path


def _function_name(code: CodeType) -> str:
    """Return the name of a function as people know it: `Block.forward`; "" for the module."""
    return re.sub(r"(?:^|\.)<\w+>", "", code.co_qualname.replace(".<locals>", ""))


def _first_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # its own code
        return ""
    return lines[0] if lines else ""


def _advice_on_import(name: str, bundle: Bundle) -> str:
    """Return the end of the message that a module was not found: what to do if it stands beside the plugin."""
    if "." in name:
        return ""
    if name in _imported_by_statement(bundle):
        return f"; it is neither beside {PurePath(bundle.path).name} nor installed"
    return "; a module beside the plugin is imported by an import statement, which is found without running it"


def _imported_by_statement(bundle: Bundle) -> set[str]:
    """Return the first parts of the names of all modules that import statements of a bundle name."""
    names: set[str] = set()
    for content in bundle.files.values():
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {(node.module or alias.name).partition(".")[0] for alias in node.names}
    return names
