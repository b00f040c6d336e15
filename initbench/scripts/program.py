"""Write the script of a cell: fill the program with what this cell has, and with nothing that it has not.

An experiment is untrusted. What stands in a script as code is made here and in `network.py` and `schemes.py`, from
records that the cell's canonical strings name, and from numbers; other text stands in comments and string literals, as
`ascii` writes it.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from textwrap import wrap

import jinja2

from initbench.data.datasets import Source
from initbench.errors import UserError
from initbench.models.built_in import PERCEPTRON
from initbench.models.modules import Branch
from initbench.plugins.bundle import Bundle
from initbench.random.noise import formulas
from initbench.registry import OWN_NAME
from initbench.scripts import data, network, schemes, steps
from initbench.scripts.own import OwnFunction, by_file, own_functions
from initbench.spec.cell import LATER, Cell

MAX_LINES = 150  # of a script
N_STORED = 12, 6, 3  # the number of epochs whose figures stand in a script, the first that fits
WIDTH = 118  # of a comment

# What a script says of the largest difference. The stacked trainer adds in another order; so does an orthogonal matrix.
EXACT = "With the same versions on the same kind of processor, there is none."
ROUNDED = "It begins with rounding, 1e-7 of a loss, and grows with the steps: initbench adds in another order."

Expressions = list[tuple[int, str]] | None
Figures = Sequence[Sequence[float | None]]  # of each epoch, the metrics of the tidy table


def program(
    cell: Cell,
    source: Source,
    stored: Figures,
    trained_with: Mapping[str, str],
    plugins: Mapping[str, Bundle],
    folder: str,
) -> str:
    """Return the script of a trained cell, a Python program of less than `MAX_LINES` lines.

    `stored` are its figures in the experiment in `folder`, `trained_with` the metadata of its part, and `plugins` the
    code of own functions by digest. Raises UserError if the cell cannot be written so.
    """
    if cell.precision != "float32":
        raise UserError(f"precision = {cell.precision!r}: a script trains in float32 alone")
    own = own_functions(cell, source, plugins)
    weights = biases = None
    if "model" not in own:
        shapes = [layer.shape for layer in cell.network(source.shape, source.classes).layers]
        nonlinearity = cell.activation if len(shapes) > 1 else cell.output_activation
        weights = schemes.expressions(cell.initializer, shapes, nonlinearity)
        biases = schemes.expressions(cell.bias_initializer, shapes, nonlinearity, bias=True)
    start = "" if weights and biases else f"{cell.id}.npz"
    command = _trace_command(cell, source, plugins, folder)

    def filled(from_file: str, n_stored: int) -> str:
        paths = {name: path for name, path in (("DATA", data.path(source)), ("START", from_file)) if path}
        from_formulas = () if from_file else (weights, biases)
        names = schemes.needed(*from_formulas)
        model = network.network(cell, source.shape, source.classes, own)
        weight_remarks = [
            f"The initial weights are read from a file: {_why_from_file(cell, own, has_formulas=not start)}.",
            f"To write it: {ascii(command)[1:-1]}",
        ] * bool(from_file)
        return str(
            _template().render(
                cell=cell,
                expectation=ROUNDED if cell.is_fused or "orthogonal" in names else EXACT,
                remarks=[*_remarks(cell, own), *weight_remarks, *data.remarks(source)],
                trace_command=ascii(command),
                imports=sorted(["math", "os", "sys", *data.imports(source)]),
                own_imports=[
                    f"from {file[:-3]} import {', '.join(names)}" for (file, _), names in by_file(own).items()
                ],
                usage=" ".join(["python repro.py", *(f"[{name}]" for name in paths)]),
                files=[(name, ascii(path)) for name, path in paths.items()],
                start=bool(from_file),
                stored=_rows(stored, n_stored),
                omitted="" if len(stored) <= n_stored else "; of some epochs",
                data_lines=data.read_lines(source, own),
                n_validation=source.validation_size,
                statistics_lines=data.statistics_lines(cell, source),
                augmentation_lines=data.augmentation_lines(cell, source),
                batch_images=data.batch_images(cell),
                input_lines=data.input_lines(cell, source, cell.model == PERCEPTRON),
                uses=lambda *some: bool(names & {*some}),
                log2=formulas.LOG2,
                numerator=formulas.NUMERATOR,
                denominator=formulas.DENOMINATOR,
                class_lines=network.class_lines(own),
                own_model=network.own_model(cell, source.shape, source.classes, own),
                has_branches=any(isinstance(part, Branch) for part in model),
                network_lines=network.network_lines(model),
                weight_lines=_assigned("W", weights, "(0, layer)", "shape"),
                bias_lines=_bias_lines(None if from_file else biases),
                loss_lines=network.loss_lines(cell, own),
                rate=repr(cell.rate(1)),
                optimizer_line=network.optimizer_line(cell, own),
                epoch_lines=[*steps.epoch_lines(cell, cell.dropout > 0 or bool(own)), *data.augmentation_bits(cell)],
                step_lines=steps.step_lines(cell),
                gradient_lines=steps.gradient_lines(cell),
                trained_with=ascii(
                    f"torch {trained_with.get('torch', '')}, {trained_with.get('processor', '')}"[:100] + ";"
                ),
            )
        )

    # Where it would be too long, with fewer of the stored figures, and then with the initial weights from a file.
    for from_file, n_stored in (*((start, n) for n in N_STORED), (f"{cell.id}.npz", N_STORED[-1])):
        text = filled(from_file, n_stored)
        if text.count("\n") < MAX_LINES:
            return text
    raise UserError(f"{cell.label}: its script would have {MAX_LINES} lines or more, of many different layers")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(files("initbench.scripts").joinpath("program.py.jinja").read_text("utf-8"))


def _trace_command(cell: Cell, source: Source, plugins: Mapping[str, Bundle], folder: str) -> str:
    """Return the command that writes the file of the initial weights, for a terminal beside the user's files."""
    names = OWN_NAME.findall(" ".join((*cell.functions, source.function)))
    mains = dict.fromkeys(plugins[digest].main for _, digest in names if digest in plugins)
    options = [word for main in mains for word in ("--plugin", f"./{main}" if main[0] == "-" else main)]
    allowed = ["--allow-plugins"] * bool(mains)
    return shlex.join(["initbench", "trace", folder, cell.id, f"{cell.id}.npz", *options, *allowed])


