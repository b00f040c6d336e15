"""Whether functions, classes and modules in memory are still those of their source, from which workers have them.

A default or an attribute may have been set after the definition, a global variable in a default may have another value
by now, and a file may have been edited after its import.
"""

import abc
import ast
import builtins
import contextlib
import importlib.machinery
import inspect
import linecache
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from initbench.errors import UserError, shown
from initbench.plugins.bundle import Bundle

# Constants of these types, and tuples of them, are written as literals.
LITERALS = (int, float, bool, str, bytes, complex, type(None))

# Expressions that are computed again without a side effect.
PURE = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.UnaryOp, ast.BinOp),
    *(ast.expr_context, ast.unaryop, ast.operator),
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

Function = ast.FunctionDef | ast.AsyncFunctionDef


def literal(value: Any) -> str | None:
    """Return a constant as Python writes it; None for any other value."""
    if type(value) is float and value - value != 0:  # not finite
        return f"float({str(value)!r})"
    if type(value) in LITERALS:
        return repr(value)
    if type(value) is tuple:
        items = [literal(item) for item in value]
        return None if None in items else f"({', '.join(map(str, items))}{',' * (len(items) == 1)})"
    return _number_or_dtype(value)


def _number_or_dtype(value: Any) -> str | None:
    """Return a number of NumPy, such as `numpy.sqrt(2)`, or a dtype of PyTorch as Python writes it; None for others."""
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return f'__import__("numpy").dtype({value.dtype.name!r}).type({literal(value.item())})'
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return f'__import__("torch").{str(value).removeprefix("torch.")}'
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Functions and classes


def of_session(thing: Any, node: Definition, values: Mapping[str, Any]) -> str:
    """Return what differs between a function or class of a notebook or script and its source; "" if nothing does.

    `values` are the global variables, with which the source will be executed.
    """

    def is_same(function: FunctionType, node: Function) -> bool:
        return any(map(partial(_is_same_text, node), _definitions(function))) and not has_changed(function.__code__)

    source = _Source(values, is_same, lambda _: True)
    if isinstance(node, ast.ClassDef):
        return next(source.differences_of_class(thing, node), "")
    function = inspect.unwrap(thing)
    return next(source.differences_of_defaults(function, node, {}), "") if isinstance(function, FunctionType) else ""


