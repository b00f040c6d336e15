"""README.md is short, and its figures and badges are those of the repository."""

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FINDINGS = " ".join(TEXT.partition("## What the article's experiment found")[2].partition("\n## ")[0].split())


@pytest.fixture(scope="module")
def summary():
    """The table of the article's experiment, by combination and initializer."""
    table = pd.read_csv(ROOT / "results" / "example-keepcoding" / "summary.csv")
    return table.set_index(["activation", "loss", "initializer"])


def test_it_has_at_most_120_lines():
    assert len(TEXT.splitlines()) <= 120


@pytest.mark.parametrize(
    ("loss", "initializer"),
    [
        ("mse", "truncated_normal(std=1.0)"),
        ("mse", "normal(std=0.2)"),
        ("mse", "uniform(low=-0.2, high=0.2)"),
        ("cross_entropy", "normal(std=0.2)"),
        ("mse", "glorot_uniform"),
    ],
)
def test_a_finding_has_the_figures_of_the_example(summary, loss, initializer):
    (sentence,) = [part for part in FINDINGS.split("- **") if f"tanh and {loss}" in part and f"`{initializer}`" in part]
    row = summary.loc["tanh", loss, initializer]
    difference, low, high = (f"{100 * row[name]:.1f}" for name in ("difference", "difference_low", "difference_high"))
    written = re.findall(r"([\d.]+)(?: points)? \(([\d.]+) to ([\d.]+)\)", sentence.partition(f"`{initializer}`")[2])
    assert written[0] == (difference, low, high)


def test_zeros_is_best_or_tied_in_all_combinations(summary):
    assert list(summary.xs("zeros", level="initializer")["standing"]) == ["best"] * 8
    assert "`zeros` is best or tied in all 8 combinations" in FINDINGS


def test_the_badges_are_true():
    badges = re.findall(r"img\.shields\.io/badge/(\S+?)-(\S+?)-\w+\)", TEXT)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = settings["project"]["requires-python"].removeprefix(">=")
    assert settings["tool"]["mypy"]["strict"] is True
    assert badges == [
        ("python", f"{version}%20or%20later"),
        ("license", settings["project"]["license"].partition(" AND ")[0]),
        ("mypy", "strict"),
    ]


def test_the_pictures_are_those_of_both_modes():
    names = re.findall(r'(?:src|srcset)="(docs/[^"]+)"', TEXT)
    assert names == ["docs/assets/report-dark.png", "docs/assets/report-light.png"]
    for name in names:
        data = (ROOT / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 150_000
