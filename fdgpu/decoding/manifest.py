"""The manifest of a folder of painted pictures: what each is, and what made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fdgpu.errors import InputError
from fdgpu.files import write_atomically
from fdgpu.version import __version__

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Painted:
    """One picture: ``path`` within the folder, and how it came about."""

    path: str
    class_name: str
    kind: str
    caption: str
    seed: int


@dataclass(frozen=True)
class Manifest:
    """``model`` is the painter's settings, plain data; ``rows`` the pictures, painted or still to be."""

    model: dict[str, Any]
    rows: tuple[Painted, ...]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest.

        Raises:
            InputError: if there is none, or another program's.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(f"{folder} has no {MANIFEST}: pass a folder that fdgpu.text_to_image has written")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(dict(document["model"]), tuple(Painted(**row) for row in document["images"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not a manifest of fdgpu.text_to_image ({type(error).__name__}: {error}): pass a folder "
                "that it has written, or choose another for new pictures"
            ) from None

    def write(self, folder: Path) -> None:
        """Write it, with the version for people to read."""
        document = {"fdgpu": __version__, "model": self.model, "images": [asdict(row) for row in self.rows]}
        write_atomically(folder / MANIFEST, json.dumps(document, indent=1, ensure_ascii=False))


def painted_before(folder: Path, planned: Manifest) -> set[Painted]:
    """Return which of the planned pictures an earlier call has left in ``folder``.

    A manifest of which no picture was painted yet binds nobody: its call may have failed on its arguments.

    Raises:
        InputError: for pictures of other captions or settings, or that no manifest lists; says which settings differ.
    """
    listed = Manifest.read(folder) if (folder / MANIFEST).exists() else Manifest({}, ())
    there = _there(folder, listed.rows)
    others = there - set(planned.rows) or _there(folder, planned.rows) - there
    differing = _differing(listed.model, planned.model) if there else []
    if others or differing:
        what = f"its {', '.join(differing)}" if differing else min(row.path for row in others)
        raise InputError(
            f"{folder} holds pictures of other captions or settings ({what}): choose another folder, or empty it"
        )
    return there


def _there(folder: Path, rows: Sequence[Painted]) -> set[Painted]:
    return {row for row in rows if (folder / row.path).is_file()}


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in {**new, **old} if old.get(name) != new.get(name)]