def _definitions(function: FunctionType) -> list[Function]:
    """Return the definitions from which a function may come, by its name and line."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return []
    nodes = [node for node in ast.walk(tree) if isinstance(node, Function) and node.name == code.co_name]
    return [node for node in nodes if node.lineno >= code.co_firstlineno >= _first_line(node)]


def _first_line(node: Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _is_same_text(first: ast.AST, second: ast.AST) -> bool:
    """Return whether two definitions are the same, up to the indentation of strings: one may have been dedented."""
    texts = [re.sub(r"\\n *", r"\\n", ast.dump(node)) for node in (first, second)]
    return texts[0] == texts[1]


class _Source:
    """What a source means: its global variables, whether a function is a definition's, and what may be evaluated."""

    def __init__(
        self,
        values: Mapping[str, Any],
        is_same: Callable[[FunctionType, Function], bool],
        may_evaluate: Callable[[ast.expr], bool],
        assigned: Set[str] = frozenset(),  # attributes that the source itself assigns outside of classes
    ) -> None:
        self._values = values
        self._is_same = is_same
        self._may_evaluate = may_evaluate
        self._assigned = assigned

    def differences_of_function(self, value: Any, node: Function, local: Mapping[str, Any]) -> Iterator[str]:
        """Yield what differs between a function or method and its definition."""
        for attribute in ("__func__", "fget", "func"):  # static methods, properties, cached ones
            if not isinstance(value, FunctionType):
                value = getattr(value, attribute, value)
        function = inspect.unwrap(value) if callable(value) else value
        if node.decorator_list and getattr(getattr(function, "__code__", None), "co_name", "") != node.name:
            return  # a decorator made it, as it will from the source
        if not isinstance(function, FunctionType) or not self._is_same(function, node):
            yield f"{node.name} is not what its source defines"
        else:
            yield from self.differences_of_defaults(function, node, local)

    def differences_of_defaults(
        self, function: FunctionType, node: Function, local: Mapping[str, Any]
    ) -> Iterator[str]:
        """Yield the defaults of a function that are not those of its definition."""
        code, arguments = function.__code__, node.args
        names = code.co_varnames[: code.co_argcount]
        have = _last(names, function.__defaults__ or ()) | (function.__kwdefaults__ or {})
        only_names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        only = dict(zip(only_names, arguments.kw_defaults, strict=True))
        source = _last(names, arguments.defaults) | {name: default for name, default in only.items() if default}
        for name in sorted(have.keys() | source.keys()):
            default = f"the default {name} of {node.name}"
            if name not in have:
                yield f"{default} was removed"
            elif name not in source:
                yield f"{default} is {shown(have[name])} and its source has none"
            elif difference := self._difference(have[name], source[name], local):
                yield f"{default} is {shown(have[name])} and {difference}"

    def differences_of_class(self, thing: type, node: ast.ClassDef) -> Iterator[str]:
        """Yield what differs between a class and its definition: its bases, methods, their defaults, and constants."""
        own, is_simple = vars(thing), type(thing) in (type, abc.ABCMeta)
        for base in node.bases:
            if isinstance(base, ast.Name | ast.Attribute) and is_simple and self._may_evaluate(base):
                value = None
                with contextlib.suppress(Exception):  # one that is defined in the class around this one
                    value = self._evaluated(base, {})
                if isinstance(value, type) and not any(_is_same_value(value, other) for other in thing.__mro__):
                    yield f"its base {value.__name__} has been defined again"
        bound = bindings(node)
        for part in _in_scope(node):
            name = getattr(part, "name", "")
            is_own = isinstance(part, Definition) and bound[name] == 1 and name in own and name not in self._assigned
            if is_own and isinstance(part, Function) and (is_simple or name != "__new__"):
                yield from self.differences_of_function(own[name], part, own)
            elif is_own and isinstance(part, ast.ClassDef) and isinstance(own[name], type):
                yield from self.differences_of_class(own[name], part)
        if not is_simple:
            return
        counters = self._assigned | _assigned_attributes(node)
        fixed = {name: own[name] for name in constants(node) if name in own and name not in counters}
        fixed = {n: v for n, v in fixed.items() if not hasattr(type(v), "__get__")}  # fields with slots have it
        yield from self.differences_of_constants(fixed, node)
        if "setattr" not in self._assigned:
            yield from (f"{name} is not in its source" for name in _added(thing, node, bound) if name not in counters)

    def differences_of_constants(self, have: Mapping[str, Any], tree: ast.Module | ast.ClassDef) -> Iterator[str]:
        """Yield the constants of a module or class that are not those of its source."""
        for name, expression in constants(tree).items():
            if name in have and _is_pure(expression) and (difference := self._difference(have[name], expression, have)):
                yield f"{name} is {shown(have[name])} and {difference}"

    def _difference(self, value: Any, expression: ast.expr, local: Mapping[str, Any]) -> str:
        """Return what the source says in place of a value; "" if it says the same, or cannot be asked."""
        if not self._may_evaluate(expression):
            return ""
        try:
            now = self._evaluated(expression, local)
            return "" if _is_same_value(value, now) else f"its source says {shown(now)} now"
        except Exception as error:
            return f"its source raises {type(error).__name__} now"

    def _evaluated(self, expression: ast.expr, local: Mapping[str, Any]) -> Any:
        code = compile(ast.Expression(expression), "<source>", "eval", dont_inherit=True)
        return eval(code, dict(self._values), dict(local))


def _last(names: Sequence[str], defaults: Sequence[Any]) -> dict[str, Any]:
    """Return the defaults of the last arguments by name."""
    return dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))


def _is_same_value(first: Any, second: Any) -> bool:
    """Return whether two values are the same constant, definition, or as far as their text shows the same object."""
    if first is second:
        return True
    if isinstance(first, FunctionType) and isinstance(second, FunctionType):
        if first.__name__ == second.__name__ == "<lambda>":  # how one is compiled depends on what is around it
            return first.__code__.co_names == second.__code__.co_names
        return _key(first.__code__) == _key(second.__code__)
    if isinstance(first, type) or isinstance(second, type):
        return False
    literals = literal(first), literal(second)
    if literals != (None, None):
        return literals[0] == literals[1]
    first_text, second_text = (re.sub(r" at 0x\w+", "", repr(value)) for value in (first, second))
    return type(first) is type(second) and first_text == second_text


def _added(thing: type, node: ast.ClassDef, bound: Mapping[str, int]) -> Iterator[str]:
    """Yield the functions that a class was given after its definition; decorators and metaclasses may give some."""
    if node.decorator_list or node.keywords or type(thing) is not type:
        return
    private = f"_{thing.__name__.lstrip('_')}__"
    for name, value in vars(thing).items():
        if (
            name in bound
            or (name.startswith(private) and name.removeprefix(private[:-2]) in bound)
            or not isinstance(value, FunctionType)
            or value.__module__ != thing.__module__
        ):
            continue
        inherited = getattr(super(thing, thing), name, None)
        if inspect.unwrap(value) is not (inspect.unwrap(inherited) if callable(inherited) else None):
            yield name  # optimizers of PyTorch wrap inherited methods, named tuples are given some of their own module


def bindings(tree: ast.Module | ast.ClassDef) -> Counter[str]:
    """Return how often each name is bound in a module or class; one that a function declares as global, twice more."""
    names: Counter[str] = Counter()
    for node in _in_scope(tree):
        if isinstance(node, Definition):
            names[node.name] += 1
        elif isinstance(node, ast.alias):
            names[(node.asname or node.name).partition(".")[0]] += 1
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names[node.id] += 1
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(2 * node.names)
    return names


