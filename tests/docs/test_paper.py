"""The document of docs/how-to/paper.md compiles with the figures and tables that its commands write."""

import re
import shlex
import shutil
import subprocess

import pytest
import untrusted
from code_blocks import ROOT, blocks, titled
from command import ended

PAGE = ROOT / "docs" / "how-to" / "paper.md"
LATEX = shutil.which("pdflatex")
PACKAGES = ("booktabs", "graphicx")


@pytest.mark.slow
@pytest.mark.skipif(
    not LATEX
    or any(
        subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True, check=False).returncode for name in PACKAGES
    ),
    reason="pdflatex or one of its packages is not installed",
)
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
        command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        compiled = subprocess.run(command, capture_output=True, check=False, timeout=120)
        assert compiled.returncode == 0, compiled.stdout[-2000:].decode(errors="replace")
    log = (tmp_path / "paper.log").read_text(errors="replace")
    for flaw in ("Missing character", "undefined", "Overfull \\hbox"):
        assert flaw not in log
    assert len(re.findall(r"<figures/overview\.pdf", log)) >= 1
