"""Flat indices past 2^31, of Gram matrices and duals of many labellings, must be computed in 64 bits.

Without such an allocation the compiled kernels are read: what they still multiply in 32 bits must be small. Where
there is a device, arrays of that size are read from their far end.
"""

from __future__ import annotations

import pytest
import torch

from fdgpu.kernels import gram_triton, smo_triton
from fdgpu.kernels.smo_batch import LARGEST_CLASS
from tests.kernels.compiling import narrow_products
from tests.kernels.interpreting import INTERPRETED
from tests.kernels.test_smo_triton import OF_CROSS_VALIDATION, OF_FITS, SHARED

compiled = pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
GIB = 1 << 30
D = 512
ROWS = 2**31 // D + 1000  # of which the last hundreds lie past 2^31 elements


@compiled
def test_gram_matrices() -> None:
    signature = {
        "x_ptr": "*fp32", "grams_ptr": "*fp32", "tiles_ptr": "*i32", "starts_ptr": "*i64", "sizes_ptr": "*i32",
        "gram_starts_ptr": "*i64", "d": "i32:16",
    }  # fmt: skip
    constexprs = {"PRECISION": "ieee", "WIDEN": False, "BLOCK": 64, "BLOCK_D": 32}
    # the first row and column of a tile, within its class
    allowed = {frozenset({"rows", "64"}), frozenset({"columns", "64"})}
    assert narrow_products(gram_triton.gram_kernel, signature, constexprs) == allowed


@compiled
@pytest.mark.parametrize(
    ("kernel", "more"),
    [(smo_triton.cross_validate_kernel, OF_CROSS_VALIDATION), (smo_triton.fit_kernel, OF_FITS)],
    ids=["cross_validate", "fit"],
)
def test_labellings(kernel: object, more: dict[str, str]) -> None:
    constexprs = {"FUSED": True, "BLOCK": 64, "ROWS": 2}
    assert LARGEST_CLASS**2 < 2**31
    for factors in narrow_products(kernel, SHARED | more, constexprs):
        of_one_class = "n" in factors  # a row of its Gram matrix, times its size
        programs = factors == {"n_labellings", "cv"}  # of one class in one launch
        assert of_one_class or programs or "2" in factors, set(factors)


def _far_rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ROWS, D) float16 on the device, zero but for unit vectors at the end, and these."""
    if torch.cuda.mem_get_info()[0] < 6 * GIB:
        pytest.skip("less than 6 GiB of device memory are free")
    x = torch.zeros((ROWS, D), dtype=torch.float16, device="cuda")
    x[-count:] = torch.nn.functional.normalize(torch.randn(count, D, device="cuda"), dim=1)
    return x, x[-count:].clone()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gram_matrix_of_rows_of_that_size_on_a_device() -> None:
    x, far = _far_rows(70)
    grams, _ = gram_triton.gram_matrices(x, torch.tensor([ROWS - 70, ROWS], device="cuda"), [70])
    assert torch.allclose(grams.view(70, 70).double(), far.double() @ far.double().T, rtol=0, atol=2e-6)
