"""The documents are right about the repository: their code runs, and their links, paths and commands exist."""

import operator
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import initbench as ib
from initbench.stats import _signal

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results" / "README.md"]
CODE = [path for folder in ("initbench", "tests", "tools", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")]
FILES = [*PAGES, *CODE, *ROOT.glob(".github/**/*.*"), *(ROOT / n for n in ("Makefile", "pyproject.toml", ".ci/run"))]


def text_of(path):
    return path.read_text(encoding="utf-8")


def name_of(path):
    return str(path.relative_to(ROOT))


def test_the_example_of_an_initializer_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(ROOT / "CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, check=True)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_link_leads_to_a_file_and_a_heading(path):
    for target, _, heading in re.findall(r"\]\((?!\w+:)([^)#]*)(#([^)]*))?\)", text_of(path)):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if heading and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)", text_of(linked), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], heading


def test_a_path_in_the_repository_exists():
    path_of = re.compile(r"(?<![\w/.-])((?:initbench|tests|docs|tools|benchmarks)/[\w/.-]*\w/?)")
    mentions = [(name_of(path), mention) for path in FILES for mention in path_of.findall(text_of(path))]
    assert not [pair for pair in mentions if not (ROOT / pair[1]).exists() and not (ROOT / f"{pair[1]}.py").exists()]


@pytest.mark.parametrize("path", [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"], ids=name_of)
def test_a_name_of_the_python_interface_exists(path):
    for name in re.findall(r"\bib\.((?:\w+\.)*\w+)", text_of(path)):
        assert operator.attrgetter(name)(ib), name


def test_the_limits_of_the_signal_are_those_that_findings_have():
    rows = [
        row
        for row in text_of(ROOT / "docs" / "explanation" / "signal.md").splitlines()
        if row.startswith("| ") and "at " in row
    ]
    limits = {
        "gradient_ratio": [f"1/{_signal.FACTOR:.0f} ", f"least {_signal.FACTOR:.0f} "],
        "pre_activation_second_moment": [f"1/{_signal.FACTOR:.0f},", f"least {_signal.FACTOR:.0f} "],
        "saturated_share": [f"least {_signal.SATURATED:.0%};", f"relu {_signal.SATURATED_HALF_ZERO:.0%} "],
        "dead_share": [f"least {_signal.DEAD:.0%};"],
        "correlation": [f"least {_signal.COLLAPSED} "],
        "effective_rank": [f"most {_signal.ONE_DIMENSION}:"],
    }
    for statistic, texts in limits.items():
        (row,) = [row for row in rows if f"`{statistic}`" in row]
        assert all(text in row for text in texts), row


def test_the_share_of_false_claims_after_repeated_looks_is_the_simulated_one():
    table = pd.read_csv(ROOT / "tests" / "stored" / "statistics.csv", header=None)
    row = table[table[0].eq("sequential") & table[5].eq("errors, looking after 5, 10, 20, 40, 80")]
    assert len(row) == 10
    share = f"{100 * row[6].astype(float).min():.0f} to {100 * row[6].astype(float).max():.0f}%"
    for path in ("docs/reference/grid.md", "initbench/reporting/cautions.py", "initbench/reporting/html/terms.html"):
        assert re.findall(
            r"\d+ to \d+% (?=\W*of (?:simulated )?(?:experiments|combinations))", text_of(ROOT / path)
        ) == [f"{share} "], path


def test_the_example_has_the_form_of_a_report_of_today():
    html = ROOT / "initbench" / "reporting" / "html"
    parts = [path.read_text() for path in html.glob("*.html") if path.name not in ("comparison.html", "signal.html")]
    sections = {name for text in parts for name in re.findall(r'<section id="(\w+)">', text)}
    example = (ROOT / "results" / "example-keepcoding" / "report.html").read_text()
    assert len(sections) == 8
    assert set(re.findall(r'<section id="(\w+)">', example)) == sections
