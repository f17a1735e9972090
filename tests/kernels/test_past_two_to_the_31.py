"""Flat indices past 2^31, of Gram matrices and duals of many labellings, must be computed in 64 bits.

Without such an allocation the compiled kernels are read: what they still multiply in 32 bits must be small. Where
there is a device, arrays of that size are read from their far end.
"""

from __future__ import annotations

import pytest
import torch

from fdgpu.kernels import gram_triton
from fdgpu.kernels.smo_batch import LARGEST_CLASS
from tests.kernels.interpreting import INTERPRETED
from tools.kernel_usage import Program, gram_program, narrow_products, solver_programs

compiled = pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
GIB = 1 << 30
D = 512
ROWS = 2**31 // D + 1000  # of which the last hundreds lie past 2^31 elements


@compiled
def test_gram_matrices() -> None:
    # the first row and column of a tile, within its class
    allowed = {frozenset({"rows", "64"}), frozenset({"columns", "64"})}
    assert narrow_products(gram_program(torch.float32, 75)) == allowed


@compiled
@pytest.mark.parametrize("program", solver_programs(64), ids=lambda program: program.fn.__name__)
def test_labellings(program: Program) -> None:
    assert LARGEST_CLASS**2 < 2**31
    for factors in narrow_products(program):
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
