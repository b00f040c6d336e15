"""`bench`: the speed of the samplers on this machine."""

from typing import Annotated

import typer

from initbench.cli.inspect import parse_shape
from initbench.cli.program import app, say
from initbench.errors import UserError, nearest


@app.command(epilog="Example: initbench bench --shape 784,256")
def bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option("--shape", metavar="IN,OUT", help="Repeatable; default: 768,10, 784,256 and 4096,4096."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--scheme", metavar="NAME", help="A scheme. Repeatable; default: all that can be compared."),
    ] = None,
    cores: Annotated[int, typer.Option("--cores", min=1, help="CPU cores for each library.")] = 1,
) -> None:
    """Time the samplers next to every installed library. Takes some minutes on an otherwise idle machine."""
    from initbench.initializers import INITIALIZERS, throughput
    from initbench.random import noise
    from initbench.system.hardware import cpu_name
    from initbench.system.threads import available_cores

    names = [INITIALIZERS.aliases[name].canonical if name in INITIALIZERS.aliases else name for name in names or ()]
    for name in names:
        if name not in throughput.SCHEMES:
            allowed = ", ".join(throughput.SCHEMES)
            raise UserError(f"--scheme {name}: allowed: {allowed}{nearest(name, throughput.SCHEMES)}")
    if cores > available_cores():
        raise UserError(f"--cores {cores}: allowed: from 1 to {available_cores()}, the cores of this machine")
    sizes: list[tuple[int, int]] = []
    for shape in shapes or ():
        fan_in, *fan_out = parse_shape(shape)
        if len(fan_out) != 1:
            raise UserError(f"--shape {shape}: allowed: two integers, such as 784,256")
        sizes.append((fan_in, fan_out[0]))
    libraries = throughput.installed()
    absent = [name for name in throughput.LIBRARIES if name not in libraries]
    code = "compiled" if noise.load() is not noise.plain else "in NumPy alone, slower, since numba cannot be used here"
    say(f"Nanoseconds per weight on {cores} of {available_cores()} cores, {cpu_name()}; initbench is {code}.")
    say("For the others also the ratio to initbench, above 1× if they are slower; last, that of the fastest of them.")
    say()
    for line in throughput.header(libraries):
        say(line)
    schemes = [name for name in throughput.SCHEMES if name in (names or throughput.SCHEMES)]
    broken: list[str] = []
    for measured in throughput.measure(
        sizes or throughput.SHAPES, cores, schemes, on_failure=lambda name, why: broken.append(f"{name}: {why}")
    ):
        say(throughput.row(measured, libraries))
    if absent or broken:
        say()
    if absent:
        say(f"Not installed: {', '.join(absent)}")
    for line in broken:
        say(f"Left out, since it failed: {line}")
