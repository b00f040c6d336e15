"""Mutants: grid files, IDX files and parts with random damage and hostile values; a number identifies each."""

import copy
import datetime
import functools
import gzip
import json
import operator
import random
import struct
import tomllib
from contextlib import suppress

import pyarrow as pa
import untrusted

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers import INITIALIZERS
from initbench.spec import presets
from initbench.spec.settings import RULES, SECTIONS

# ---------------------------------------------------------------------------------------------------------------------
# Grid files

# Valid grids that contain every setting in every spelling. `tiny` is a folder of IDX files.
RICH = (
    """
name = "everything"
device = "cpu"
dataset = "mnist"
[grid]
initializer = ["zeros", { name = "normal", std = 0.2 }, "truncated_normal(std=0.1)", { hidden = "he_normal", last = { name = "normal", std = 0.01 } }]
bias_initializer = ["zeros", { name = "normal", std = 0.05 }, { hidden = "ones", last = "zeros" }]
activation = ["tanh", { name = "leaky_relu", negative_slope = 0.2 }, "softplus(beta=2.0)"]
output_activation = ["identity", "sigmoid"]
hidden = [[16], [16, 8]]
loss = ["mse", "cross_entropy", { name = "huber", delta = 0.5 }]
optimizer = ["sgd", { name = "momentum", momentum = 0.95 }, "adam(beta1=0.5)"]
learning_rate = [0.1, 1e-2]
lr_schedule = ["constant", "exponential"]
lr_decay = [0.0, 1e-3]
batch_size = [128, 64]
epochs = [1, 2]
precision = ["float32", "bf16"]
train_size = [1280, 640]
seed = [0, 1, 9223372036854775807]
""",
    """
dataset = { idx = "tiny" }
[grid]
initializer = ["lsuv", "gpt2", "orthogonal", "sparse"]
seed = 3
[model]
activation = "relu"
hidden = [8, 8, 8]
bias_initializer = "uniform(low=-0.1, high=0.1)"
[training]
batch_size = 4
epochs = 1
precision = "tf32"
""",
    """
[grid]
dataset = ["mnist", { idx = "tiny" }]
initializer = "per_layer(first=zeros, hidden=he_uniform, last=normal(std=0.01))"
seed = 1
[training]
batch_size = 2
train_size = 20
[model]
hidden = []
output_activation = "softmax"
""",
    """
name = 'deep'
[grid]
initializer = ["dks", "tat", "metainit", "gradinit", "pca", "kmeans", "autoinit", "within_layer"]
[model]
activation = { name = "elu", alpha = 1.0 }
hidden = [32, 32, 32]
""",
)

SOURCES = [*(presets.text(name) for name in presets.names()), *RICH]
NAMES = [*INITIALIZERS, *ACTIVATIONS, *LOSSES, *OPTIMIZERS, *RULES, *SECTIONS, "name", "idx", "first", "last", "same"]
PARAMETERS = sorted(
    {p.name for c in (INITIALIZERS, ACTIVATIONS, LOSSES, OPTIMIZERS) for e in c.values() for p in e.parameters}
)

