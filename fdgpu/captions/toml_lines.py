"""Where in a TOML file something stands, for error messages: tomllib keeps no lines."""

from __future__ import annotations

import re

HEADER = re.compile(r"\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}")
KEY = re.compile(r"\s*\"?([\w-]+)\"?\s*[.=]")
SYNTAX = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


class TomlLines:
    """The lines of a TOML text by table and key.

    Finds what is written as ``[table]``, ``[[table]]`` and ``key = …`` at the start of a line. A place that is
    written otherwise is named by what stands around it, in the end by the file alone.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines: dict[tuple[str, int, str], int] = {}
        table, place, seen = "", 0, {"": 0}
        for number, line in enumerate(text.splitlines(), start=1):
            if header := HEADER.match(line):
                table = header[1]
                place = seen.get(table, -1) + 1
                seen[table] = place
                self._lines[table, place, ""] = number
            elif key := KEY.match(line):
                self._lines.setdefault((table, place, key[1]), number)

    def at(self, table: str = "", key: str = "", place: int = 0) -> str:
        """Return ``"FILE, line N"`` of a key in the table of that name, the ``place``-th if there are several."""
        line = self._lines.get((table, place, key)) or self._lines.get((table, place, ""))
        return f"{self.file}, line {line}" if line else self.file

    def syntax(self, error: ValueError) -> str:
        """Return what tomllib complains of, with file and line in front."""
        found = SYNTAX.fullmatch(str(error))
        return f"{self.file}, line {found[2]}: {found[1]} (column {found[3]})" if found else f"{self.file}: {error}"
