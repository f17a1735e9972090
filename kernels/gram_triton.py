r"""Gram matrices of ragged classes in one launch, on the GPU.

.. math:: K_k = X_k X_k^T

for every class k at once, :math:`X_k` the rows of one class. Nothing is padded to the largest class: the launch has one
program a pair of row tiles (i, j) with j <= i of a class, found in a small table, and the classes' matrices lie one
behind the other in one flat buffer. A program computes its tile once and writes it to both triangles, so the matrices
are symmetric to the last bit, which the solver's pairs of samples rely on, at half of the operations.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


# How the kernel is launched, and why.
# - Classes are ragged and often of 50 to 300 samples. A tile of 128 computes 13 times the needed lower triangle at
#   n = 50 and 2.2 times at n = 300; 64 computes 3.2 and 1.4 times.
# - The operand tiles of three stages take 48 KiB in float32; an H100's shared memory has room for four such programs an
#   SM, its registers for three.
BLOCK, BLOCK_D, WARPS, STAGES = 64, 32, 4, 3


def precision_of(dtype: torch.dtype, capability: int | None) -> tuple[str, bool]:
    """Return the precision of the product, and whether rows become float32 before it.

    Float32 rows are multiplied as three TF32 products from sm_80 on, and plainly ("ieee") below, where there is no
    TF32. One TF32 product errs by 1e-3, which is the solver's whole tolerance. Half-precision rows become float32 below
    sm_80, whose tensor cores are the first to take bfloat16; the float16 product of sm_75 compiles to spills of 1.2 KB
    a thread at this tile. They do so in the interpreter too, which has no bfloat16 product.

    Args:
        dtype: of the rows.
        capability: of the device, 80 is sm_80; None is the interpreter.
    """
    modern = capability is not None and capability >= 80
    single = dtype == torch.float32
    return "tf32x3" if single and modern else "ieee", not single and not modern


# --- kernel ---------------------------------------------------------------------------------------------------------


@triton.jit
def element(start, row, column, width):
    """Index of (row, column) in a row-major matrix that begins at ``start``: int64, as a matrix may pass 2^31."""
    return start + row.to(tl.int64) * width + column


@triton.jit
def gram_kernel(
    x_ptr,  # (N, d)
    grams_ptr,  # flat
    tiles_ptr,  # (tiles, 3) int32: class, row tile, column tile
    starts_ptr,  # (K + 1) int64: first row of each class
    sizes_ptr,  # (K,) int32
    gram_starts_ptr,  # (K + 1) int64: first element of each matrix
    d,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One tile of one class's lower triangle, and its mirror image."""
    tile = tiles_ptr + tl.program_id(0).to(tl.int64) * 3
    k = tl.load(tile)
    rows = tl.load(tile + 1) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.load(tile + 2) * BLOCK + tl.arange(0, BLOCK)
    n = tl.load(sizes_ptr + k)
    start = tl.load(starts_ptr + k)
    features = tl.arange(0, BLOCK_D)
    left_ptr = x_ptr + element(0, start + rows[:, None], features[None, :], d)
    right_ptr = x_ptr + element(0, start + columns[None, :], features[:, None], d)

    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for done in range(0, d, BLOCK_D):
        inside = features < d - done
        left = tl.load(left_ptr + done, mask=(rows < n)[:, None] & inside[None, :], other=0.0)
        right = tl.load(right_ptr + done, mask=(columns < n)[None, :] & inside[:, None], other=0.0)
        if WIDEN:
            left, right = left.to(tl.float32), right.to(tl.float32)
        total = tl.dot(left, right, total, input_precision=PRECISION)

    # On the diagonal only the lower triangle is kept: three TF32 products do not commute to the last bit
    gram = tl.load(gram_starts_ptr + k)
    lower = (rows[:, None] >= columns[None, :]) & (rows < n)[:, None]
    tl.store(grams_ptr + element(gram, rows[:, None], columns[None, :], n), total, mask=lower)
    mirrored = (columns[:, None] < rows[None, :]) & (rows < n)[None, :]
    tl.store(grams_ptr + element(gram, columns[:, None], rows[None, :], n), tl.trans(total), mask=mirrored)


# --- launcher -------------------------------------------------------------------------------------------------------