NUMBERS = (
    0, 1, -1, 2, 127, 128, 65_536, 65_537, 100_000, 100_001, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    2**64, 10**12, 10**30, 10**400, -(2**63), 0.0, -0.0, 5e-324, 1e-320, 1e-300, 1e-38, 1e-12, 0.1, 0.5, 0.999999, 1.0,
    1.5, 20.0, 1e4, 1e20, 3.5e38, 1e300, 1.7976931348623157e308, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip

TEXTS = (
    "", " ", "zeros ", "ZEROS", "he_nοrmal", "ｚeros", "ze\u200bros", "\0", "a\0b", "\x1b[31mred", "\u202egnp", "\u2028", "\x85",
    "\n", "a\nb", "\r", "\t", "\x7f", "\ufeff", "\U0010ffff", "𝓏𝑒𝓇𝑜𝓈", "x" * 200, "x" * 20_000, "../x", "..", ".", "/etc", "/",
    "/etc/passwd", "/dev", "/proc/self/fd", "/dev/zero", "CON", "nul", "com1.txt", "name.", "name...", "name ", "a/b",
    "a\\b", "C:\\x", "~", "~root", "~no-such-user/x", "$HOME", "%s%s%s", "{0}", "{x!r}", "{{ 7 * 7 }}", "{% raw %}",
    "<script>alert(1)</script>", "'", '"', "`id`", "normal", "normal(", "normal()", "normal(std=", "normal(std=1e999)",
    "normal(std=nan)", "normal(std=-0.0)", "normal(std=1_0)", "normal(std=0x10)", "normal(std=1j)", "normal(std='1')",
    "normal(std=[1]*99999999)", "normal(std=9**9**9)", "normal(std=--1)", "normal(std=" + "-" * 5000 + "1)",
    "normal(std=" + "(" * 5000 + "1" + ")" * 5000 + ")", "normal(std=" + "[" * 150 + "]" * 150 + ")",
    "normal(std=" + "9" * 5000 + ")", "normal(" + "a=1," * 500 + ")", "normal(**{'std': 1})", "normal(*[1])",
    "normal(std=1)#", "normal(std=1);", "normal(std=1)\n", "lambda: 0", "__import__('os').system('id')", "normal(std=x)",
    "per_layer()", "per_layer(hidden=zeros)", "per_layer(hidden=per_layer(hidden=zeros))", "per_layer(hidden=lsuv)",
    "per_layer(hidden=" + "per_layer(hidden=" * 100 + "zeros" + ")" * 101, "per_layer(hidden=zeros, last=(lambda: 0))",
    "per_layer(hidden=zeros, last='ones')", "per_layer(hidden=normal(std=0.1), first=1)", "per_layer(hidden=)",
    "per_layer(hidden=f'{zeros}')", "per_layer(hidden=" + "-" * 3000 + "1)", "variance_scaling(mode='fan_in', scale=2)",
    "tiny", "./tiny", "tiny/..", "tiny/../tiny", "tiny\0", "tiny/" * 200, "no" * 3000, "constant(value=0)", "0", "1e5", "-",
)  # fmt: skip

# What separates the values of a TOML text.
TOKENS = (
    "=", "[", "]", "[[", "]]", "{", "}", ",", ".", '"', "'", '"""', "'''", "#", "\\", "\\u0000", "\\uD800", "\\U00110000",
    "\\x41", "\n", "\r", "\r\n", "\0", "\t", "\ufeff", "true", "inf", "-nan", "+", "_", "0x", "1e", "1979-05-27",
    "07:32:00", "[grid]\n", "[grid.seed]\n", "[[grid]]\n", "grid.seed = 3\n", "a.b.c = 1\n", "é", "\x85", "\u2028",
)  # fmt: skip
ODD_KEYS = ("\x1b[2J", "a\nb", "\u202ekey", "k" * 5000, "", "a.b", "[grid]", "é", "'", '"', "\\", "grid.seed")


def grid_value(rng, depth=0):
    """A value that is rarely valid where it is put."""
    kind = rng.randrange(12)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 6:
        return rng.choice(TEXTS)
    if kind < 7:
        return rng.choice((True, False, datetime.date(1979, 5, 27), datetime.datetime(1, 1, 1), datetime.time(7, 32)))
    if kind < 9:
        return canonical(rng)
    if depth > 3:
        return rng.choice(([], {}, [[]]))
    if kind == 9:
        return [grid_value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3, 5)))]
    if kind == 10:
        keys = [rng.choice((*PARAMETERS, *NAMES, "name", "name", "idx", "x")) for _ in range(rng.randrange(4))]
        return {key: grid_value(rng, depth + 1) for key in keys}
    count = rng.choice((100, 1000))
    return rng.choice((
        list(range(count)),
        ["zeros"] * count,
        [{"name": "normal", "std": 0.001 * (i + 1)} for i in range(count // 10)],
        [[1 + i] * (1 + i % 5) for i in range(count // 5)],
    ))  # fmt: skip


def canonical(rng):
    """A name, or a canonical string, some with invalid parameters."""
    name = rng.choice((*INITIALIZERS, *ACTIVATIONS, *LOSSES, *OPTIMIZERS))
    if rng.random() < 0.3:
        return name
    inside = ", ".join(f"{rng.choice(PARAMETERS)}={rng.choice(NUMBERS)!r}" for _ in range(rng.randrange(1, 3)))
    return spoiled(rng, f"{name}({inside})") if rng.random() < 0.4 else f"{name}({inside})"


def spoiled(rng, text):
    """A string with some of its characters cut, repeated, changed or inserted."""
    return torn(rng, text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def paths(node, path=()):
    """The path to every value in a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def changed(rng, document, value):
    """A document with one to four changes; `value` returns new values."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        *parents, key = rng.choice([*paths(document)][:400] or [()]) or (None,)
        if key is None:
            return {"x": value(rng)}
        home = functools.reduce(operator.getitem, parents, document)
        _change(rng, home, key, value)
    return document


def _change(rng, home, key, value):
    """Change one value of a table or a list."""
    kind = rng.randrange(10)
    old = home[key]
    if kind < 3:
        home[key] = value(rng)
    elif kind == 3:
        del home[key]
    elif kind == 4 and isinstance(home, dict):
        home[rng.choice((rng.choice(NAMES), rng.choice(TEXTS), spoiled(rng, str(key)), rng.choice(ODD_KEYS)))] = (
            home.pop(key)
        )
    elif kind == 5:
        home[key] = [old] if rng.random() < 0.6 else {rng.choice((*NAMES, "x")): old}
    elif kind == 6 and isinstance(home, dict):
        home[rng.choice(("name", "dataset", "device", *SECTIONS, *RULES))] = value(rng)
    elif isinstance(old, list):
        home[key] = old * rng.choice((0, 2, 3, 100)) if rng.random() < 0.5 else [*old, value(rng)]
    elif isinstance(old, dict):
        old[rng.choice((*PARAMETERS, *NAMES, *RULES))] = value(rng)
    elif isinstance(old, str):
        home[key] = spoiled(rng, old) if rng.random() < 0.7 else rng.choice(TEXTS)
    elif isinstance(old, (int, float)):
        home[key] = rng.choice((-old, str(old), old + 1, old * 2, rng.choice(NUMBERS), bool(old), [old]))


def toml(node, top=True):
    """A document as TOML text: top-level tables as sections, the rest on one line; invalid TOML for invalid values."""
    if isinstance(node, dict) and top:
        plain = [
            f"{_quoted(key)} = {toml(child, False)}\n" for key, child in node.items() if not isinstance(child, dict)
        ]
        tables = [
            f"[{_quoted(key)}]\n" + "".join(f"{_quoted(k)} = {toml(v, False)}\n" for k, v in child.items())
            for key, child in node.items()
            if isinstance(child, dict)
        ]
        return "".join([*plain, *tables])
    if isinstance(node, dict):
        return "{ " + ", ".join(f"{_quoted(key)} = {toml(child, False)}" for key, child in node.items()) + " }"
    if isinstance(node, list):
        return "[" + ", ".join(toml(child, False) for child in node) + "]"
    if isinstance(node, bool):
        return str(node).lower()
    if isinstance(node, (int, float)):
        return repr(node)
    return _quoted(node) if isinstance(node, str) else node.isoformat()


def _quoted(text):
    if text.isascii() and text.isidentifier():
        return f'"{text}"' if len(text) % 2 else f"'{text}'"
    characters = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in str(text))
    return '"' + "".join(characters) + '"'


def torn(rng, content):
    """Bytes of a file with flipped bits, cuts, and pieces that are repeated or copied elsewhere."""
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not content:
            return content
        begin = rng.randrange(len(content))
        end = min(len(content), begin + rng.choice((1, 2, 8, 64, 400)))
        change = rng.randrange(7)
        if change == 0:
            content = content[:begin]
        elif change == 1:
            content = content[:begin] + content[end:]
        elif change == 2:
            content = content[:begin] + bytes([content[begin] ^ (1 << rng.randrange(8))]) + content[begin + 1 :]
        elif change == 3:
            content = content[:begin] + content[begin:end] * rng.choice((2, 3, 100)) + content[end:]
        elif change == 4:
            content = content[:begin] + rng.choice(TOKENS).encode() + content[begin:]
        elif change == 5:
            to = rng.randrange(len(content))
            content = content[:to] + content[begin:end] + content[to:]
        else:
            content = content[:begin] + rng.randbytes(end - begin) + content[end:]
    return content


# Large or deep texts, each of a kind that is hard for some reader of TOML or of Python's literals.
EXTREMES = (
    lambda n: "[grid]\ninitializer = " + "[" * n + "]" * n,
    lambda n: "[grid]\ninitializer = " + "{a=" * n + "1" + "}" * n,
    lambda n: "[grid]\n" + "a." * n + "a = 1",
    lambda n: "[" + "a." * n + "a]\nb = 1",
    lambda n: "[grid]\ninitializer = ['normal(std=" + "-" * n + "1)']",
    lambda n: "[grid]\ninitializer = ['normal(std=" + "(" * n + "1" + ")" * n + ")']",
    lambda n: "[grid]\ninitializer = ['normal(std=" + "1+" * n + "1)']",
    lambda n: "[grid]\ninitializer = ['per_layer(hidden=" + "a." * n + "a)']",
    lambda n: "[grid]\ninitializer = ['" + "per_layer(hidden=" * n + "zeros" + ")" * n + "']",
    lambda n: "[grid]\ninitializer = ['zeros']\nlr_decay = 0x" + "f" * n,
    lambda n: "[grid]\ninitializer = ['zeros']\nlr_decay = 1" + "0" * n,
    lambda n: "[grid]\ninitializer = ['zeros']\nlr_decay = 0." + "0" * n,
    lambda n: "[grid]\ninitializer = [" + "'he_norml', " * n + "]",
    lambda n: "[grid]\ninitializer = [" + "'zeros', " * n + "]",
    lambda n: "[grid]\ninitializer = ['zeros']\nlearning_rate = [" + ", ".join(map(str, range(1, n))) + "]",
    lambda n: "[grid]\ninitializer = ['zeros']\nlearning_rate = [" + ", ".join(map(str, range(-n, 1))) + "]",
    lambda n: "[grid]\ninitializer = ['zeros']\nhidden = [" + ", ".join(f"[{i + 1}]" for i in range(n)) + "]",
    lambda n: "[grid]\ninitializer = ['zeros']\nhidden = [[" + "2, " * n + "]]",
    lambda n: "[grid]\ninitializer = ['zeros']\n" + "".join(f"key{i} = 1\n" for i in range(n)),
    lambda n: "[grid]\ninitializer = ['" + "x" * n + "']",
    lambda n: "[grid]\n'" + "x" * n + "' = 1",
    lambda n: "name = '" + "x" * n + "'",
    lambda n: "#" * n,
    lambda n: "\n" * n,
    lambda n: '"' * n,
    lambda n: "a = '''" + "\n" * n,
    lambda n: "[[grid]]\n" * n,
    lambda n: "[grid]\nseed = " + str(n),
    lambda n: "\ufeff" * n,
)


def grid_file(number):
    """The bytes of a mutated grid file."""
    rng = random.Random(number)
    if rng.random() < 0.01:
        return rng.choice(EXTREMES)(rng.choice((10, 300, 3000, 30_000))).encode()
    text = rng.choice(SOURCES)
    if rng.random() < 0.8:
        text = toml(changed(rng, tomllib.loads(text), grid_value))
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.35:
        content = torn(rng, content)
    return content


# ---------------------------------------------------------------------------------------------------------------------
# IDX files

SIZES = (0, 1, 2, 255, 256, 65_535, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


def idx(shape, data, magic=(0, 0, 8)):
    """An IDX file of bytes; its header may be wrong."""
    return bytes((*magic, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + data


def idx_file(number, content):
    """A mutant of an IDX file, plain or gzipped: its bytes."""
    rng = random.Random(number)
    change = rng.randrange(10)
    dimensions = content[3]
    shape = list(struct.unpack_from(f">{dimensions}I", content, 4))
    data = content[4 + 4 * dimensions :]
    if change == 0:
        content = torn(rng, content)
    elif change < 4:  # a wrong header
        for _ in range(rng.choice((1, 1, 2, 3))):
            shape[rng.randrange(dimensions)] = rng.choice((*SIZES, shape[0] + 1, shape[0] - 1)) % 2**32
        content = idx(shape, data)
    elif change == 4:
        content = idx(shape, data, rng.choice(((0, 0, 9), (0, 0, 0x0D), (1, 0, 8), (0x1F, 0x8B, 8), (0, 0, 0))))
    elif change == 5:
        shape = [rng.choice((*SIZES, shape[0])) for _ in range(rng.randrange(5))]
        content = idx(shape, data)
    elif change == 6:
        content = content[: rng.randrange(len(content) + 1)]
    elif change == 7:
        content += bytes(rng.choice((1, 2, 1000)))
    elif change == 8:  # other labels and pixels, all valid
        content = content[: 4 + 4 * dimensions] + bytes(rng.choice((0, 1, 254, 255)) for _ in data)
    if rng.random() < 0.5:
        content = _packed(rng, content)
    return content


def _packed(rng, content):
    """A gzipped file, usually invalid."""
    change = rng.randrange(8)
    half = rng.randrange(len(content) + 1)
    if change == 0:  # two members are one valid file
        return gzip.compress(content[:half], mtime=0) + gzip.compress(content[half:], mtime=0)
    packed = gzip.compress(content, mtime=0)
    if change == 1:
        return packed + rng.choice((bytes(100), b"x", packed, packed[:10], b"\x1f\x8b"))
    if change == 2:
        return packed[: rng.randrange(len(packed))]
    if change == 3:
        return torn(rng, packed)
    if change == 4:  # a wrong checksum, a wrong length
        return packed[:-8] + rng.randbytes(8)
    if change == 5:  # a long tail
        return gzip.compress(content + bytes(1_000_000), 1, mtime=0)
    if change == 6:
        return gzip.compress(b"", mtime=0) * 1000 + packed
    return packed


# ---------------------------------------------------------------------------------------------------------------------
# Parts, and the files beside them


def part(number, content, rows):
    """A mutant of a part, from its bytes or from its rows."""
    rng = random.Random(number)
    if rng.random() < 0.4:
        return torn(rng, content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        with suppress(
            pa.ArrowException, ValueError, TypeError, IndexError, OverflowError
        ):  # one change may prevent the next
            rows = _hostile_rows(rng, rows)
    metadata = json.dumps({"processor": "a processor"}).encode() if rng.random() < 0.7 else _hostile_metadata(rng)
    options = {
        "compression": rng.choice(("zstd", "none", "snappy", "gzip")),
        "use_dictionary": rng.random() < 0.5,
        "row_group_size": rng.choice((1, 7, 10_000)),
        "data_page_version": rng.choice(("1.0", "2.0")),
    }
    packed = untrusted.parquet(rows, metadata, **options)
    return torn(rng, packed) if rng.random() < 0.1 else packed


def _hostile_rows(rng, rows):
    """The rows with one change that no training makes."""
    name = rng.choice(rows.column_names)
    column = rows.column_names.index(name)
    kind = rows.schema.field(name).type
    values = rows[name].to_pylist()
    change = rng.randrange(12)
    if change == 0:  # missing values
        values = [None if rng.random() < 0.2 else value for value in values]
    elif change < 4:  # other values
        strange = {
            pa.string(): (*TEXTS, "diverged", "trained", *(f"status {i}" for i in range(300))),
            pa.int64(): (-1, 0, 3, 2**31, 2**32 + 1, 2**62, -(2**63)),
        }.get(kind, (float("nan"), float("inf"), -1.0, 0.0, 1.0, 2.0, 1e39, 1e308, -1e308, 1e-300))
        share = rng.choice((0.05, 0.5, 1.0))
        values = [rng.choice(strange) if rng.random() < share else value for value in values]
    elif change == 4:  # missing rows, repeated rows, another order
        order = [i for i in range(len(values)) if rng.random() < 0.9] * rng.choice((1, 1, 2))
        rng.shuffle(order) if rng.random() < 0.5 else order
        return rows.take(pa.array(order, pa.int64()))
    elif change == 5:
        other = list(range(rows.num_columns))  # another order of columns
        rng.shuffle(other)
        return rows.select(other)
    elif change == 6:
        more = f"more {rows.num_columns}"
        return rows.drop_columns([name]) if rng.random() < 0.5 else rows.append_column(more, rows[name])
    elif change == 7:
        return rows.rename_columns([spoiled(rng, n) if n == name else n for n in rows.column_names])
    elif change == 8:
        other = rng.choice((pa.int32(), pa.large_string(), pa.float32(), pa.binary(), pa.dictionary(pa.int32(), kind)))
        try:
            return rows.set_column(column, name, rows[name].cast(other))
        except (pa.ArrowException, ValueError):
            return rows.set_column(column, name, pa.array([[value] for value in values]))
    elif change == 9:
        uuids = pa.array([rng.randbytes(16) for _ in values], pa.binary(16))
        return rows.set_column(column, name, pa.ExtensionArray.from_storage(pa.uuid(), uuids))
    elif change == 10:
        return rng.choice((rows.slice(0, 0), rows.slice(1), rows.slice(0, 1), pa.concat_tables([rows, rows])))
    elif kind == pa.string():
        values[0] = "x" * rng.choice((1000, 1_000_000))
    return rows.set_column(column, rows.schema.field(name), pa.chunked_array([pa.array(values, kind)]))


def _hostile_metadata(rng):
    """Metadata that no part has."""
    return rng.choice((
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b"\0", b'{"a": 1}', b'{"a": null}', b'{"a": ["b"]}',
        b'{"a": {"b": "c"}}', b'{"\\ud800": "\\ud800"}', b'{"a\\n": "\\u001b[2J"}', b"[" * 100_000, b'{"a":' * 100_000,
        b"1" * 100_000, b'{"a": "' + b"x" * 50_000 + b'"}', b'{"a": "' + b"x" * 1_000_000 + b'"}', b'{"a": NaN}',
        json.dumps({f"key {i}": "x" for i in range(1000)}).encode(), b'{"processor": "<script>"}',
    ))  # fmt: skip


def json_file(number, content):
    """A mutant of a JSON file: a timing, the data sets."""
    rng = random.Random(number)
    kind = rng.randrange(4)
    if kind == 0:
        return torn(rng, content)
    if kind == 1:
        return _hostile_metadata(rng)
    return json.dumps(changed(rng, json.loads(content), lambda rng: copy.deepcopy(rng.choice(JSON)))).encode()


JSON = (
    None, True, False, 0, 1, -1, 0.0, -1.5, 1e-300, 1e308, 2**63, 10**400, float("nan"), float("inf"), -float("inf"), "",
    "x", "1", "<script>", "\x1b[2J", "\ud800", "x" * 10_000, [], [1], {}, {"cells": 1}, {"seconds": 1, "cells": 0},
    {"zeros": {"cells": 1, "seconds": -1}}, {"zeros": 1}, {"per_layer(": {"cells": 1, "seconds": 5}},
    {"per_layer(first=zeros)": {"cells": 1, "seconds": 5}}, {"\x1b[2J": {"cells": 1, "seconds": 5}},
)  # fmt: skip
