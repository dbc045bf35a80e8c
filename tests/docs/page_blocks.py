"""The code of the pages, and how it is run by tests.

Blocks of a page run from top to bottom with the names of those before, in a folder that
holds small files by the names that the page gives to a reader's own. Comments of
reStructuredText before a block, which no reader of the page sees, say what else is due:

``.. continues: PAGE``
    first of a page: it uses the names that the blocks of another one leave.
``.. in tests: 10_000 -> 40; epochs=40 -> epochs=1``
    the same code with less to compute.
``.. not run: REASON``
    the block is only compiled.

A ``testsetup`` block of Sphinx, which readers do not see either, gives names that the
text takes for known.
"""

import doctest
import re
import textwrap
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path.relative_to(DOCS).with_suffix("").as_posix()
    for path in DOCS.rglob("*.rst")
    if not {"auto_examples", "generated", "_build"} & set(path.parts)
)
_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>code-block:: python|testcode::|testsetup::"
    r"|testoutput::|plot::)\n(?P<options>(?:(?P=indent) +:.*\n)*)\n*"
    r"(?P<body>(?:(?P=indent) +.*\n|\n)+)",
    re.MULTILINE,
)
_COMMENT = re.compile(r"\.\. (in tests|not run): (.*(?:\n {3}.*)*)\n\n?\Z")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A block of a page: its code, the line it is in, and what to do with it."""

    kind: str
    code: str
    line: int
    not_run: str | None


def text_of(page):
    """Return the source of a page, by its name as Sphinx has it."""
    return (DOCS / f"{page}.rst").read_text(encoding="utf-8")


def blocks_of(page):
    """Return the blocks of a page in their order."""
    text = text_of(page)
    found = [_block(text, match) for match in _DIRECTIVE.finditer(text)]
    taken = [match.span() for match in _DIRECTIVE.finditer(text)]
    for match in re.finditer(r"(?:^>>> .*\n(?:^\S.*\n)*)+", text, re.MULTILINE):
        if not any(start <= match.start() < end for start, end in taken):
            line = text[: match.start()].count("\n") + 1
            found.append(Block("doctest", match[0], line, None))
    return sorted(found, key=lambda block: block.line)


def continued(page):
    """Return the name of the page that this one takes up, or None."""
    match = re.search(r"^\.\. continues: (\S+)$", text_of(page), re.MULTILINE)
    return match and match[1]


def run(page, names):
    """Run the blocks of a page with these names, which get more."""
    blocks = blocks_of(page)
    for place, block in enumerate(blocks):
        where = f"{page}.rst, block of line {block.line}"
        if block.kind == "testoutput":
            continue
        if block.kind == "doctest":
            _run_doctest(block.code, names, where)
            continue
        # that many lines before it make a traceback tell the line of the page
        code = compile("\n" * block.line + block.code, where, "exec")
        if block.not_run:
            continue
        said = StringIO()
        with redirect_stdout(said):
            exec(code, names)
        after = blocks[place + 1] if place + 1 < len(blocks) else block
        if after.kind == "testoutput":
            right = doctest.OutputChecker().check_output(
                after.code, said.getvalue(), _FLAGS
            )
            assert right, f"{where} printed\n{said.getvalue()}\nnot\n{after.code}"


def _block(text, match):
    kind = match["kind"].split("::")[0]
    code = textwrap.dedent(match["body"]).strip("\n") + "\n"
    line = text[: match.start("body")].count("\n") + 1
    if code.startswith(">>>"):
        kind = "doctest"
    said = _COMMENT.search(text[: match.start()])
    not_run = None
    if kind == "plot" and ":include-source:" not in match["options"]:
        not_run = "drawn by the build"
    elif said and said[1] == "not run":
        not_run = said[2]
    elif said:
        for change in " ".join(said[2].split()).split("; "):
            old, new = (each.strip() for each in change.split("->"))
            assert old in code, f"line {line}: no {old!r} that tests could replace"
            code = code.replace(old, new)
    return Block(kind, code, line, not_run)


def _run_doctest(text, names, where):
    test = doctest.DocTestParser().get_doctest(text, {}, where, where, 0)
    test.globs = names  # itself, and not a copy: blocks after it go on
    told = StringIO()
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    result = runner.run(test, out=told.write, clear_globs=False)
    assert not result.failed, told.getvalue()
