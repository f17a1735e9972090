"""Pictures of captions, in a folder with a manifest: the paper's synthetic images (2.3 and A.8).

A text-to-image pipeline of diffusers paints them, or a decoder that is given the caption's vector.
"""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from fdgpu.arrays import rows_not_finite, to_host
from fdgpu.checks import check_seed, check_whole
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.pipelines import Pipeline
from fdgpu.decoding.sampling import picture_seeds
from fdgpu.device import BatchSize, halving_batches
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from fdgpu.files import expect, parse_json, read_text_file, validated, writable_folder, write_atomically, write_png
from fdgpu.fingerprint import Settings, pipeline_settings, plain, weights_digest
from fdgpu.progress import OneBar, Reporter
from fdgpu.version import __version__

MANIFEST = "manifest.json"
MOST_BYTES = 1_000_000_000  # of a manifest: some four million pictures
MOST_PICTURES = 10_000_000  # of a caption
SET_HERE = ("prompt", "generator", "output_type", "return_dict", "num_images_per_prompt")


# --- who paints -------------------------------------------------------------------------------------------------------


class Painter(Protocol):
    """Makes one picture a caption; the same caption and seed give the same picture."""

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Return uint8 pictures (n, 3, h, w) on the CPU."""
        ...

    @property
    def settings(self) -> Settings:
        """What decides the pictures beside captions and seeds, as plain data for a manifest."""
        ...


class CaptionReader(Protocol):
    """Turns captions into vectors of a CLIP space, as :class:`fdgpu.ClipEmbedder` does."""

    @property
    def name(self) -> str:
        """What open_clip calls the CLIP."""
        ...

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        ...

    def texts(self, captions: list[str], /) -> Tensor:
        """Return unit vectors (n, d)."""
        ...


class PipelinePainter:
    """Any diffusers text-to-image pipeline; ``arguments`` go into its call, such as ``guidance_scale``."""

    def __init__(self, pipeline: Pipeline, /, **arguments: object) -> None:
        takes = inspect.signature(type(pipeline).__call__).parameters
        if not {"prompt", "generator"} <= set(takes) or _needs_more(takes):
            raise InputError(
                f"{type(pipeline).__name__} does not make pictures of a prompt alone: pass a text-to-image "
                "pipeline of diffusers, or an fdgpu.Decoder and the ClipEmbedder that reads captions for it"
            )
        reserved = [name for name in SET_HERE if name in arguments]
        if reserved:
            raise InputError(
                f"{reserved[0]} was given, which fdgpu.text_to_image sets itself: leave it out, captions and "
                "per_caption say what is painted and how often"
            )
        self.pipeline, self.arguments = pipeline, arguments

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Paint; one generator a picture, so that none depends on its batch."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        made = self.pipeline(prompt=list(captions), generator=generators, output_type="np", **self.arguments)
        pictures = torch.from_numpy(np.asarray(made.images)).permute(0, 3, 1, 2)
        self._check_made(pictures, getattr(made, "nsfw_content_detected", None), captions)
        return _as_bytes(pictures)

    def _check_made(self, pictures: Tensor, blackened: Sequence[bool] | None, captions: Sequence[str]) -> None:
        name, bad = type(self.pipeline).__name__, rows_not_finite(pictures.flatten(1), "pictures")
        if len(bad):
            raise ModelError(
                f"{name} made NaN of {len(bad)} of {len(pictures)} captions, the first is {captions[int(bad[0])]!r}: "
                "load its VAE, which overflows in float16, in float32 or bfloat16"
            )
        black = [caption for caption, is_black in zip(captions, blackened or (), strict=False) if is_black]
        if black:
            warnings.warn(
                f"the safety checker of {name} made {len(black)} of {len(pictures)} pictures black, the first is of "
                f"{black[0]!r}: use other captions, or load the pipeline with safety_checker=None",
                FdgpuWarning,
                stacklevel=2,
            )

    @property
    def settings(self) -> Settings:
        """The pipeline's class, weights and schedulers, and what its call is given."""
        return {**pipeline_settings(self.pipeline), "arguments": plain(self.arguments)}


