from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from fdgpu.kernels.alignments import alignments
from fdgpu.kernels.caption_scores import (
    EQUAL,
    CaptionScores,
    Launch,
    ranking_kernel,
    score_captions,
    score_captions_reference,
    scoring_kernel,
    tile_table,
)
from tests.kernels.interpreting import DEVICE, INTERPRETED, compare_in_the_interpreter, comparison
from tools.kernel_usage import ARCHITECTURES, SHARED_LIMITS, Program

POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


@dataclass(frozen=True)
class Job:
    captions: torch.Tensor
    offsets: torch.Tensor
    references: torch.Tensor
    w: torch.Tensor
    scale: torch.Tensor
    k: int = 5
    rows: torch.Tensor | None = None


def make(sizes: list[int], d: int, dtype: torch.dtype = torch.float32, device: str = DEVICE, **given: object) -> Job:
    """Random groups of unit vectors; captions near their references, as captions of one grammar are."""
    generator = torch.Generator().manual_seed(sum(sizes) + d)

    def units(n: int) -> torch.Tensor:
        x = torch.randn(n, d, generator=generator)
        return x / x.norm(dim=1, keepdim=True)

    references = units(len(sizes))
    captions = references.repeat_interleave(torch.tensor(sizes), dim=0) + 0.5 * units(sum(sizes))
    captions /= captions.norm(dim=1, keepdim=True)
    job = Job(
        captions.to(device, dtype),
        torch.tensor([0, *np.cumsum(sizes).tolist()], device=device),
        references.to(device, dtype),
        units(len(sizes)).to(device),
        (0.02 + 0.1 * torch.rand(d, generator=generator)).to(device),
    )
    return replace(job, **given)


def scored(job: Job) -> CaptionScores:
    return score_captions(**vars(job))


def expected(job: Job) -> CaptionScores:
    return score_captions_reference(**vars(job))


def assert_agrees(job: Job) -> None:
    """Scores as in float64; ranks exactly those of the scores that were given."""
    ours, theirs = scored(job), expected(job)
    assert ours.scores.dtype == torch.float32
    assert torch.equal(ours.scores.isnan(), theirs.scores.isnan())
    assert torch.allclose(ours.scores.double(), theirs.scores, rtol=0, atol=3e-6, equal_nan=True)
    bounds = job.offsets.tolist()
    for group, (start, end) in enumerate(pairwise(bounds)):
        scores = ours.scores[start:end].cpu().numpy()
        for ranked, signed in ((ours.hardest, scores), (ours.easiest, -scores)):
            order = np.argsort(signed, kind="stable")[: (~np.isnan(signed)).sum()][: job.k]
            assert ranked.dtype == torch.int32
            assert ranked[group].tolist() == [*order.tolist(), *[-1] * (job.k - len(order))]


@comparison
@pytest.mark.parametrize("dtype", POINTERS, ids=str)
@pytest.mark.parametrize("d", [7, 64, 100, 513])
def test_ragged_groups_agree_with_float64(d: int, dtype: torch.dtype) -> None:
    assert_agrees(make([1, 3, 257, 0, 16], d, dtype))


@comparison
@pytest.mark.parametrize("k", [1, 3, 64])
def test_any_number_of_ranks(k: int) -> None:
    assert_agrees(make([20, 63, 65, 2], 24, k=k))


@comparison
def test_more_candidates_than_one_step_of_the_ranking() -> None:
    """Ascending scores defeat the skipping of steps at one end, and take all of it at the other."""
    job = make([1200, 30], 2, k=6)
    angles = torch.linspace(0.1, 3.0, 1230, device=DEVICE)
    references = torch.tensor([[1.0, 0.0]], device=DEVICE).expand(2, 2).contiguous()
    job = replace(job, captions=torch.stack([angles.cos(), angles.sin()], dim=1), references=references)
    assert_agrees(job)
    assert_agrees(replace(job, w=-job.w))


