from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from fdgpu.kernels.gram_triton import (
    element,
    gram_matrices,
    gram_reference,
    tile_table,
)
from tests.kernels.interpreting import DEVICE, INTERPRETED, comparison
from tools.kernel_usage import ARCHITECTURES, POINTERS, SHARED_LIMITS, gram_program


def ragged(sizes: list[int], d: int, dtype: torch.dtype = torch.float32, device: str = DEVICE):
    generator = torch.Generator().manual_seed(sum(sizes) + d)
    x = torch.randn(sum(sizes), d, generator=generator)
    x /= x.norm(dim=1, keepdim=True)
    starts = torch.tensor([0, *np.cumsum(sizes).tolist()])
    return x.to(device, dtype), starts.to(device)


@comparison
@pytest.mark.parametrize("dtype", POINTERS, ids=str)
@pytest.mark.parametrize(
    ("sizes", "d"), [([1], 1), ([63, 1, 64, 65], 7), ([130, 0, 8], 100), ([3, 257], 33), ([5] * 9, 64)]
)
def test_the_matrices_agree_with_float64_and_are_symmetric(sizes: list[int], d: int, dtype: torch.dtype) -> None:
    x, starts = ragged(sizes, d, dtype)
    grams, gram_starts = gram_matrices(x, starts, sizes)
    expected, expected_starts = gram_reference(x, starts, sizes)
    assert grams.dtype == torch.float32
    assert gram_starts.tolist() == expected_starts.tolist()
    # unit rows: float32 sums of d products of at most 1, and TF32 alone would err by 1e-3
    assert torch.allclose(grams.double(), expected, rtol=0, atol=2e-6)
    for start, n in zip(gram_starts.tolist(), sizes, strict=False):
        gram = grams[start : start + n * n].view(n, n)
        assert torch.equal(gram, gram.T)


@comparison
def test_some_of_the_classes_are_computed_from_a_slice_of_the_table() -> None:
    sizes = [10, 70, 20]
    x, starts = ragged(sizes, 16)
    some, _ = gram_matrices(x, starts[1:], sizes[1:])
    everything, _ = gram_matrices(x, starts, sizes)
    assert torch.equal(some, everything[100:])


@comparison
def test_rows_that_do_not_lie_one_behind_the_other_are_read_right() -> None:
    x, starts = ragged([40, 30], 48)
    grams, _ = gram_matrices(x[:, ::2], starts, [40, 30])
    assert torch.allclose(grams.double(), gram_reference(x[:, ::2], starts, [40, 30])[0], rtol=0, atol=2e-6)


@triton.jit
def indices_kernel(start_ptr, row_ptr, width, indices_ptr):
    row = tl.load(row_ptr + tl.arange(0, 2))  # int32, as the rows of a tile are
    tl.store(indices_ptr + tl.arange(0, 2), element(tl.load(start_ptr), row, 7, width))


@comparison
def test_indices_past_two_to_the_31_do_not_wrap() -> None:
    start = torch.tensor([3_000_000_000], device=DEVICE)
    rows = torch.tensor([3, 99_999], dtype=torch.int32, device=DEVICE)
    indices = torch.zeros(2, dtype=torch.int64, device=DEVICE)
    indices_kernel[(1,)](start, rows, 100_000, indices, enable_fp_fusion=True)
    assert indices.tolist() == [3_000_300_007, 3_000_000_000 + 9_999_900_007]


@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("dtype", POINTERS, ids=str)
@pytest.mark.parametrize("cc", ARCHITECTURES)
def test_it_compiles_with_hardly_a_spill(cc: int, dtype: torch.dtype) -> None:
    usage = gram_program(dtype, cc).compile_for(cc)
    print(f"sm_{cc} {dtype}: {usage}")
    assert usage.spill_bytes <= 64  # none with Triton 3.9, 36 on sm_80 with 3.8
    assert usage.shared_bytes <= min(SHARED_LIMITS[cc], 56 * 1024)  # room for four programs an SM on an H100


@pytest.mark.parametrize("block", [1, 4, 64])
def test_the_table_holds_every_tile_of_the_lower_triangle_once(block: int) -> None:
    sizes = [0, 1, 7, 64, 65, 300]
    table = tile_table(torch.tensor(sizes), sizes, block)
    expected = [(k, i, j) for k, n in enumerate(sizes) for i in range(-(-n // block)) for j in range(i + 1)]
    assert table.dtype == torch.int32
    assert [tuple(row) for row in table.tolist()] == expected


def test_the_tiles_of_a_very_large_class_are_exact() -> None:
    n = 100_000
    table = tile_table(torch.tensor([n]), [n], 64).long()
    assert (table[:, 2] >= 0).all()
    assert (table[:, 2] <= table[:, 1]).all()
    assert torch.equal(table[:, 1] * (table[:, 1] + 1) // 2 + table[:, 2], torch.arange(len(table)))
    assert table[-1].tolist() == [0, 1562, 1562]


def test_bad_input_is_named() -> None:
    x, starts = ragged([4, 6], 8, device="cpu")
    with pytest.raises(ValueError, match=r"float64.*float32, float16 or bfloat16"):
        gram_matrices(x.double(), starts, [4, 6])
    with pytest.raises(ValueError, match=r"3 sizes need \(4,\) int64"):
        gram_matrices(x, starts, [4, 3, 3])
    with pytest.raises(ValueError, match="add up to 12"):
        gram_matrices(x, starts, [4, 8])


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on the CPU")
def test_a_cpu_tensor_is_refused_not_computed_elsewhere() -> None:
    x, starts = ragged([4, 6], 8, device="cpu")
    with pytest.raises(RuntimeError, match="gram_reference"):
        gram_matrices(x, starts, [4, 6])
