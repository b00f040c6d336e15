"""The examples of continuous integration, examples/ci/: the workflow's steps gate a scheme, and asv times a sampler."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import pytest
import yaml
from code_blocks import ROOT, blocks

EXAMPLES = ROOT / "examples" / "ci"
PAGE = ROOT / "docs" / "how-to" / "ci.md"
WORKFLOW = yaml.safe_load((EXAMPLES / "gate-initializer.yml").read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
SCHEME = (EXAMPLES / "my_schemes.py").read_text(encoding="utf-8")

posix = pytest.mark.skipif(os.name == "nt" or not shutil.which("git"), reason="the steps are for bash, with git")


def test_the_page_shows_the_files():
    shown = {block.title or block.language: block.code for block in blocks(PAGE)}
    for name in ("my_schemes.py", "gate.toml", "speed/samplers.py"):
        assert shown[name] == (EXAMPLES / name).read_text(encoding="utf-8")
    assert shown["json"] == (EXAMPLES / "asv.conf.json").read_text(encoding="utf-8")
    assert shown["yaml"] in (EXAMPLES / "gate-initializer.yml").read_text(encoding="utf-8")
    assert all(step["run"].splitlines()[0] in shown["yaml"] for step in STEPS if "initbench run" in step.get("run", ""))


def test_the_workflow_can_only_read_and_its_actions_are_commits():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW[True] == {
        "pull_request": {"paths": ["**.py", "gate.toml", ".github/workflows/gate-initializer.yml"]}
    }
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", action) for action in used)
    of_ours = set(re.findall(r"uses: (\S+)", (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")))
    own = {action for action in used if "/cache" not in action}
    assert own <= of_ours  # the versions that our own workflow tries
    assert len({action.partition("@")[2] for action in used if "/cache" in action}) == 1
    assert not any("${{" in step.get("run", "") for step in STEPS)


def test_the_results_before_the_change_are_stored_under_the_key_that_finds_them():
    restored, saved = (step for step in STEPS if "actions/cache" in step.get("uses", ""))
    assert restored["with"]["path"] == saved["with"]["path"] == "results/before"
    assert restored["id"] == "before"
    assert saved["with"]["key"] == "${{ steps.before.outputs.cache-primary-key }}"
    assert saved["if"] == "steps.before.outputs.cache-hit != 'true'"
    for part in ("base/**/*.py", "base/gate.toml", "versions.txt"):
        assert part in restored["with"]["key"]


def git(folder, *words):
    settings = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


def committed(folder, **files):
    """Commit these files, by their names with an underscore for the dot."""
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "A change")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The main branch of somebody's repository, and its grid in small: two networks, 1,280 images."""
    folder = tmp_path_factory.mktemp("project")
    text = (EXAMPLES / "gate.toml").read_text(encoding="utf-8")
    small = text.replace("[[128], [128, 128, 128]]", "[[16], [16, 16]]").replace(
        "epochs = 2", "epochs = 1\ntrain_size = 2560"
    )
    small = small.replace('["relu", "tanh", "gelu"]', '["relu", "tanh"]').replace("seed = 10", "seed = 4")
    assert len(tomllib.loads(small)["grid"]["activation"]) == 2
    git(folder, "init")
    committed(folder, my_schemes__py=SCHEME, gate__toml=small)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of the steps: `initbench` is the program that is tested."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "initbench").write_text(f'#!/bin/sh\nexec {sys.executable} -m initbench "$@"\n')
    (programs / "initbench").chmod(stat.S_IRWXU)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "BASE_BRANCH": "main", "LIMIT": "10"}


@pytest.fixture(scope="module")
def clone(project, environment, tmp_path_factory):
    """A function that gates a change of the scheme: it returns the steps' exit status, output, and folder."""
    cache = tmp_path_factory.mktemp("cache") / "before"

    def gate(name, scheme):
        folder = tmp_path_factory.mktemp(name) / "checkout"
        git(project, "clone", ".", folder)
        if scheme != SCHEME:
            committed(folder, my_schemes__py=scheme)
        if cache.exists():
            shutil.copytree(cache, folder / "results" / "before")
        printed = ""
        for step in STEPS:
            if "run" not in step or "pip install" in step["run"]:
                continue
            command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
            printed += done.stdout + done.stderr
            if done.returncode:
                return done.returncode, printed, folder
            if not cache.exists() and (folder / "results" / "before").exists():
                shutil.copytree(folder / "results" / "before", cache)
        return 0, printed, folder

    return gate


@posix
@pytest.mark.slow
def test_an_unchanged_scheme_passes_and_a_worse_one_fails(clone):
    status, printed, folder = clone("unchanged", SCHEME)
    assert status == 0, printed
    assert "Passed: all cells are bit-identical." in printed
    assert printed.count("16 cells to train") == 1  # those of the base branch; the copy has them
    assert (folder / "gate.html").is_file()

    status, printed, folder = clone("worse", SCHEME.replace("gain *", "0.01 * gain *"))
    assert status == 1, printed
    assert re.search(r"Failed: \d configurations? significantly worse by 10 points or more", printed)
    assert "Nothing to train" in printed  # of the base branch, from the cache
    assert "Changed code: scaled_orthogonal@" in printed
    assert (folder / "gate.html").is_file()


@posix
@pytest.mark.slow
def test_asv_times_the_sampler_and_sees_one_that_has_become_slower(tmp_path, environment):
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLES, folder)
    git(folder, "init")
    committed(folder)
    slower = SCHEME.replace("    return", "    import time\n\n    time.sleep(0.2)\n    return")
    committed(folder, my_schemes__py=slower)
    environment = environment | {"HOME": str(tmp_path), "ASV_PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}

    def asv(*words):
        command = [sys.executable, "-m", "asv", *words]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    asv("machine", "--yes")
    for commit in ("HEAD~1", "HEAD"):
        git(folder, "checkout", commit, "--", "my_schemes.py")
        digits = subprocess.check_output(["git", "rev-parse", commit], cwd=folder, text=True).strip()
        asv("run", "--python=same", "--quick", "--show-stderr", "--set-commit-hash", digits)
    compared = asv("compare", "HEAD~1", "HEAD", "--factor", "1.3", "--only-changed")
    assert re.search(r"\+.*samplers\.Sampler\.time_fill\('784x256'\)", compared), compared
