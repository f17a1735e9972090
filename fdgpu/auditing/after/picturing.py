"""Pictures to train on after an audit: of the hard captions, or along the directions (paper, 2.3, A.7, A.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import to_device, to_host
from fdgpu.auditing.after.repairing import Manifest, Seen, embedder_of, failures_of, write_manifest
from fdgpu.auditing.columns.pairing import Paired
from fdgpu.auditing.result import AuditResult, Failure, PastAudit
from fdgpu.auditing.space import Embedder
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.checks import check_name, check_number, check_whole
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.grid import slerp
from fdgpu.decoding.pipelines import Pipeline
from fdgpu.decoding.synthetic import text_to_image
from fdgpu.device import choose_device
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.sources import FileSource
from fdgpu.errors import InputError, one_line
from fdgpu.extras import require
from fdgpu.files import writable_folder, write_png
from fdgpu.progress import OneBar, Reporter

PAINTED = "painted"  # the way, its folder and its manifest
OF = ("captions", "directions")
Made = tuple[str, str, str]  # a picture: its path in the folder, its class, and why it is there


def repair_by_painting(
    audit: str | Path | AuditResult,
    pipeline: str | Path | Pipeline | Decoder,
    out: str | Path,
    *,
    of: Literal["captions", "directions"] = "captions",
    per_class: int = 100,
    alpha: float = 0.2,
    grammar: object = None,
    seed: int = 0,
    embedder: Embedder = None,
    device: str | torch.device = "auto",
    progress: Reporter | None = None,
    **arguments: Any,
) -> Manifest:
    """Paint pictures of each significant failure: of its hardest reliable caption (A.8), or along its direction (A.7).

    Args:
        audit: its folder, or its result.
        pipeline: the folder of a text-to-image pipeline of diffusers, or the pipeline; ``"bundled"`` for the decoder
            that ships, which draws the bundled CLIP's ten garments; or a :class:`fdgpu.Decoder`. Of directions a
            decoder, or a pipeline that takes CLIP vectors.
        out: folder for ``painted/``, ``painted.csv`` and ``painted.json``; pictures of captions that are there stay.
        of: ``"captions"``; or ``"directions"``, which needs no caption that can be believed: the class's reference
            caption is rotated to the hard side. A direction is taken out of the whitened space as captions are scored
            in it, w / σ, without a second fit.
        per_class: pictures of each class, spread evenly over its failures.
        alpha: share of the angle by which the reference caption is rotated.
        grammar: of the audit, whose reference captions are rotated; by default what an audit takes by default.
        seed: of the noise that pictures start from.
        embedder: that of the audit, by which each picture gets its decision value; by default the one that it names.
        device: where a pipeline of a folder, or the bundled decoder, paints.
        progress: a reporter; by default a bar where a person watches standard error.
        arguments: for the pipeline's call or :meth:`fdgpu.Decoder.sample`, such as ``steps``.

    Raises:
        InputError: for an audit without a significant failure, or none with a reliable caption; a pipeline that is not
            on this disk, or is none, or does not decode CLIP vectors.

    Example:
        >>> made = fdgpu.auditing.repair_by_painting(
        ...     audited, "bundled", tmp_path, of="directions", grammar="demo", per_class=2, steps=2
        ... )
        >>> made.file.name, len(list((tmp_path / "painted").rglob("*.png")))
        ('painted.csv', 2)
    """
    check_name(of, "of", OF)
    past = PastAudit.of(audit, "audit")
    failures = failures_of(past)
    per_class = check_whole(per_class, "per_class", 1)
    captions = hard_captions(past, failures) if of == "captions" else {}
    painter = painter_at(pipeline, device)
    reader = embedder_of(past, embedder)
    folder = writable_folder(Path(out))
    if of == "captions":
        each = _each(per_class, captions)
        clip = reader if isinstance(painter, Decoder) and isinstance(reader, ClipEmbedder) else None
        painted = text_to_image(
            captions, painter, folder / PAINTED, clip=clip, per_caption=each, seed=seed, progress=progress, **arguments
        )  # fmt: skip
        made = [(f"{PAINTED}/{row.path}", row.class_name, f"painted: {row.caption}") for row in painted.rows]
    else:
        if not isinstance(reader, ClipEmbedder):
            raise InputError(f"{past.name} is of a space without captions, of which there is nothing to rotate")
        decoder = painter if isinstance(painter, Decoder) else Decoder.from_diffusers(painter, clip=reader)
        decoder.check(reader)
        made = list(_along(past, failures, decoder, reader, folder, (per_class, alpha, seed), grammar, arguments))
    values = _decision_values(past, failures, made, folder, reader, progress)
    rows = [(path, name, values.get(path, np.nan), 1.0, why) for path, name, why in made]
    said = pipeline if isinstance(pipeline, str) else type(painter).__name__
    about: dict[str, Any] = {"of": of, "per_class": per_class, "seed": seed, "pipeline": str(said)}
    about |= {"captions": captions} if of == "captions" else {"alpha": alpha}
    return write_manifest(past, failures, folder / f"{PAINTED}.csv", rows, about)


def hard_captions(past: PastAudit, failures: dict[str, list[Failure]]) -> dict[str, dict[str, str]]:
    """Return the hardest reliable caption of each failure, as :func:`fdgpu.text_to_image` takes captions.

    Raises:
        InputError: where there is none.
    """
    captions = {
        name: {f"hard {own.mode + 1}" if own.mode else "hard": own.caption for own in modes if own.caption}
        for name, modes in failures.items()
    }
    if not any(captions.values()):
        raise InputError(
            f"{past.name} has no reliable hard caption of a significant failure, so that nothing says what to paint: "
            "paint directions, repair with a pool or weights, or audit with a richer grammar"
        )
    return {name: own for name, own in captions.items() if own}


def _each(per_class: int, failures: Mapping[str, Sized]) -> int:
    return max(1, round(per_class / max(map(len, failures.values()))))


def _along(
    past: PastAudit,
    failures: dict[str, list[Failure]],
    decoder: Decoder,
    clip: ClipEmbedder,
    folder: Path,
    settings: tuple[int, float, int],
    grammar: object,
    arguments: dict[str, Any],
) -> Iterator[Made]:
    """Decode each class's reference caption, rotated to the hard side of each of its failures."""
    per_class, alpha, seed = settings
    share = check_number(alpha, "alpha", lambda value: 0 < value <= 1, "a share of the angle in (0, 1], such as 0.2")
    names, fit, each = (
        [one["name"] for one in past.document["classes"]],
        past.directions.fitted,
        _each(per_class, failures),
    )
    asked = "demo" if grammar is None and clip.name == "bundled" else grammar
    references = CaptionRecipe.resolve(asked, names).classes
    for name, modes in failures.items():
        k = names.index(name)
        reference = clip.texts([references[k].reference])
        for own in modes:
            w = torch.from_numpy(fit.coef[fit.index_of(k), own.mode] / fit.scale)
            vector = torch.as_tensor(slerp(reference, -to_device(w.float(), reference.device)[None], share))
            pictures = decoder.sample(vector.expand(each, -1), seed=seed, **arguments)
            kind = f"direction-{own.mode + 1}" if own.mode else "direction"
            for i, picture in enumerate(_bytes(torch.as_tensor(pictures))):
                path = f"{PAINTED}/class-{k}/{kind}/{i:04d}.png"
                write_png(folder / path, np.ascontiguousarray(picture))
                yield path, name, f"decoded: {references[k].reference}, rotated by {share:g} to the hard side"