def _why_from_file(cell: Cell, own: Mapping[str, OwnFunction], has_formulas: bool) -> str:
    """Return why a script reads the initial weights from a file."""
    if "model" in own:
        return "the model is the user's, and so are its layers"
    if has_formulas:
        return "with their formulas the program would be too long"
    if "@" in cell.initializer + cell.bias_initializer:
        return "the initializer is the user's"
    return "their scheme takes more than a few lines of formulas"


def _remarks(cell: Cell, own: Mapping[str, OwnFunction]) -> list[str]:
    """Return the comments at the top: the settings, and the user's files that the script needs."""
    values = [(name, value) for name, value in cell._asdict().items() if not _is_default(name, value)]
    text = ", ".join(f"{name} {value!a}" for name, value in values)
    lines = wrap(f"cell {cell.id}: {text}", WIDTH)
    for (file, digest), names in by_file(own).items():
        lines.append(f"It imports {', '.join(names)} from {file}, which has to stand beside it (digest {digest}).")
    return lines


def _is_default(name: str, value: object) -> bool:
    return name in LATER and bool(value == Cell._field_defaults[name])


def _rows(stored: Figures, n_stored: int) -> list[tuple[int, list[str]]]:
    """Return the figures of each epoch as a script has them, or of `n_stored` epochs, the first and the last too."""
    last, count = len(stored) - 1, min(len(stored), n_stored) - 1
    epochs = sorted({round(i * last / count) for i in range(count + 1)})
    return [(epoch, ["nan" if value is None else repr(float(value)) for value in stored[epoch]]) for epoch in epochs]


def _bias_lines(expressions: Expressions) -> list[str]:
    """Return the lines that set the bias of a layer; without expressions, `b` has it."""
    if expressions and (number := schemes.constant(expressions)):
        return [f"module.bias.data.fill_({number})"]
    lines = _assigned("b", expressions, "(1, layer)", "module.bias.shape")
    return [*lines, "module.bias.data.copy_(torch.from_numpy(b))"]


def _assigned(name: str, expressions: Expressions, stream: str, shape: str) -> list[str]:
    """Return the lines that set an array of a layer, by an expression for each run of layers."""
    lines = []
    for number, (end, expression) in enumerate(expressions or ()):
        line = re.sub(r"\bshape\b", shape, expression.replace("stream", stream))
        assignment = network.wrapped(f"{name} = {line}")
        if len(expressions or ()) == 1:
            return assignment
        condition = "else:" if number == len(expressions or ()) - 1 else f"{'el' * (number > 0)}if layer <= {end}:"
        lines += [condition, *(f"    {part}" for part in assignment)]
    return lines