def _in_scope(tree: ast.Module | ast.ClassDef) -> Iterator[ast.AST]:
    """Yield the nodes of a module or class that are in no function or class in it, in order."""
    unread: list[ast.AST] = list(reversed(tree.body))
    while unread:
        yield (node := unread.pop())
        if not isinstance(node, Definition | ast.Lambda):
            unread += reversed(list(ast.iter_child_nodes(node)))


def constants(tree: ast.Module | ast.ClassDef) -> dict[str, ast.expr]:
    """Return the expressions of the names that are assigned one value, once, at the top of a module or class."""
    bound, by_name = bindings(tree), dict[str, ast.expr]()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and value is not None:
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            by_name |= {name: value for name in names if bound[name] == 1}
    return by_name if "*" not in bound else {}


def _assigned_attributes(tree: ast.AST) -> set[str]:
    return {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
    }


def _is_pure(expression: ast.expr) -> bool:
    return all(isinstance(part, PURE) for part in ast.walk(expression))


# ---------------------------------------------------------------------------------------------------------------------
# Files


def has_changed(code: CodeType) -> bool:
    """Return whether the file of a function was edited since it was compiled; a notebook's cell never is."""
    file = code.co_filename
    if not Path(file).is_file():
        return False
    try:
        compiled = compile("".join(linecache.getlines(file)), file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return True
    return (code.co_firstlineno, _key(code)) not in ((other.co_firstlineno, _key(other)) for other in _codes(compiled))


def check_modules(code: Bundle, folders: Sequence[Path]) -> None:
    """Raise UserError if a module that is imported is not that of its file in a bundle."""
    files = {str(folder / name): name for folder in reversed(folders) for name in code.files}
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module.__name__ == "__main__":
            continue
        file = os.path.abspath(str(vars(module).get("__file__")))
        if file not in files:
            continue
        content = code.files[files[file]]
        if difference := next(_differences_of_module(module, file, content), ""):
            raise UserError(
                f"{files[file]}: {difference}: the file was edited after its import, or the module was changed; "
                "reload it (importlib.reload), or restart"
            )


def _differences_of_module(module: ModuleType, file: str, content: bytes) -> Iterator[str]:
    """Yield what differs between a module and its file: functions, classes, constants, and its statements."""
    try:
        tree, compiled = ast.parse(content), compile(content, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):  # such as a template, which is never imported
        return
    is_plain = type(getattr(module.__spec__, "loader", None)) is importlib.machinery.SourceFileLoader
    bound, values = bindings(tree), vars(module)
    keys = {(code.co_firstlineno, code.co_name): _key(code) for code in _codes(compiled)}

    def is_same(function: FunctionType, node: Function) -> bool:
        # other loaders, such as pytest's, compile to something else
        return not is_plain or _key(function.__code__) == keys.get((_first_line(node), node.name))

    def may_evaluate(expression: ast.expr) -> bool:
        names = {part.id for part in ast.walk(expression) if isinstance(part, ast.Name)}
        is_bound_once = all(bound[name] == (0 if hasattr(builtins, name) else 1) for name in names)
        return _is_pure(expression) and is_bound_once and "*" not in bound

    assigned = _assigned_attributes(tree)
    assigned |= {"setattr"} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    source = _Source(values, is_same, may_evaluate, assigned)
    yield from source.differences_of_constants(values, tree)
    for node in _in_scope(tree):
        name = getattr(node, "name", "")
        if not isinstance(node, Definition) or bound[name] != 1 or name not in values or "*" in bound:
            continue
        value = values[name]
        if isinstance(node, ast.ClassDef):
            if isinstance(value, type) and value.__name__ == name:
                yield from source.differences_of_class(value, node)
            elif not node.decorator_list:
                yield f"{name} is not what its source defines"
        else:
            yield from source.differences_of_function(value, node, {})
    before = _compiled_at_import(module) if is_plain else None
    if before and _key(before) != _key(compiled):
        yield "its statements are others"


def _compiled_at_import(module: ModuleType) -> CodeType | None:
    """Return what a module was compiled to at its import, as Python stored it; None if it did not."""
    path = getattr(module.__spec__, "cached", None)
    if not path or sys.dont_write_bytecode or not os.access(Path(path).parent, os.W_OK) or not Path(path).is_file():
        return None
    try:
        return importlib.machinery.SourcelessFileLoader(module.__name__, path).get_code(module.__name__)
    except (OSError, ImportError, EOFError):
        return None


def _codes(compiled: CodeType) -> list[CodeType]:
    codes = [compiled]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return codes


def _key(code: CodeType) -> tuple[object, ...]:
    """Return what a code does, without its lines."""
    return code.co_qualname, code.co_code, code.co_names, code.co_varnames, tuple(map(_key_of_constant, code.co_consts))


def _key_of_constant(constant: object) -> object:
    if isinstance(constant, CodeType):
        return _key(constant)
    if isinstance(constant, tuple):
        return tuple(map(_key_of_constant, constant))
    return tuple(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
