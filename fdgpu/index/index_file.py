"""One zip file for an index: the vectors, the names, and a manifest. Never a pickle.

``manifest.json`` says what it is. ``vectors.npy`` are the vectors of an exact index as NumPy reads them,
``vectors.faiss`` lists or a graph as ``faiss.read_index`` reads them; ``names/0.json`` is a grammar (its template and
words) or ``names/0.jsonl`` a name a line. Nothing is compressed: unit vectors have no redundancy. A file that was cut
short lacks the directory at its end, and one that was damaged fails the checksum of an entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from struct import error as StructError
from typing import IO, Annotated, Any, Literal
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import torch
from pydantic import BaseModel, Field

from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.captions.recipe import slot_names
from fdgpu.checks import shown
from fdgpu.errors import BackendError, InputError
from fdgpu.files import check_regular_file, expect, parse_json, validated, written_atomically
from fdgpu.index.kinds import IndexKind, check_backend
from fdgpu.index.stores import Store, read_store
from fdgpu.version import __version__


def write_file(
    store: Store, names: Sequence[Sequence[str]], settings: Mapping[str, object], what: str, path: Path
) -> None:
    """Write a file, which appears whole or not at all.

    Args:
        store: the vectors.
        names: the parts of the names, one after another.
        settings: what the manifest holds beside; ``kind`` and ``dtype`` are what :func:`read_file` makes the store by.
        what: the class that reads it and the version of the format, as ``"VectorIndex/1"``.
        path: of the file.
    """
    manifest = {
        "format": what,
        "fdgpu": __version__,
        "vectors": len(store),
        "dimension": store.dimension,
        "file": store.file,
        "names": [_entry(number, part) for number, part in enumerate(names)],
        **settings,
    }
    with written_atomically(path) as stream, ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
        with archive.open(store.file, "w", force_zip64=True) as entry:
            store.write(entry)
        for number, part in enumerate(names):
            with archive.open(_entry(number, part), "w", force_zip64=True) as entry:
                _write_names(part, entry)


class Manifest(BaseModel):
    """``manifest.json``. What a later version adds is passed over."""

    format: str
    vectors: Annotated[int, Field(ge=1)]
    dimension: Annotated[int, Field(ge=1)]
    file: Literal["vectors.npy", "vectors.faiss"] = "vectors.faiss"  # the only one that there was at first
    names: list[str]
    kind: dict[str, Any]
    dtype: Literal["float32", "float16"]
    seen: Annotated[int, Field(ge=1, lt=2**63)]
    runs: list[tuple[int, int]]
    reference: list[float] | None = None
    scale: list[float] | None = None

    @property
    def index_kind(self) -> IndexKind:
        """The kind of index, which checks itself."""
        odd = self.kind.keys() - {one.name for one in fields(IndexKind)}
        expect(not odd and self.kind.keys() >= {"name", "reason"}, "a kind with name, reason and settings")
        return IndexKind(**self.kind)

    def check_runs(self) -> None:
        """Check that the ids of all vectors are rows that were seen, each once.

        Raises:
            ValueError: says what cannot be.
        """
        largest = max((abs(number) for run in self.runs for number in run), default=0)
        expect(bool(self.runs) and largest < 2**62, "runs of ids")
        starts, firsts = np.array(self.runs, np.int64).T
        lengths = np.diff(starts, append=self.vectors)
        expect(starts[0] == 0 and bool((lengths > 0).all()), "runs of vectors that ascend")
        order = firsts.argsort()
        ends = (firsts + lengths)[order]
        expect(firsts.min() >= 0 and ends[-1] <= self.seen, f"ids of the {self.seen} rows that were seen")
        expect(bool((ends[:-1] <= firsts[order][1:]).all()), "each id once")


def read_file(what: str, path: str | Path, device: torch.device) -> tuple[Store, list[Sequence[str]], Manifest]:
    """Read a file: a store on a device, the parts of the names, and the manifest, all of which agree.

    Raises:
        InputError: if it is missing, cut short, damaged, or of something else.
        BackendError: if it needs FAISS, which is not installed.
    """
    path = check_regular_file(path, f"a file that {what.split('/')[0]}.save wrote")
    try:
        with ZipFile(path) as archive:
            return _read(archive, what, device)
    except BackendError:
        raise
    except (BadZipFile, EOFError, KeyError, MemoryError, NotImplementedError, OSError, RecursionError, RuntimeError,
            StructError, ValueError) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise InputError(
            f"{path} is cut short, damaged, or not an index of this kind, {what} ({reason}): save the index again"
        ) from None


def _read(archive: ZipFile, what: str, device: torch.device) -> tuple[Store, list[Sequence[str]], Manifest]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    expect(len(entries) == len(archive.infolist()), "each entry once")
    expect(all(entry.compress_type == ZIP_STORED for entry in entries.values()), "entries that are not compressed")
    damaged = archive.testzip()  # before the sizes that are written in it are believed
    expect(damaged is None, f"{damaged} as it was written")
    manifest = validated(Manifest, parse_json(archive.read("manifest.json")))
    expect(manifest.format == what, f"the format {what}, not {shown(manifest.format)}")
    manifest.check_runs()
    kind, size = check_backend(manifest.index_kind, device.type != "cpu"), entries[manifest.file].file_size
    names = [_read_names(archive, name) for name in manifest.names]
    expect(manifest.seen <= sum(map(len, names)), f"names for the {manifest.seen} rows that were seen")
    shape = (manifest.vectors, manifest.dimension)
    with archive.open(manifest.file) as stream:
        store = read_store(stream, size, manifest.file, shape, kind, manifest.dtype == "float16", device)
    return store, names, manifest


def _entry(number: int, part: Sequence[str]) -> str:
    return f"names/{number}.{'json' if isinstance(part, CaptionGrammar) else 'jsonl'}"


def _write_names(part: Sequence[str], stream: IO[bytes]) -> None:
    if isinstance(part, CaptionGrammar):
        grammar = {"template": part.template, "a_or_an": part.a_or_an, "slots": part.slots}
        stream.write(_json_line(grammar))
        return
    for name in part:
        stream.write(_json_line(name) + b"\n")


def _json_line(value: object) -> bytes:
    """Return JSON as it is read; half of a surrogate pair, which no text should hold, is kept as it came."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


class WrittenGrammar(BaseModel):
    """A grammar as its template and words."""

    template: str
    a_or_an: bool
    slots: dict[str, list[str | None]]


def _read_names(archive: ZipFile, name: str) -> Sequence[str]:
    if name.endswith(".json"):
        grammar = validated(WrittenGrammar, parse_json(archive.read(name)))
        expect(sorted(grammar.slots) == sorted(slot_names(grammar.template)), f"words for each slot in {name}")
        return CaptionGrammar(grammar.template, a_or_an=grammar.a_or_an, **grammar.slots)
    with archive.open(name) as stream:
        listed = [parse_json(line) for line in stream]
    expect(all(isinstance(one, str) for one in listed), f"strings in {name}")
    return listed
