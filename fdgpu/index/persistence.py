"""One zip file for an index: FAISS's own format, the names, and a manifest. Never a pickle.

``manifest.json`` says what it is, ``vectors.faiss`` is what ``faiss.read_index`` reads, ``names/0.json`` a grammar (its
template and words) or ``names/0.jsonl`` a name a line. Nothing is compressed: unit vectors have no redundancy. A file
that was cut short lacks the directory at its end, and one that was damaged fails the checksum of an entry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import faiss

from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.errors import InputError
from fdgpu.files import written_atomically
from fdgpu.version import __version__

CHUNK = 1 << 22  # bytes at a time, so that no second copy of the vectors is held


@dataclass(frozen=True)
class Saved:
    """What a file holds: FAISS's index on the host, the parts of the names, and everything else as plain data."""

    index: Any
    names: list[Sequence[str]]
    settings: dict[str, Any]


def save(saved: Saved, what: str, path: Path) -> None:
    """Write a file, which appears whole or not at all."""
    manifest = {
        "format": what,
        "fdgpu": __version__,
        "vectors": saved.index.ntotal,
        "dimension": saved.index.d,
        "names": [_entry(number, part) for number, part in enumerate(saved.names)],
        **saved.settings,
    }
    with written_atomically(path) as stream, ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
        with archive.open("vectors.faiss", "w", force_zip64=True) as entry:
            faiss.write_index(saved.index, faiss.PyCallbackIOWriter(entry.write, CHUNK))
        for number, part in enumerate(saved.names):
            with archive.open(_entry(number, part), "w", force_zip64=True) as entry:
                _write_names(part, entry)


def load(what: str, path: Path) -> Saved:
    """Read a file.

    Raises:
        InputError: if it is missing, cut short, damaged, or of something else.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: pass a file that {what.split('/')[0]}.save wrote")
    try:
        with ZipFile(path) as archive:
            return _read(archive, what, path)
    except (BadZipFile, EOFError, KeyError, json.JSONDecodeError, UnicodeDecodeError, RuntimeError) as error:
        raise InputError(
            f"{path} is cut short, damaged, or not an index ({str(error).splitlines()[0]}): save the index again"
        ) from None


def _read(archive: ZipFile, what: str, path: Path) -> Saved:
    damaged = archive.testzip()  # before FAISS believes the sizes that it reads
    if damaged is not None:
        raise BadZipFile(f"{damaged} has changed since it was written")
    manifest = json.loads(archive.read("manifest.json"))
    if not isinstance(manifest, dict) or manifest.get("format") != what:
        raise InputError(f"{path} is a zip file, but not of this kind of index ({what} was expected)")
    with archive.open("vectors.faiss") as entry:
        index = faiss.read_index(faiss.PyCallbackIOReader(entry.read, CHUNK))
    names = [_read_names(archive, name) for name in manifest["names"]]
    return Saved(index, names, manifest)


def _entry(number: int, part: Sequence[str]) -> str:
    return f"names/{number}.{'json' if isinstance(part, CaptionGrammar) else 'jsonl'}"


def _write_names(part: Sequence[str], stream: IO[bytes]) -> None:
    if isinstance(part, CaptionGrammar):
        grammar = {"template": part.template, "a_or_an": part.a_or_an, "slots": part.slots}
        stream.write(json.dumps(grammar, ensure_ascii=False).encode())
        return
    for name in part:
        stream.write(json.dumps(name, ensure_ascii=False).encode() + b"\n")


def _read_names(archive: ZipFile, name: str) -> Sequence[str]:
    if name.endswith(".json"):
        grammar = json.loads(archive.read(name))
        return CaptionGrammar(grammar["template"], a_or_an=grammar["a_or_an"], **grammar["slots"])
    with archive.open(name) as stream:
        return [json.loads(line) for line in stream]
