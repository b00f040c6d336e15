"""`data add`, `data remove`, `data list`, `data fetch`: where the data sets lie that a grid file asks for by name."""

import os
from pathlib import Path
from typing import Annotated

import typer

from initbench.cli.program import WorkingCommand, app, plural, say
from initbench.data.catalog import KNOWN
from initbench.errors import UserError, printable, shape_text

data_app = typer.Typer(
    no_args_is_help=True, help="Data sets with a name, such as fashion_mnist: record, list and download them."
)
app.add_typer(data_app, name="data")

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(KNOWN)}.")]


@data_app.command(cls=WorkingCommand, epilog="Example: initbench data add fashion_mnist ~/FashionMNIST/raw")
def add(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of its files.")],
) -> None:
    """Record the folder of a data set, so that a grid file can ask for it by name. The files are read once."""
    from initbench.data import datasets, known

    known.check_name(name)
    folder = Path(datasets.absolute(str(folder)))
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder; allowed: the folder of the files of {name}")
    below = [folder / path for path in KNOWN[name].folders if not os.path.isabs(path)]
    folder = next((path for path in (folder, *below) if known.has_files(name, path)), folder)
    say(_description(name, folder))
    known.record(name, folder)
    say(f'In a grid file: dataset = "{name}"')


@data_app.command(epilog="Example: initbench data remove fashion_mnist")
def remove(name: Name) -> None:
    """Remove the record of a data set's folder, which `data add` or `data fetch` made. The files stay."""
    from initbench.data import known

    known.check_name(name)
    say(printable(f"{name}: the record of {known.remove(name)} is removed; its files stay"))


@data_app.command(name="list", epilog="Example: initbench data list")
def list_() -> None:
    """List the data sets with a name, and the folder of each that is found."""
    from initbench.data import datasets, known

    say(f"mnist: {datasets.DATASETS['mnist'].partition(';')[0]}")
    say("    embedded in initbench")
    for name, data_set in KNOWN.items():
        say(f"{name}: {data_set.summary}")
        try:
            say(printable(f"    {known.find(name)}"))
        except UserError:
            recorded = known.records().get(name)
            say(printable(f"    not found in {recorded}, where it was recorded" if recorded else "    not found"))


@data_app.command(cls=WorkingCommand, epilog="Example: initbench data fetch kmnist")
def fetch(name: Name) -> None:
    """Download a data set with pooch (pip install 'initbench\\[download]'), and check it by torchvision's checksums."""
    from initbench.data import known

    known.check_name(name)
    folder = known.fetch(name, lambda url: say(f"Downloading {url}"))
    say(_description(name, folder))
    known.record(name, folder)
    say(f'In a grid file: dataset = "{name}"')


def _description(name: str, folder: Path) -> str:
    """Return a line that describes the data set in a folder; UserError if it is another one."""
    from initbench.data import datasets

    source = datasets.of_name(name, folder)
    train = f"{source.train_size + source.validation_size:,} training and {plural(source.test_size, 'test image')}"
    return printable(f"{name}: {train}, {shape_text(source.shape)}, {source.classes} classes, in {folder}")
