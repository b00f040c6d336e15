"""Continuous integration and images are pinned: actions by commit, the base by digest, another index for torch only."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from initbench import __version__

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


def test_a_release_is_published_by_a_job_that_runs_nothing_of_ours_after_the_wheel_has_worked():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    triggers, jobs = workflow[True], workflow["jobs"]  # YAML 1.1 reads `on` as true
    assert triggers["push"] == {"tags": ["v*"]}
    publish = jobs.pop("publish")
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"
    assert publish["needs"] == list(jobs) == ["build", "try"]
    assert publish["if"] == "github.event_name == 'push'"
    actions = [step["uses"].partition("@")[0] for step in publish["steps"]]
    assert actions == ["actions/download-artifact", "pypa/gh-action-pypi-publish"]
    assert publish["steps"][-1]["with"] == {"attestations": True}
    assert all("permissions" not in job for job in jobs.values())
    assert not [step for step in jobs["try"]["steps"] if "checkout" in step.get("uses", "")]
    assert "initbench run --preset keepcoding" in jobs["try"]["steps"][-1]["run"]
    assert "secrets." not in str(workflow)


@pytest.mark.skipif(sys.platform == "win32", reason="the script is bash's")
def test_a_tag_that_is_not_the_version_stops_the_release(tmp_path):
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    (script,) = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "tag" in step.get("name", "")]
    (tmp_path / "python").symlink_to(sys.executable)
    for tag, status in ((f"v{__version__}", 0), (__version__, 1), (f"v{__version__}.1", 1), ("", 1)):
        environment = {**os.environ, "GITHUB_REF_NAME": tag, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        ran = subprocess.run(["bash", "-ec", script], cwd=ROOT, env=environment, capture_output=True, check=False)
        assert (ran.returncode, bool(ran.stdout)) == (status, bool(status)), tag