def _bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures (n, 3, h, w) in [0, 1] as (n, h, w, 3) on the host."""
    scaled = (pictures * 255).round().clamp(0, 255).to(torch.uint8)
    return to_host(scaled.movedim(1, -1), "pictures, for PNG files")


def _decision_values(
    past: PastAudit,
    failures: dict[str, list[Failure]],
    made: list[Made],
    folder: Path,
    reader: ImageEmbedder,
    progress: Reporter | None,
) -> dict[str, float]:
    """Look at the pictures as at any others: do they lie on the hard side?"""
    ids = [path for path, *_ in made]
    paired = Paired(FileSource([folder / own for own in ids], ids), {"labels": [name for _, name, _ in made]})
    with OneBar(progress) as report:
        seen = Seen.of(past, failures, paired, reader, report)
    return dict(zip(seen.ids, seen.values.tolist(), strict=True))


def painter_at(pipeline: str | Path | Pipeline | Decoder, device: str | torch.device = "auto") -> Pipeline | Decoder:
    """Return what paints: a pipeline of a folder, the bundled decoder by its name, or what was given.

    Raises:
        InputError: for a name that is no folder, as one of a hub is: nothing is fetched from a network.
    """
    if isinstance(pipeline, str) and pipeline == "bundled":
        return Decoder.bundled(device)
    if not isinstance(pipeline, (str, Path)):
        return pipeline
    if not (Path(pipeline) / "model_index.json").is_file():
        raise InputError(
            f"{pipeline} is not the folder of a pipeline on this disk (there is no model_index.json in it), and "
            "nothing is fetched from a network here: download it first (hf download NAME --local-dir FOLDER) and pass "
            "the folder, or bundled"
        )
    diffusers = require("diffusers", "decode", "painting")
    try:
        loaded: Pipeline = diffusers.DiffusionPipeline.from_pretrained(str(pipeline), local_files_only=True)
    except (OSError, ValueError, RuntimeError, AttributeError, ImportError, TypeError) as error:
        raise InputError(f"{pipeline} cannot be loaded as a pipeline ({one_line(error)}): download it whole") from error
    return loaded.to(choose_device(device).device)
