"""How objects show themselves: a name and a few facts, in one line; in a notebook, as a small table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from fdgpu.checks import shown

LONGEST_CELL = 120  # characters
MOST_BYTES = 16_000  # of a table's rows: a notebook keeps every output in its file
CELL = Markup('<{0} style="text-align:left">{1}</{0}>')


class Described:
    """Shows itself by what :meth:`_described` tells, and never by its arrays."""

    def _described(self) -> Mapping[str, object]:
        """Return the facts: numbers and short texts by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={shown(value)}" for name, value in self._described().items())
        return f"{type(self).__name__}({facts})"

    def _repr_html_(self) -> str:
        facts = self._described().items()
        rows = [(name.replace("_", " "), value if isinstance(value, str) else shown(value)) for name, value in facts]
        return html_table(type(self).__name__, (), rows)


def html_table(caption: str | Markup, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without a script or a style sheet; rows beyond :data:`MOST_BYTES` are counted, not shown.

    Args:
        caption: what stands above it. All texts are escaped, but Markup.
        header: names of the columns; none makes no header.
        rows: the texts of each row, the first of which heads it.

    Example:
        >>> html_table("two", (), [("<cat>", "1"), ("dog", "2")]).count("&lt;cat&gt;")
        1
    """
    lines, size, left_out = [_row("th", header)] if header else [], 0, 0
    for row in rows:
        line = _row("td", row)
        size += len(line.encode())
        if size <= MOST_BYTES:
            lines.append(line)
        else:
            left_out += 1
    more = f"<p>… and {left_out:,} more</p>" if left_out else ""
    return f"{Markup('<p>{}</p>').format(caption)}<table>{''.join(lines)}</table>{more}"


def _row(kind: str, texts: Sequence[str]) -> str:
    cells = (text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…" for text in texts)
    kinds = ("th", *[kind] * (len(texts) - 1))
    return f"<tr>{''.join(CELL.format(*cell) for cell in zip(kinds, cells, strict=True))}</tr>"
