"""The document of docs/how-to/paper.md compiles with the figures and tables that its commands write."""

import re
import shlex
import subprocess

import pytest
import untrusted
from code_blocks import ROOT, blocks, titled
from command import ended
from latex import compile_paper, needs_latex

PAGE = ROOT / "docs" / "how-to" / "paper.md"


@pytest.mark.slow
@needs_latex
def test_the_document_compiles_with_what_the_commands_write(tmp_path, monkeypatch, capsys):
    untrusted.made_run(tmp_path / "results", titled(PAGE, "grid.toml"))
    monkeypatch.chdir(tmp_path)
    commands = next(block for block in blocks(PAGE) if block.language == "sh" and not block.title).code.splitlines()
    assert commands.pop(0) == "initbench run grid.toml"
    for line in commands:
        if line.startswith("initbench "):
            status, _, errors = ended(monkeypatch, capsys, *shlex.split(line)[1:])
            assert status == 0, errors
        else:
            subprocess.run(["sh", "-c", line], check=True)
    (tmp_path / "paper.tex").write_text(titled(PAGE, "paper.tex"), encoding="utf-8")
    for _ in range(2):  # the second time with the references
        compile_paper(tmp_path)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    for flaw in ("Missing character", "undefined", "Overfull \\hbox"):
        assert flaw not in log
    assert len(re.findall(r"<figures/overview\.pdf", log)) >= 1
