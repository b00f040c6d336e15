"""The word lint fails on the words that are not used here, and on nothing else."""

import pytest

from tools import check_words

WRONG = {
    "g.toml: is no TOML": "g.toml: invalid TOML",
    "It is told to be\n# behind.": "It is significantly worse.",
    "a whole\n    # number": "an integer",
    "MOST_ROWS": "MAX_ROWS",
    "none can be told apart": "no significant differences",
    "the commonest class": "the majority class",
    "so many seeds": "this many seeds",
    "Make it again": "Reproduce",
}


@pytest.mark.parametrize(("wrong", "right"), WRONG.items())
def test_a_forbidden_phrase_fails_with_its_line_and_the_replacement_passes(wrong, right, tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text(f"First.\n{wrong}\n")
    assert check_words.main([str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:2: ")
    path.write_text(f"First.\n{right}\n")
    assert check_words.main([str(path)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "def f(told): ...",
        "for each in (): ...",
        "(said := 1)",
        "self.given = 1",
        "def made(): ...",
        "def test_it_is_told(): ...",
    ],
)
def test_a_name_that_does_not_say_what_it_holds_fails(code):
    assert [line for line, _ in check_words.complaints("import os\n" + code, python=True)] == [2]
    assert not list(check_words.complaints("import os\n" + code))


@pytest.mark.parametrize(
    "text", ["There is no such file.", "is no longer read", '"commonest_class_share"', "a text file", "MOSTLY_HARMLESS"]
)
def test_what_resembles_such_a_phrase_passes(text):
    assert not list(check_words.complaints(text))


def test_names_that_are_read_or_passed_are_not_judged():
    assert not list(check_words.complaints("f(found=1)\nprint(frame.given)", python=True))
