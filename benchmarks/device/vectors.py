"""Vectors made and searched: alignment below copy bandwidth, both towers of a CLIP beside open_clip's, an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import fdgpu
from benchmarks.device.record import Row, below, beside
from benchmarks.device.run import Setting
from benchmarks.device.sizes import Sizes
from benchmarks.speed.captions import LARGEST_DIFFERENCE, Model, bundled, random_vit
from benchmarks.speed.captions import measure as measure_captions
from benchmarks.speed.clock import kernel_seconds, seconds
from fdgpu.device import choose_device
from fdgpu.errors import FdgpuError
from fdgpu.kernels.alignments import alignments

NEAREST = 10
RANK = 16
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # far beyond the last cache
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that launching them costs nothing


def alignment(setting: Setting) -> Iterator[Row]:
    """Align captions with a direction: one pass over their vectors, below the bandwidth of a copy."""
    device, sizes = torch.device(setting.device), setting.sizes
    copy = copy_rate(device, sizes.rounds, sizes.scale)
    for dtype in (torch.float32, torch.float16):
        captions = _unit_rows(sizes.captions, sizes.dimension, device).to(dtype)
        reference, w, scale = (
            F.normalize(captions[0].float(), dim=0),
            captions[1].float(),
            captions[2].float().abs() + 1,
        )
        some = captions[3:1000].double() - reference.double()
        expected = F.normalize(some / scale.double(), dim=1) @ w.double()
        apart = float((alignments(captions[3:1000], reference, w, scale) - expected).abs().max())
        if not apart <= 1e-6:
            yield Row("alignment", f"{dtype}", difference=apart, note="results differ from the formula's")
            continue
        took = kernel_seconds(lambda: alignments(captions, reference, w, scale), device, sizes.rounds)  # noqa: B023
        rate = captions.numel() * captions.element_size() / took / 1e9
        what = f"{sizes.captions:,} captions of {sizes.dimension}, {str(dtype).removeprefix('torch.')}"
        yield below(
            "alignment",
            what,
            rate,
            "GB/s",
            "a copy",
            copy / 1e9,
            f"{1e3 * took:.3g} ms; what is read, of what a copy reads and writes",
        )


def captions(setting: Setting) -> Iterator[Row]:
    """Encode a grammar's captions by the prefix tree, beside ``encode_text`` and below the rate of a matrix product."""
    model, sizes = _model(setting), setting.sizes
    row = measure_captions(model, sizes.grammar, sizes.rounds)
    what = f"{row.captions:,} captions of {sizes.grammar}, {model.name}, {row.precision}"
    ours, theirs = row.captions / row.prefix_tree, row.captions / row.encode_text
    yield beside("captions", what, ours, "open_clip", theirs, row.difference, LARGEST_DIFFERENCE[model.placement.dtype])
    tokens = torch.from_numpy(model.tokens.matrix(["a photo of a cat"])).long().to(model.placement.device)
    node = operations(lambda: model.clip.encode_text(tokens)) / row.context
    yield _of_matmul("captions", "the same", row.nodes_a_caption * node * row.prefix_tree, model, setting)


def images(setting: Setting) -> Iterator[Row]:
    """Turn uint8 pictures on the device into vectors, beside ``encode_image`` and below a matrix product's rate."""
    model, sizes = _model(setting), setting.sizes
    with TemporaryDirectory() as folder:
        clip = _embedder(model, Path(folder))
    device, dtype = model.placement.device, model.placement.dtype
    generator = torch.Generator(device).manual_seed(0)
    shape = (sizes.images, 3, *clip.preprocess.size)
    pictures = torch.randint(256, shape, dtype=torch.uint8, device=device, generator=generator)
    mean, std = (
        torch.tensor(part, device=device)[:, None, None] for part in (clip.preprocess.mean, clip.preprocess.std)
    )

    @torch.inference_mode()
    def plain() -> Tensor:
        parts = [((part.float() / 255 - mean) / std).to(dtype) for part in pictures.split(clip.batch_size)]
        return torch.cat([F.normalize(model.clip.encode_image(part).float(), dim=1) for part in parts])

    apart = float((clip.images(pictures) - plain()).abs().max())
    ours, theirs = (
        min(seconds(run, device) for _ in range(sizes.rounds)) for run in (lambda: clip.images(pictures), plain)
    )
    what = f"{sizes.images:,} pictures, {model.name}, {str(dtype).removeprefix('torch.')}"
    yield beside("images", what, ours, "open_clip", theirs, apart, LARGEST_DIFFERENCE[dtype])
    picture = operations(lambda: model.clip.encode_image(pictures[:1].to(dtype)))
    yield _of_matmul("images", "the same", picture * sizes.images / ours, model, setting)