def gram_matrices(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the Gram matrix of every class, without a synchronisation with the host.

    Args:
        x: (N, d) float32, float16 or bfloat16 rows of all classes, on a CUDA device (or anywhere in the interpreter).
        starts: (K + 1) int64 on the same device; class k is the rows from ``starts[k]`` on. A slice of a longer table
            computes some of the classes.
        sizes: K numbers of rows, on the host, which the tile table and the buffer are made from.

    Returns:
        One flat float32 buffer of all matrices, and (K + 1) int64 offsets in it: matrix k is the row-major
        ``sizes[k]`` x ``sizes[k]`` elements from ``gram_starts[k]`` on.

    Raises:
        ValueError: if shapes or types are not these.
        RuntimeError: if x is not on a CUDA device.
    """
    _check(x, starts, sizes)
    interpreted = not isinstance(gram_kernel, triton.JITFunction)
    if x.device.type != "cuda" and not interpreted:
        raise RuntimeError(f"x is on {x.device}: this kernel needs a CUDA device; gram_reference computes on the CPU")
    capability = None
    if not interpreted:
        major, minor = torch.cuda.get_device_capability(x.device)
        capability = 10 * major + minor
    precision, widen = precision_of(x.dtype, capability)
    counts = torch.tensor(sizes, dtype=torch.int64).to(x.device, non_blocking=True)
    gram_starts = _offsets(counts * counts)
    grams = torch.empty(sum(n * n for n in sizes), dtype=torch.float32, device=x.device)
    tiles = tile_table(counts, sizes, BLOCK)
    if len(tiles) == 0:
        return grams, gram_starts
    with torch.cuda.device_of(x):
        gram_kernel[(len(tiles),)](
            x.contiguous(),
            grams,
            tiles,
            starts.contiguous(),
            counts.to(torch.int32),
            gram_starts,
            x.shape[1],
            PRECISION=precision,
            WIDEN=widen,
            BLOCK=BLOCK,
            BLOCK_D=BLOCK_D,
            num_warps=WARPS,
            num_stages=STAGES,
            enable_fp_fusion=True,
        )
    return grams, gram_starts


def tile_table(counts: torch.Tensor, sizes: list[int], block: int) -> torch.Tensor:
    """Return (tiles, 3) int32 (class, row tile, column tile) of every lower-triangle tile, on the device of ``counts``.

    Args:
        counts: (K,) int64 rows of each class, on the device.
        sizes: the same on the host: the table's length is known without asking the device.
        block: rows a tile.
    """
    sides = [-(-n // block) for n in sizes]
    total = sum(side * (side + 1) // 2 for side in sides)
    side = (counts + block - 1) // block
    pairs = side * (side + 1) // 2
    k = torch.repeat_interleave(torch.arange(len(sizes), device=counts.device), pairs, output_size=total)
    index = torch.arange(total, device=counts.device) - _offsets(pairs)[k]
    # index = row (row + 1) / 2 + column; float64 holds the root to far more than half a row below 2^50 tiles
    row = (((8 * index + 1).to(torch.float64).sqrt() - 1) / 2 + 1e-9).floor().to(torch.int64)
    return torch.stack([k, row, index - row * (row + 1) // 2], dim=1).to(torch.int32)


def _offsets(counts: torch.Tensor) -> torch.Tensor:
    """(K,) lengths -> (K + 1) offsets where each begins, and where the last ends."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _check(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> None:
    if x.ndim != 2 or x.dtype not in DTYPES or x.shape[1] == 0:
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}: pass (N, d) rows of float32, float16 or bfloat16, d > 0")
    if starts.dtype != torch.int64 or starts.shape != (len(sizes) + 1,):
        raise ValueError(
            f"starts is {starts.dtype} {tuple(starts.shape)}: {len(sizes)} sizes need ({len(sizes) + 1},) int64"
        )
    if starts.device != x.device:
        raise ValueError(f"starts is on {starts.device}, x on {x.device}: put both on one device")
    if any(n < 0 for n in sizes) or sum(sizes) > len(x):
        raise ValueError(f"sizes add up to {sum(sizes)} with a least of {min(sizes)}, x has {len(x)} rows")


# --- reference ------------------------------------------------------------------------------------------------------


def gram_reference(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same class by class in float64, on any device."""
    _check(x, starts, sizes)
    rows = [x[start : start + n].to(torch.float64) for start, n in zip(starts.tolist(), sizes, strict=False)]
    grams = [(of_class @ of_class.T).flatten() for of_class in rows]
    empty = torch.empty(0, dtype=torch.float64, device=x.device)
    counts = torch.tensor(sizes, dtype=torch.int64, device=x.device)
    return torch.cat([empty, *grams]), _offsets(counts * counts)
