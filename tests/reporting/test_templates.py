"""The compiled templates are kept for other processes, where only the user can write, and a damaged file is none."""

import jinja2
import pytest

from initbench.reporting import templates


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """The folder of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path / "initbench"
    templates._environment.cache_clear()


@pytest.fixture
def compiled(monkeypatch):
    """The names of the templates that are compiled."""
    names = []
    compile_template = jinja2.Environment.compile

    def recorded(self, source, name=None, *more, **options):
        names.append(name)
        return compile_template(self, source, name, *more, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", recorded)
    return names


def compile_all():
    """Compile as another process does."""
    templates._environment.cache_clear()
    templates.compile_all()


def test_another_process_compiles_nothing(cache_folder, compiled):
    compile_all()
    assert "page.html" in compiled
    assert {path.stat().st_mode & 0o077 for path in cache_folder.iterdir()} == {0}
    compiled.clear()
    compile_all()
    assert compiled == []


def test_a_damaged_file_is_compiled_again_and_replaced(cache_folder, compiled):
    compile_all()
    (folder,) = cache_folder.iterdir()
    for file, damaged in zip(sorted(folder.iterdir()), (b"", b"j2", None), strict=False):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damaged is None else damaged)
    compiled.clear()
    compile_all()
    assert len(compiled) == 3
    compiled.clear()
    compile_all()
    assert compiled == []


def test_a_changed_template_is_compiled_again(cache_folder, compiled, monkeypatch):
    asset = templates.asset
    compile_all()
    compiled.clear()
    monkeypatch.setattr(templates, "asset", lambda name: asset(name) + " " * (name == "page.html"))
    compile_all()
    assert compiled == ["page.html"]


def test_code_in_a_folder_that_others_may_enter_is_never_loaded(cache_folder, compiled):
    compile_all()
    (folder,) = cache_folder.iterdir()
    folder.chmod(0o755)
    count = len(compiled)
    compiled.clear()
    compile_all()
    assert len(compiled) == count