def operations(run: Callable[[], object]) -> float:
    """Count the operations of a model's call; a multiply-add is two. What torch fuses, it could not count."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return float(counter.get_total_flops())


def _of_matmul(part: str, what: str, rate: float, model: Model, setting: Setting) -> Row:
    placement, sizes = model.placement, setting.sizes
    ceiling = matmul_rate(placement.device, placement.dtype, sizes.rounds, sizes.scale)
    return below(part, what, rate / 1e12, "TFLOP/s", "matrix product", ceiling / 1e12)


def _model(setting: Setting) -> Model:
    return bundled(setting.device) if setting.sizes.model == "bundled" else random_vit(choose_device(setting.device))


def _embedder(model: Model, folder: Path) -> fdgpu.ClipEmbedder:
    """Return an embedder of the same weights, which are read from a file as a user's are."""
    device = str(model.placement.device)
    if model.name == "bundled":
        return fdgpu.ClipEmbedder.bundled(device)
    torch.save({name: weight.float() for name, weight in model.clip.state_dict().items()}, folder / "weights.pt")
    return fdgpu.ClipEmbedder(model.name, str(folder / "weights.pt"), device)


def index(setting: Setting) -> Iterator[Row]:
    """Build an index of captions and ask it, beside an exact search written out in torch."""
    device, sizes = torch.device(setting.device), setting.sizes
    captions, directions = _few_dimensions(sizes, device)
    reference, scale = captions[-1].clone(), torch.ones(sizes.dimension, device=device)
    names = [str(i) for i in range(len(captions) - 1)]
    backend = "gpu" if device.type == "cuda" else "cpu"

    def exact() -> Tensor:
        differences = F.normalize(captions[:-1] - reference, dim=1)
        return torch.cat([(-part @ differences.T).topk(NEAREST, dim=1).indices for part in directions.split(64)])

    true = exact()
    plain_s = seconds(exact, device)
    for kind, where in (("flat", "auto"), ("flat", backend), ("ivf", backend)):
        what = f"{sizes.indexed:,} x {sizes.dimension}, {kind}, backend={where!r}, {sizes.queries} directions"
        try:
            made: list[fdgpu.CaptionIndex] = []
            settings: dict[str, Any] = {"reference": reference, "scale": scale, "kind": kind, "backend": where}
            build_s = seconds(lambda: made.append(fdgpu.CaptionIndex(captions[:-1], names, **settings)), device)  # noqa: B023
            found = made[0].hardest(directions, NEAREST).ids  # which warms up
            search_s = seconds(lambda: made[0].hardest(directions, NEAREST), device)  # noqa: B023
        except FdgpuError as error:
            yield Row("index", what, note=str(error))
            continue
        recall = float((found[:, :, None] == true[:, None]).any(dim=2).double().mean())
        note = f"recall@{NEAREST} {recall:.4f}, built in {build_s:.2f} s, {made[0].backend_reason_}"
        row = beside("index", what, search_s, "torch, exact", plain_s, 1 - recall, 0.02)
        yield replace(row, note="; ".join(filter(None, (note, row.note))))


def _few_dimensions(sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return captions and directions that fill few of their dimensions, as those of a CLIP do."""
    generator = torch.Generator(device).manual_seed(0)
    basis = torch.randn(RANK, sizes.dimension, generator=generator, device=device)
    captions, directions = (
        F.normalize(torch.randn(rows, RANK, generator=generator, device=device) @ basis, dim=1)
        for rows in (sizes.indexed, sizes.queries)
    )
    return captions, directions


def _unit_rows(rows: int, dimension: int, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(0)
    return F.normalize(torch.randn(rows, dimension, generator=generator, device=device), dim=1)


# --- what the device can do at most -----------------------------------------------------------------------------------


def copy_rate(device: torch.device, rounds: int, scale: float = 1.0) -> float:
    """Return bytes a second, read and written; ``scale`` below 1 is for a try."""
    n = int(COPY_BYTES[device.type] * scale) // 4
    source, target = torch.zeros(n, device=device), torch.zeros(n, device=device)  # written, so that pages are there
    return 2 * 4 * n / kernel_seconds(lambda: target.copy_(source), device, rounds)


def matmul_rate(device: torch.device, dtype: torch.dtype, rounds: int, scale: float = 1.0) -> float:
    """Return operations a second, a multiply-add is two; on CUDA a float32 product is allowed TF32."""
    side = max(256, int(SIDE[device.type] * scale))
    a = torch.randn(side, side, device=device).to(dtype)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        return 2 * side**3 / kernel_seconds(lambda: a @ a, device, rounds)
    finally:
        torch.set_float32_matmul_precision(precision)
