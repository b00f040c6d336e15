"""Continuous integration and images are pinned: actions by commit, the base by digest, another index for torch only."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


def scripts(text):
    """The text of each `run` key of a workflow: the rest of its line, and the deeper lines that follow it."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if match := re.match(r"(\s*(?:- )?)run:(.*)", line):
            body = [match[2]]
            for following in lines[i + 1 :]:
                if following.strip() and len(following) - len(following.lstrip()) <= len(match[1]):
                    break
                body.append(following)
            yield "\n".join(body)


def test_scripts_returns_complete_scripts():
    text = "steps:\n  - run: a\n    shell: bash\n  - name: b\n    run: |\n      c\n\n      d ${{ e }}\n  - uses: f\n"
    assert [" ".join(script.split()) for script in scripts(text)] == ["a", "| c d ${{ e }}"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_only_pinned_actions_and_no_strings_of_events(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:\s*(.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    contents = list(scripts(text))
    assert len(contents) == len(re.findall(r"\brun:", text)) > 0
    assert not [script for script in contents if "${{" in script]
    assert "EXTRA_INDEX" not in text.upper().replace("-", "_")
    assert re.search(r"permissions:\n  contents: read\n", text)


def test_only_torch_comes_from_another_index_than_pypi():
    for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        assert "EXTRA_INDEX" not in path.read_text(encoding="utf-8").upper().replace("-", "_"), path
    for path in (
        *WORKFLOWS,
        ROOT / "Makefile",
        ROOT / "docs" / "how-to" / "cluster" / "Dockerfile",
        ROOT / ".ci" / "run",
    ):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "--index-url" in line and not line.startswith("#"):
                assert "--no-deps" in line, (path, line)
                assert re.search(r"\btorch\b", line), (path, line)
            assert "extra-index-url" not in line, (path, line)


def test_the_base_image_is_pinned_by_its_digest():
    text = (ROOT / "docs" / "how-to" / "cluster" / "Dockerfile").read_text(encoding="utf-8")
    images = re.findall(r"^FROM (.*)", text, re.MULTILINE)
    assert images
    assert all(re.search(r"@sha256:[0-9a-f]{64}\b", image) for image in images)
