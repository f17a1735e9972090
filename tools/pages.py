"""Python blocks of Markdown pages, run as a reader would: in order, one namespace a page, in an empty folder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

FENCE = re.compile(
    r'^```python(?: title="Not run here: (?P<reason>[^"\n]+)")?\n(?P<code>.*?)^```$', re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A Python block of a page.

    Attributes:
        code: its lines.
        line: of the page, on which the code begins, from 1.
        end: where the fence ends in the page's text.
        not_run: why it is not run, as its title says to readers too; empty for one that is run.
    """

    code: str
    line: int
    end: int
    not_run: str = ""


def blocks(text: str) -> list[Block]:
    r"""Return the Python blocks of a page.

    Example:
        >>> page = '```python title="Not run here: it asks the web"\nfetch()\n```\n\n```python\nprint(1)\n```\n'
        >>> [(block.code, block.line, block.not_run) for block in blocks(page)]
        [('fetch()\n', 2, 'it asks the web'), ('print(1)\n', 6, '')]
    """
    return [
        Block(found["code"], text.count("\n", 0, found.start("code")) + 1, found.end(), found["reason"] or "")
        for found in FENCE.finditer(text)
    ]


def run(text: str, name: str, namespace: dict[str, Any] | None = None) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in order, in the current folder, and yield each with what it printed and warned.

    Args:
        text: the page.
        name: of its file: errors name it, with the page's line.
        namespace: what the blocks find, and leave their names in.

    Raises:
        Exception: whatever a block raises; warnings of other libraries too.
    """
    from fdgpu.errors import FdgpuWarning

    shared = {"__name__": "__main__"} if namespace is None else namespace
    for block in blocks(text):
        if block.not_run:
            continue
        code = compile("\n" * (block.line - 1) + block.code, name, "exec")
        with warnings.catch_warnings(record=True) as caught, redirect_stdout(StringIO()) as printed:
            warnings.simplefilter("error")
            warnings.simplefilter("always", FdgpuWarning)  # a doubt is part of what a reader sees
            exec(code, shared)  # noqa: S102  our own pages
        doubts = "".join(f"FdgpuWarning: {one.message}\n" for one in caught)
        yield block, doubts + printed.getvalue()


def with_outputs(text: str, outputs: list[tuple[Block, str]]) -> str:
    """Return a page with what each block printed below it."""
    for block, printed in reversed(outputs):
        if printed.strip():
            text = f"{text[: block.end]}\n\n```text\n{printed.rstrip()}\n```\n{text[block.end :]}"
    return text
