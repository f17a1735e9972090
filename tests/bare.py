"""An environment with what ``pip install fdgpu`` brings and nothing else, made of links into this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
START = "import sys; from fdgpu.cli import main; sys.argv = ['fdgpu', *sys.argv[1:]]; main()"


def project() -> dict[str, object]:
    """The ``[project]`` table of ``pyproject.toml``."""
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def brought_along(requirements: list[str]) -> Iterator[Distribution]:
    """Yield the distributions that these requirements bring, each once, with theirs."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        if (wanted.name, key := frozenset(wanted.extras)) in seen:
            continue
        seen.add((wanted.name, key))
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:  # for another system or Python
            continue
        yield found
        extras = [*wanted.extras, ""]
        further = (Requirement(line) for line in found.requires or [])
        waiting += [r for r in further if not r.marker or any(r.marker.evaluate({"extra": e}) for e in extras)]


class BareEnvironment:
    """A folder of links to the packages that the base requirements bring; ``python`` sees no others."""

    def __init__(self, folder: Path, requirements: list[str]) -> None:
        self.folder = folder
        self.names: set[str] = set()
        for one in brought_along(requirements):
            self.names.add(re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower())
            for top in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
                link = folder / top
                if not link.exists():
                    link.symlink_to(Path(str(one.locate_file(top))))

    def python(self, code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run code with the packages of the folder and this checkout, in a process of its own."""
        path = f"import sys; sys.path[:0] = [{str(self.folder)!r}, {str(ROOT)!r}]; "
        command = [sys.executable, "-I", "-S", "-c", path + code, *map(str, arguments)]
        # one thread, as the tests beside it: two that wait for each other by spinning take the other core from them
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    def fdgpu(self, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.python(START, *arguments, cwd=cwd)
