"""Pictures of captions, written as a folder with a manifest: the paper's synthetic images (2.3 and A.8)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fdgpu.decoding.decoder import picture_seeds
from fdgpu.decoding.painters import Painter, painter_of
from fdgpu.device import BatchSize, halving_batches
from fdgpu.errors import InputError
from fdgpu.files import writable_folder, write_atomically, write_png
from fdgpu.progress import OneBar, Reporter
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
class SyntheticImages:
    """A folder of painted pictures; ``rows`` in the order of the manifest."""

    folder: Path
    rows: tuple[Painted, ...]

    @classmethod
    def load(cls, folder: str | Path) -> SyntheticImages:
        """Read a folder's manifest.

        Raises:
            InputError: if there is none, or pictures are missing.
        """
        place = Path(folder)
        if not (place / MANIFEST).is_file():
            raise InputError(f"{place} has no {MANIFEST}: pass a folder that fdgpu.text_to_image has written")
        document = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        images = cls(place, tuple(Painted(**row) for row in document["images"]))
        missing = [row.path for row in images.rows if not (place / row.path).is_file()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(images.rows)} pictures of {place} are missing, the first is {missing[0]}: "
                "call fdgpu.text_to_image with the same arguments, and it paints those"
            )
        return images

    def of(self, kind: str) -> SyntheticImages:
        """Return the pictures of one kind of caption: ``"hard"``, ``"easy"`` or ``"reference"``.

        Raises:
            InputError: if there are none; says which kinds there are.
        """
        rows = tuple(row for row in self.rows if row.kind == kind)
        if not rows:
            raise InputError(
                f"no picture is of kind {kind!r}: there are {', '.join(sorted({r.kind for r in self.rows}))}"
            )
        return SyntheticImages(self.folder, rows)

    def pictures(self) -> Tensor:
        """Read them: (n, 3, h, w) uint8."""
        read = [np.asarray(Image.open(self.folder / row.path).convert("RGB")) for row in self.rows]
        return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).contiguous()

    @property
    def class_names(self) -> list[str]:
        """Class of each picture."""
        return [row.class_name for row in self.rows]


def text_to_image(
    captions: Mapping[str, Mapping[str, str]],
    model: Any,
    out: str | Path,
    *,
    clip: Any = None,
    per_caption: int = 100,
    seed: int = 0,
    batch_size: int = 16,
    progress: Reporter | None = None,
    **arguments: Any,
) -> SyntheticImages:
    """Paint pictures of each class's captions.

    A call that was interrupted goes on when it is repeated: pictures that are there are not painted again.

    Args:
        captions: class name → kind → caption, such as ``{"cat": {"hard": "a photo of a white cat on the grass",
            "reference": "a photo of a cat"}}``; :func:`fdgpu.extreme_captions` takes them from an audit.
        model: any diffusers text-to-image pipeline, or a :class:`fdgpu.Decoder`.
        out: folder; pictures go to ``<class>/<kind>/0000.png``, and ``manifest.json`` says what each is.
        clip: for a decoder, the :class:`fdgpu.ClipEmbedder` that turns captions into its vectors.
        per_caption: pictures of each caption, 100 in the paper.
        seed: the i-th picture of every caption starts from the same noise, from (seed, i).
        batch_size: pictures at a time; halved whenever the device runs out of memory.
        progress: a reporter; by default a bar where a person watches standard error.
        arguments: for the pipeline's call (``guidance_scale``, …), or for :meth:`Decoder.sample` (``steps``, …).

    Raises:
        InputError: for no captions, an empty one, a model that cannot paint captions, or a folder of other pictures.
    """
    painter = painter_of(model, clip, arguments)
    rows = _plan(captions, per_caption, seed)
    folder = writable_folder(Path(out))
    _write_manifest(folder, rows, painter)
    missing = [row for row in rows if not (folder / row.path).is_file()]
    with OneBar(progress) as report:
        report("paint captions", len(rows) - len(missing), len(rows))
        for stop, _ in halving_batches(_runner(painter, missing, folder), len(missing), BatchSize(batch_size)):
            report("paint captions", len(rows) - len(missing) + stop, len(rows))
    return SyntheticImages(folder, tuple(rows))


def _runner(painter: Painter, rows: list[Painted], folder: Path) -> Any:
    def run(start: int, stop: int) -> None:
        batch = rows[start:stop]
        pictures = painter([row.caption for row in batch], [row.seed for row in batch])
        for row, picture in zip(batch, pictures, strict=True):
            write_png(folder / row.path, picture.permute(1, 2, 0).contiguous().numpy())

    return run


def _plan(captions: Mapping[str, Mapping[str, str]], per_caption: int, seed: int) -> list[Painted]:
    if per_caption < 1:
        raise InputError(f"per_caption is {per_caption}: use at least 1")
    odd = [(name, kind) for name, own in captions.items() for kind, text in own.items() if not _is_caption(text)]
    if odd or not any(captions.values()):
        what = f"the {odd[0][1]} caption of {odd[0][0]} is not a text" if odd else "captions is empty"
        raise InputError(f"{what}: pass class name → kind → caption")
    seeds = picture_seeds(seed, per_caption)
    folders = _folders(captions)
    return [
        Painted(f"{folders[name]}/{_slug(kind)}/{i:04d}.png", name, kind, text, seeds[i])
        for name, own in captions.items()
        for kind, text in own.items()
        for i in range(per_caption)
    ]


def _is_caption(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _folders(captions: Mapping[str, Any]) -> dict[str, str]:
    """A folder name each, numbered where two classes would share one."""
    taken: dict[str, str] = {}
    for place, name in enumerate(captions):
        slug = _slug(name)
        taken[name] = f"{slug}-{place}" if slug in taken.values() else slug
    return taken


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-").lower() or "class"


def _write_manifest(folder: Path, rows: list[Painted], painter: Painter) -> None:
    document = {"fdgpu": __version__, "model": painter.settings, "images": [asdict(row) for row in rows]}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    path = folder / MANIFEST
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} holds pictures of other captions or settings: choose another folder, or empty it")
    write_atomically(path, text)