class DecoderPainter:
    """A decoder that is given the caption's vector: text to image without a text-to-image model.

    The space of ``clip`` has to be the decoder's; ``arguments`` go to :meth:`Decoder.sample`, such as ``steps``.
    """

    def __init__(self, decoder: Decoder, clip: CaptionReader, /, **arguments: Any) -> None:
        decoder.check(clip)
        self.decoder, self.clip, self.arguments = decoder, clip, arguments

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Paint; pictures of one caption differ by their seeds alone."""
        made = self.decoder.sample(self.clip.texts(list(captions)), seed=list(seeds), **self.arguments)
        return torch.from_numpy(to_host(_as_bytes(made), "pictures to write"))

    @property
    def settings(self) -> Settings:
        """The decoder, the CLIP that reads, and what sampling is given."""
        return {
            **self.decoder.settings,
            "clip": str(self.clip.name),
            "clip_weights": weights_digest({"clip": getattr(self.clip, "model", None)}),
            "arguments": plain(self.arguments),
        }


def painter_of(model: Decoder | Pipeline, clip: CaptionReader | None, arguments: Mapping[str, Any]) -> Painter:
    """Return the painter of a decoder or of a text-to-image pipeline.

    Raises:
        InputError: for a decoder without a CLIP or of another space, and a pipeline that needs more than a prompt.
    """
    if not isinstance(model, Decoder):
        return PipelinePainter(model, **arguments)
    if clip is None:
        raise InputError(f"{model.name} takes vectors: pass clip=, the ClipEmbedder that reads captions for it")
    return DecoderPainter(model, clip, **arguments)


def _needs_more(takes: Mapping[str, inspect.Parameter]) -> bool:
    """Whether the call has another argument without a default, as inpainting has its picture."""
    given = ("self", "prompt", "generator")
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return any(
        one.default is inspect.Parameter.empty and one.kind not in variadic
        for name, one in takes.items()
        if name not in given
    )


def _as_bytes(pictures: Tensor) -> Tensor:
    return pictures.float().mul(255).round().clamp(0, 255).to(torch.uint8)


# --- the folder -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Painted:
    """One picture: ``path`` within the folder, and how it came about."""

    path: str
    class_name: str
    kind: str
    caption: str
    seed: int


class Manifest(BaseModel):
    """``manifest.json``: what painted the pictures, and what each is."""

    model: dict[str, Any]
    images: list[Painted]


@dataclass(frozen=True)
class SyntheticImages:
    """A folder of painted pictures; ``rows`` in the order of the manifest.

    Example:
        >>> captions = {"boot": {"hard": "a photo of a far away boot", "reference": "a photo of a boot"}}
        >>> clip, decoder = fdgpu.ClipEmbedder.bundled("cpu"), fdgpu.Decoder.bundled("cpu")
        >>> painted = fdgpu.text_to_image(captions, decoder, tmp_path / "painted", clip=clip, per_caption=2, steps=2)
        >>> fdgpu.SyntheticImages.load(tmp_path / "painted").of("hard").pictures().shape
        torch.Size([2, 3, 32, 32])
    """

    folder: Path
    rows: tuple[Painted, ...]

    @classmethod
    def load(cls, folder: str | Path) -> SyntheticImages:
        """Read a folder's manifest.

        Raises:
            InputError: if there is none, or another program's, or pictures are missing.
        """
        folder = Path(folder)
        images = cls(folder, _read_manifest(folder)[1])
        missing = [row.path for row in images.rows if not (folder / row.path).is_file()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(images.rows)} pictures of {folder} are missing, the first is {missing[0]}: "
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
        """Read them: (n, 3, h, w) uint8.

        Raises:
            InputError: names a file that cannot be read.
        """
        read = [_pixels(self.folder / row.path) for row in self.rows]
        return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).contiguous()

    @property
    def class_names(self) -> list[str]:
        """Class of each picture."""
        return [row.class_name for row in self.rows]


def text_to_image(
    captions: Mapping[str, Mapping[str, str]],
    model: Decoder | Pipeline,
    out: str | Path,
    *,
    clip: CaptionReader | None = None,
    per_caption: int = 100,
    seed: int = 0,
    batch_size: int = 16,
    progress: Reporter | None = None,
    **arguments: Any,
) -> SyntheticImages:
    """Paint pictures of each class's captions.

    A call that was interrupted goes on when it is repeated, or made with more captions or a larger ``per_caption``:
    pictures that are there are not painted again. The model (its weights and schedulers, a decoder's length and
    negative vector), ``clip``, ``seed`` and ``arguments`` have to be the same; ``manifest.json`` says what they were.

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
        InputError: for no captions, an empty one, a model that cannot paint captions, arguments that are set here
            (``output_type``, …), or a folder of other pictures.
        ModelError: where the model makes NaN.

    Example:
        >>> captions = {"boot": {"hard": "a photo of a far away boot"}}
        >>> clip, decoder = fdgpu.ClipEmbedder.bundled("cpu"), fdgpu.Decoder.bundled("cpu")
        >>> painted = fdgpu.text_to_image(captions, decoder, tmp_path / "boots", clip=clip, per_caption=2, steps=2)
        >>> [row.path for row in painted.rows], painted.class_names
        (['boot/hard/0000.png', 'boot/hard/0001.png'], ['boot', 'boot'])
    """
    painter, batch = painter_of(model, clip, arguments), BatchSize(batch_size)
    rows = _plan(captions, per_caption, seed)
    folder = writable_folder(Path(out))
    settings = painter.settings
    painted = _painted_before(folder, settings, rows)
    _write_manifest(folder, settings, rows)
    missing = [row for row in rows if row not in painted]
    with OneBar(progress) as report:
        report("paint captions", len(rows) - len(missing), len(rows))
        for stop, _ in halving_batches(_runner(painter, missing, folder), len(missing), batch):
            report("paint captions", len(rows) - len(missing) + stop, len(rows))
    return SyntheticImages(folder, rows)


def _read_manifest(folder: Path) -> tuple[Settings, tuple[Painted, ...]]:
    """Read what painted the pictures of a folder, as plain data, and the pictures, painted or still to be.

    Raises:
        InputError: if there is no manifest, or another program's.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise InputError(f"{folder} has no {MANIFEST}: pass a folder that fdgpu.text_to_image has written")
    try:
        written = validated(Manifest, parse_json(read_text_file(path, MOST_BYTES, "one of fdgpu.text_to_image")))
        for row in written.images:
            inside = PurePosixPath(row.path)
            expect(not inside.is_absolute() and ".." not in inside.parts, f"a path in the folder, not {row.path!r}")
    except ValueError as error:
        raise InputError(
            f"{path} is not a manifest of fdgpu.text_to_image ({error}): pass a folder that it has written, or choose "
            "another for new pictures"
        ) from None
    return written.model, tuple(written.images)