@comparison
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_groups_share_captions_through_rows(dtype: torch.dtype) -> None:
    job = make([40, 9, 70], 64, dtype)
    rows = torch.randint(0, 30, (119,), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    assert_agrees(replace(job, rows=rows))


@comparison
def test_a_caption_that_is_its_reference_scores_nan_and_is_not_ranked() -> None:
    job = make([6, 3], 50)
    job.captions[1] = job.references[0]
    job.captions[4] = job.references[0]
    job.captions[4, 0] += 5e-7  # closer than rounding, though far from it once divided by the scale
    job.captions[5] = job.references[0]
    job.captions[5, 0] += 5e-6
    job.captions[6:] = job.references[1]
    ours = scored(job)
    assert ours.scores.isnan().tolist() == [False, True, False, False, True, False, True, True, True]
    assert sorted(ours.hardest[0].tolist()) == [-1, 0, 2, 3, 5]
    assert ours.hardest[1].tolist() == [-1] * 5
    assert ours.easiest[1].tolist() == [-1] * 5
    # the difference of 5e-6 was rounded when it was added to a float32, on both sides alike
    assert_agrees(job)


@comparison
def test_equal_scores_rank_by_their_place() -> None:
    job = make([1050], 16, k=8)
    job.captions[:] = job.captions[:3].repeat(350, 1)
    assert_agrees(job)
    flat = scored(replace(job, w=torch.zeros_like(job.w)))  # 0 and -0 among them
    assert flat.hardest.tolist() == [list(range(8))]
    assert flat.easiest.tolist() == [list(range(8))]


@comparison
def test_the_error_is_within_twice_that_of_plain_torch_in_float32() -> None:
    job = make([300], 513)
    plain = score_captions_reference(**vars(job), dtype=torch.float32).scores.double()
    exact = expected(job).scores
    assert (scored(job).scores.double() - exact).abs().max() <= 2 * (plain - exact).abs().max() + 1e-7


@comparison
def test_no_candidates_and_no_groups() -> None:
    assert_agrees(make([0, 0], 8))
    job = make([3], 8)
    nothing = scored(replace(job, offsets=job.offsets[:1], references=job.references[:0], w=job.w[:0]))
    assert nothing.hardest.shape == nothing.easiest.shape == (0, 5)


@pytest.mark.slow
def test_the_comparisons_hold_in_the_interpreter() -> None:
    compare_in_the_interpreter(__file__)


@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("cc", "gathered"), [*((cc, False) for cc in ARCHITECTURES), (80, True)])
def test_the_scoring_compiles_to_what_its_bandwidth_needs(cc: int, dtype: torch.dtype, gathered: bool) -> None:
    launch = Launch.choose(dtype)
    signature = {
        "captions_ptr": POINTERS[dtype],
        **({"rows_ptr": "*i64"} if gathered else {}),
        "offsets_ptr": "*i64",
        "tiles_ptr": "*i32",
        "references_ptr": "*fp32",
        "w_ptr": "*fp32",
        "scale_ptr": "*fp32",
        "scores_ptr": "*fp32",
        "n_groups": "i32",
        "d": "i32:16",
    }
    constexprs = {
        **({} if gathered else {"rows_ptr": None}),
        "SAME": EQUAL**2,
        "BLOCK": launch.block,
        "BLOCK_D": launch.block_d,
        "VECTOR": launch.vector,
    }
    usage = Program(scoring_kernel, "", signature, constexprs, {"num_warps": launch.num_warps}).compile_for(cc)
    print(f"sm_{cc} {dtype}: {usage}")
    assert usage.spill_bytes == 0
    assert usage.registers <= 128  # four programs an SM, 32 KiB under way: see Launch
    assert usage.shared_bytes <= 4 * 1024


@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize(("cc", "k"), [*((cc, 64) for cc in ARCHITECTURES), (80, 1)])
def test_the_ranking_compiles_without_spills(cc: int, k: int) -> None:
    launch = Launch.choose(torch.float32)
    signature = {
        "scores_ptr": "*fp32",
        "offsets_ptr": "*i64",
        "hardest_ptr": "*i32",
        "easiest_ptr": "*i32",
        "k": "i32",
    }
    constexprs = {"NONE": -(2**63), "KEEP": 1 << (k - 1).bit_length(), "BLOCK": launch.block_scores}
    usage = Program(
        ranking_kernel, "", signature, constexprs, {"num_warps": launch.num_warps_ranking}
    ).compile_for(cc)
    print(f"sm_{cc} k={k}: {usage}")
    assert usage.spill_bytes == 0
    assert usage.shared_bytes <= min(SHARED_LIMITS[cc], 16 * 1024)


def test_the_plain_twin_scores_as_one_class_does() -> None:
    job = make([30, 5], 20, device="cpu")
    job.captions[3] = job.references[0]
    theirs = [
        alignments(job.captions[a:b], job.references[g], job.w[g], job.scale)
        for g, (a, b) in enumerate([(0, 30), (30, 35)])
    ]
    assert torch.allclose(expected(job).scores, torch.cat(theirs), rtol=0, atol=1e-12, equal_nan=True)
    assert expected(job).scores[3].isnan()


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs the kernels")
def test_cpu_tensors_take_the_plain_twin() -> None:
    assert_agrees(make([1, 3, 257], 100, device="cpu"))


@pytest.mark.parametrize("sizes", [[1], [0, 0], [16, 17, 0, 1, 33], [5] * 40])
def test_every_tile_stands_in_the_table_once(sizes: list[int]) -> None:
    offsets = torch.tensor([0, *np.cumsum(sizes).tolist()])
    table = tile_table(offsets, sum(sizes), 16)
    tiles = [tuple(row) for row in table.tolist() if row[0] < len(sizes)]
    assert tiles == [(g, i) for g, n in enumerate(sizes) for i in range(-(-n // 16))]


def test_bad_input_is_named() -> None:
    job = make([4, 6], 8, device="cpu")
    with pytest.raises(ValueError, match="k is 65: rank 1 to 64"):
        scored(replace(job, k=65))
    with pytest.raises(ValueError, match=r"w is \(1, 8\): 2 groups of 8-d captions need \(2, 8\)"):
        scored(replace(job, w=job.w[:1]))
    with pytest.raises(ValueError, match=r"rows is torch.int32 .*int64"):
        scored(replace(job, rows=torch.zeros(10, dtype=torch.int32)))
    with pytest.raises(ValueError, match=r"captions is torch.float64"):
        scored(replace(job, captions=job.captions.double()))
