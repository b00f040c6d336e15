"""Check that the repository keeps to the words of docs/explanation/glossary.md, as `make lint` does.

Usage: python tools/check_words.py [FILE ...]; without files, every file that git tracks.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# What is not written here, ignoring case, and what to write instead. A space also matches a line break in a comment.
PHRASES = {
    r"reckon\w*": "compute, count, estimate",
    r"\w*commonest\w*": "majority class, most frequent",
    r"(tells?|told|telling) of": "describe, report",
    r"(tells?|told|telling) (\w+ ){0,5}apart|told_apart\w*": "significantly different, significant",
    r"told to be": "significantly worse, reported as",
    r"(is|are|was|it) told|(is|are|was) said": "is reported; or in the active voice",
    r"(?<!there\s)is no (?!(longer|more|less|better|worse)\b)\w+": "is not a …, is invalid, there is no …",
    r"(comes?|came|coming) again": "is reproduced, is identical",
    r"(made|makes?|making) (it |them |(the|a) \w+ )?again": "regenerate, reproduce",
    r"whoever|for who": "for contributors, to …; name the person or the process",
    r"graphics processors?": "GPU",
    r"whole numbers?": "integer",
    r"nothing shows": "no significant difference",
    r"as many as": "up to, one for each, the number of",
    r"so many": "this many, at most N",
    r"by itself": "automatically, alone",
    r"what (\w+ ){1,4}has to be": "what is required",
    r"a text(?! (file|editor|column|node|box|element))": "a string",
    r"asked for": "requested",
    r"scatters?( too)? much": "high variance across seeds",
    r"always says?": "constant prediction, majority-class baseline",
    r"knows? nothing of": "does not import, is independent of",
    r"asks? nothing": "requires nothing, works offline",
    r"signs? of life": "heartbeat",
    r"(anybody|anyone)'s": "untrusted",
    r"rooms? of the house": "architecture, package",
}
# Case matters in these.
CONSTANTS = {r"_?(MOST|LARGEST|FARTHEST|LONGEST|WIDEST|SMALLEST|FEWEST|LEAST)_\w+": "MAX_… or MIN_…"}
# A variable, argument, attribute or function is named for what it holds; PHRASES apply to names of functions as well.
NAMES = {"asked", "beside", "choice", "each", "found", "given", "how", "kept", "known", "lost", "made", "one", "place"}
NAMES |= {"said", "taken", "told", "what", "where", "who"}
# Names in stored files, and names of earlier versions in the changelog.
STORED = re.compile(r"commonest_class_share|commonest_validation_share|`told_apart(_overall)?`|`MOST_SEEDS`")
SKIPPED = (
    *("LICENSE", "constraints.txt", "initbench/data/LICENSE.md", "results/example-keepcoding/", "tests/stored/"),
    *("tools/check_words.py", "tests/tools/test_check_words.py"),
)

_SPACE = r"(?:\s+(?:[#*>|]+\s+)?)"
_PATTERNS = [
    (re.compile(rf"(?<!\w)(?:{phrase.replace(' ', _SPACE)})(?!\w)", flags), instead)
    for phrases, flags in ((PHRASES, re.IGNORECASE), (CONSTANTS, 0))
    for phrase, instead in phrases.items()
]


def complaints(text: str, python: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the line number and the complaint for each word, and with `python` each name, that is not used here."""
    text = STORED.sub(lambda stored: "_" * len(stored[0]), text)
    for pattern, instead in _PATTERNS:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, f"{' '.join(match[0].split())!r}: write {instead}"
    for node in ast.walk(ast.parse(text)) if python else ():
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case _:
                continue
        if name.strip("_") in NAMES:
            yield node.lineno, f"the name {name!r}: write what it holds"
        for pattern, instead in _PATTERNS if isinstance(node, ast.FunctionDef | ast.ClassDef) else ():
            if match := pattern.search(name.replace("_", " ")):
                yield node.lineno, f"{match[0]!r} in the name {name!r}: write {instead}"


def main(arguments: list[str]) -> int:
    """Print the complaints about the named or all tracked files; return 1 if there are any."""
    names = arguments or subprocess.check_output(["git", "ls-files"], text=True).splitlines()
    failed = 0
    for name in names:
        if name.startswith(SKIPPED) or not Path(name).is_file():
            continue
        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # an image, an array
            continue
        for line, complaint in sorted(complaints(text, name.endswith(".py"))):
            print(f"{name}:{line}: {complaint}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