def _write_manifest(folder: Path, settings: Settings, rows: Sequence[Painted]) -> None:
    """The version is for people to read: a later one continues the folder."""
    document = {"fdgpu": __version__, "model": settings, "images": [asdict(row) for row in rows]}
    write_atomically(folder / MANIFEST, json.dumps(document, indent=1, ensure_ascii=False))


def _painted_before(folder: Path, settings: Settings, planned: Sequence[Painted]) -> set[Painted]:
    """Return which of the planned pictures an earlier call has left in ``folder``.

    A manifest of which no picture was painted yet binds nobody: its call may have failed on its arguments.

    Raises:
        InputError: for pictures of other captions or settings, or that no manifest lists; says which settings differ.
    """
    before, listed = _read_manifest(folder) if (folder / MANIFEST).exists() else ({}, ())
    there = _on_disk(folder, listed)
    others = there - set(planned) or _on_disk(folder, planned) - there
    differing = [name for name in {**settings, **before} if before.get(name) != settings.get(name)] if there else []
    if others or differing:
        what = f"its {', '.join(differing)}" if differing else min(row.path for row in others)
        raise InputError(
            f"{folder} holds pictures of other captions or settings ({what}): choose another folder, or empty it"
        )
    return there


def _on_disk(folder: Path, rows: Sequence[Painted]) -> set[Painted]:
    return {row for row in rows if (folder / row.path).is_file()}


def _runner(painter: Painter, rows: list[Painted], folder: Path) -> Callable[[int, int], None]:
    def run(start: int, stop: int) -> None:
        batch = rows[start:stop]
        pictures = painter([row.caption for row in batch], [row.seed for row in batch])
        for row, picture in zip(batch, pictures, strict=True):
            write_png(folder / row.path, picture.permute(1, 2, 0).contiguous().numpy())

    return run


def _plan(captions: Mapping[str, Mapping[str, str]], per_caption: int, seed: int) -> tuple[Painted, ...]:
    count_ = check_whole(per_caption, "per_caption", 1, MOST_PICTURES)
    _check_captions(captions)
    seeds = picture_seeds(check_seed(seed), count_)
    classes = _folders(captions)
    kinds = {name: _folders(own) for name, own in captions.items()}
    return tuple(
        Painted(f"{classes[name]}/{kinds[name][kind]}/{i:04d}.png", name, kind, text, own_seed)
        for name, own in captions.items()
        for kind, text in own.items()
        for i, own_seed in enumerate(seeds)
    )


def _check_captions(captions: object) -> None:
    remedy = 'pass class name → kind → caption, such as {"cat": {"hard": "a white cat"}}'
    if not isinstance(captions, Mapping):
        raise InputError(f"captions is a {type(captions).__name__}: {remedy}")
    for name, own in captions.items():
        if not isinstance(own, Mapping):
            raise InputError(f"captions holds {own!r} for {name}: {remedy}")
        if not all(isinstance(one, str) for one in (name, *own)):
            raise InputError(f"captions holds the class {name!r} with the kinds {list(own)}: names are texts, {remedy}")
        odd = [kind for kind, text in own.items() if not (isinstance(text, str) and text.strip())]
        if odd:
            raise InputError(f"the {odd[0]} caption of {name} is not a text: {remedy}")
    if not any(captions.values()):
        raise InputError(f"captions is empty: {remedy}")


def _folders(names: Iterable[str]) -> dict[str, str]:
    """A folder name each, numbered where two would share one."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        slug = _slug(name)
        numbered = (f"{slug}-{number}" for number in count(2))
        folders[name] = next(free for free in chain([slug], numbered) if free not in taken)
        taken.add(folders[name])
    return folders


def _slug(name: str) -> str:
    """In small letters: some file systems take them and capitals for the same."""
    return re.sub(r"[^\w-]+", "-", name).strip("-").lower() or "class"


def _pixels(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises of broken files
        raise InputError(
            f"{path} cannot be read ({error}): delete it and call fdgpu.text_to_image with the same arguments, which "
            "paints it again"
        ) from None
