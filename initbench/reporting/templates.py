"""Fill the page's templates; whatever comes from an experiment is escaped."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from initbench import __version__
from initbench.reporting import names
from initbench.reporting.narrative import shortened
from initbench.reporting.numbers import in_points, uncapitalized


def fill(template: str, colours: str = "", **values: Any) -> str:
    """Return a page: a template with its style sheet, the `colours` of its initializers, and these values."""
    own = {"version": __version__, "style": Markup(asset("style.css")), "colours": Markup(colours)}
    return _environment().get_template(template).render(**own, **values)


def compile_all() -> None:
    """Compile the templates, which takes a fraction of a second, before they are filled."""
    for file in files("initbench.reporting").joinpath("html").iterdir():
        if file.name.endswith(".html"):
            _environment().get_template(file.name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=jinja2.FunctionLoader(asset)
    )
    environment.filters |= {"breakable": _breakable, "digest": _digest, "points": in_points, "label": label}
    environment.filters |= {
        "first_upper": _first_upper,
        "first_lower": uncapitalized,
        "some": shortened,
        "words": _words,
    }
    return environment


def asset(name: str) -> str:
    """The text of a template, the style sheet or the script, in `html/`."""
    return files("initbench.reporting").joinpath("html", name).read_text(encoding="utf-8")


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break before a parenthesis or a digest, and after an underscore only."""
    return Markup(re.sub(r"(?=[(@])|(?<=_)", "<wbr>", str(escape(name))))


def _words(command: str) -> Markup:
    """A command whose lines break between its words: within one only where it is wider than a line."""
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(word) for word in command.split(" "))


def _digest(script: str) -> str:
    """The SHA-256 of a script, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def label(setting: str) -> str:
    """A setting's name as a heading has it."""
    return _first_upper(names.setting(setting))


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
