"""LaTeX, for the tests that compile a document; they are skipped where it or a package is missing."""

import shutil
import subprocess

import pytest

PDFLATEX = shutil.which("pdflatex")
PACKAGES = ("booktabs", "graphicx", "longtable")
IS_COMPLETE = PDFLATEX and not any(
    subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True, check=False).returncode for name in PACKAGES
)
needs_latex = pytest.mark.skipif(not IS_COMPLETE, reason="pdflatex or one of its packages is not installed")


def compile_paper(folder):
    """Run pdflatex on paper.tex in a folder, and return its standard output; the test fails if it does."""
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout[-2000:].decode(errors="replace")
    return result.stdout
