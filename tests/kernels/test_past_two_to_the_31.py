"""Flat indices past 2^31, of Gram matrices, captions and duals of many labellings, must be computed in 64 bits.

Without such an allocation the compiled kernels are read: what they still multiply in 32 bits must be small. Where
there is a device, arrays of that size are read from their far end.
"""

from __future__ import annotations

import pytest
import torch

from fdgpu.kernels import caption_scores, gram_triton, smo_triton
from fdgpu.kernels.smo_batch import LARGEST_CLASS
from tests.kernels.interpreting import INTERPRETED
from tools.kernel_usage import Program, gram_program, narrow_products, solver_programs

compiled = pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
GIB = 1 << 30
D = 512
ROWS = 2**31 // D + 1000  # of which the last hundreds lie past 2^31 elements


@compiled
def test_captions() -> None:
    launch = caption_scores.Launch.choose(torch.float16)
    signature = {
        "captions_ptr": "*fp16", "rows_ptr": "*i64", "offsets_ptr": "*i64", "tiles_ptr": "*i32",
        "references_ptr": "*fp32", "w_ptr": "*fp32", "scale_ptr": "*fp32", "scores_ptr": "*fp32", "n_groups": "i32",
        "d": "i32:16",
    }  # fmt: skip
    blocks = {"BLOCK": launch.block, "BLOCK_D": launch.block_d, "VECTOR": launch.vector}
    assert not narrow_products(Program(caption_scores.scoring_kernel, "", signature, {"SAME": 1e-12, **blocks}, {}))
    without_rows = {name: kind for name, kind in signature.items() if name != "rows_ptr"}
    constexprs = {"rows_ptr": None, "SAME": 1e-12, **blocks}
    assert not narrow_products(Program(caption_scores.scoring_kernel, "", without_rows, constexprs, {}))


@compiled
def test_ranks() -> None:
    signature = {
        "scores_ptr": "*fp32", "offsets_ptr": "*i64", "hardest_ptr": "*i32", "easiest_ptr": "*i32", "k": "i32"
    }  # fmt: skip
    constexprs = {"NONE": -(2**63), "KEEP": 8, "BLOCK": 1024}
    assert not narrow_products(Program(caption_scores.ranking_kernel, "", signature, constexprs, {}))


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
def test_captions_of_that_size_on_a_device() -> None:
    x, far = _far_rows(41)
    w, scale = far[:1].float(), torch.ones(D, device="cuda")
    rows = torch.arange(ROWS - 40, ROWS, device="cuda")
    offsets = torch.tensor([0, 40], device="cuda")
    found = caption_scores.score_captions(x, offsets, far[:1], w, scale, 3, rows)
    expected = caption_scores.score_captions_reference(far[1:], offsets, far[:1], w, scale, 3)
    assert torch.allclose(found.scores.double(), expected.scores, rtol=0, atol=3e-6)
    assert torch.equal(found.hardest, expected.hardest)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gram_matrix_of_rows_of_that_size_on_a_device() -> None:
    x, far = _far_rows(70)
    grams, _ = gram_triton.gram_matrices(x, torch.tensor([ROWS - 70, ROWS], device="cuda"), [70])
    assert torch.allclose(grams.view(70, 70).double(), far.double() @ far.double().T, rtol=0, atol=2e-6)
