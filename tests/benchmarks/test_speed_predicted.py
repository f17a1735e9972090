"""Predictions say what they are, follow from their constants, and know the kernels as they are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path as File
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from benchmarks.speed.caption_scoring import IMAGENET
from benchmarks.speed.counts import Work
from benchmarks.speed.data import Shape, make
from benchmarks.speed.permutations import drawing_seconds, predict_permutations
from benchmarks.speed.predicted import (
    H100,
    PROGRAMS,
    block_of,
    predict_gram,
    predict_solver,
    predict_stream,
    problem_cycles,
    programs_an_sm,
    reduction_cycles,
)
from benchmarks.speed.predictions import captions_row, fit_rows, permutation_rows
from benchmarks.speed.roofline import Paths
from benchmarks.speed.rows import PREDICTED
from benchmarks.speed.steps import Path
from fdgpu.directions.parameters import SolverSettings
from fdgpu.kernels.smo_batch import LARGEST_CLASS
from fdgpu.kernels.smo_triton import SolverLaunch, cross_validate_kernel
from tests.kernels.compiling import compile_for
from tests.kernels.test_smo_triton import OF_CROSS_VALIDATION, SHARED

DEVICE = H100()
SETTINGS = SolverSettings((1e-3, 1.0), cv=2, tol=1e-3, max_iter=10_000)
SHAPE = Shape("2 classes of 40 to 300 x 16", (40, 300), 16)
PATHS = Paths(
    [Path(40, 20, (0, 9)), Path(40, 20, (0, 5)), Path(300, 150, (0, 70)), Path(300, 150, (3, 80))],
    [Path(40, 40, (0, 12)), Path(300, 300, (0, 150))],
)


def test_every_predicted_line_says_so() -> None:
    rows = [
        *fit_rows(SHAPE, PATHS, SETTINGS, host_s=0.01, device=DEVICE),
        *permutation_rows(SHAPE, SETTINGS, 10, DEVICE),
        captions_row(DEVICE),
    ]
    assert len(rows) == 8
    for row in rows:
        assert row.kind == "predicted"
        assert row.result.startswith(PREDICTED)
        assert PREDICTED in row.device
        assert row.timed.startswith("none of")
        assert (row.rounds, row.ratio, row.peer_s, row.copy_share) == (0, None, None, None)
        assert row.total_s > 0


def test_the_whole_fit_is_its_kernels_and_the_host() -> None:
    *kernels, whole = fit_rows(SHAPE, PATHS, SETTINGS, host_s=0.01, device=DEVICE)
    assert whole.total_s == pytest.approx(sum(row.total_s for row in kernels) + 0.01)


def test_a_stream_takes_its_bytes_over_the_bandwidth() -> None:
    predicted = predict_stream(DEVICE, Work(bytes=3.35e12, requested_bytes=4e12, operations=1))
    assert predicted.seconds == pytest.approx(1.0, abs=1e-4)
    assert predicted.bound == "memory"
    scored = predict_stream(DEVICE, IMAGENET.work(torch.float16))
    assert scored.seconds == pytest.approx(1000 * 2000 * 512 * 2 / 3.35e12, rel=0.05)


def test_gram_is_bound_by_l2_as_its_kernel_says() -> None:
    predicted = predict_gram(DEVICE, [256] * 1000, 512)
    assert predicted.bound == "L2"
    assert 0.3e-3 < predicted.seconds < 0.8e-3  # "about half a millisecond"
    assert predicted.work.requested_bytes == pytest.approx(2.6e9 + 0.26e9, rel=0.02)


def test_one_problem_waits_for_its_own_steps() -> None:
    """By hand: a warp, 10 steps of two rows from L2, two reductions of five levels and 628 instructions."""
    path = Path(256, 128, (0, 10))
    step = 2 * 291 + 2 * 5 * (25 + 15) + 628
    turn = 291 + 228
    expected = 10 * step + 2 * 64 * turn
    assert problem_cycles(DEVICE, PROGRAMS[256], path, in_l2=True) == expected
    predicted = predict_solver(DEVICE, [path], problems_a_class=1)
    assert predicted.bound == "chain"
    assert predicted.seconds == pytest.approx(expected / 1.755e9 + 5e-6)


def test_more_warps_and_memory_take_longer() -> None:
    assert reduction_cycles(DEVICE, 32) > reduction_cycles(DEVICE, 2) > reduction_cycles(DEVICE, 1)
    path = Path(4000, 2000, (0, 10))
    near, far = (problem_cycles(DEVICE, PROGRAMS[4096], path, in_l2) for in_l2 in (True, False))
    assert far > near


def test_many_problems_are_bound_by_the_whole_device_and_scale() -> None:
    paths = [Path(256, 128, (0, 100))] * 10
    one, ten = (predict_solver(DEVICE, paths, 2, copies=copies).seconds for copies in (10_000, 100_000))
    assert ten == pytest.approx(10 * one, rel=0.05)
    assert predict_solver(DEVICE, paths, 2, copies=10_000).bound != "chain"


def test_sampled_classes_stand_for_all() -> None:
    problem = make(Shape.even("", 12, 60, 16))
    sampled = predict_permutations(DEVICE, problem, SETTINGS, 1000, sampled=4)
    every = predict_permutations(DEVICE, problem, SETTINGS, 1000, sampled=12)
    assert sampled.seconds == pytest.approx(every.seconds, rel=0.5)
    assert sampled.work.bytes == pytest.approx(every.work.bytes)
    assert every.work.bytes == pytest.approx(12 * 4 * 60 * 60)
    assert drawing_seconds(problem) > 0


def test_programs_are_those_that_are_launched() -> None:
    for n in (1, 16, 17, 50, 256, 257, 1000, 3590, LARGEST_CLASS):
        launch = SolverLaunch.choose(n)
        program = PROGRAMS[block_of(n)]
        assert (block_of(n), program.warps, program.rows) == (launch.block, launch.num_warps, launch.rows)
    assert programs_an_sm(DEVICE, PROGRAMS[256]) == 12
    assert programs_an_sm(DEVICE, PROGRAMS[8192]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("block", [64, 256])
def test_instructions_and_registers_are_those_that_the_assembler_makes(block: int, tmp_path: File) -> None:
    """Within a fifth: another Triton may order them otherwise; a kernel that was rewritten has to be read again."""
    launch = SolverLaunch.choose(block)
    constexprs = {"FUSED": True, "BLOCK": launch.block, "ROWS": launch.rows}
    signature = SHARED | OF_CROSS_VALIDATION
    usage = compile_for(cross_validate_kernel, signature, constexprs, 90, launch.num_warps)
    assert usage.registers == pytest.approx(PROGRAMS[block].registers, rel=0.2)
    step, turn = loops_of(signature, constexprs, launch.num_warps, tmp_path / "kernel.cubin")
    assert step == pytest.approx(PROGRAMS[block].step, rel=0.2)
    assert turn == pytest.approx(PROGRAMS[block].turn, rel=0.2)


def loops_of(signature: dict[str, str], constexprs: dict[str, Any], num_warps: int, cubin: File) -> tuple[int, int]:
    """Instructions of a step (the shortest loop that shuffles, divides and loads) and of a product's turn (the longest
    that adds in float64 and does not shuffle)."""
    types = {n: "constexpr" if n in constexprs else signature[n] for n in cross_validate_kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind.startswith("*")}
    source = ASTSource(cross_validate_kernel, types, constexprs, aligned)
    options = {"num_warps": num_warps, "num_stages": 3, "enable_fp_fusion": True}
    cubin.write_bytes(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"])
    cuobjdump = triton.knobs.nvidia.cuobjdump.path
    listing = subprocess.run([cuobjdump, "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    line = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)(.*?);", re.MULTILINE)
    code = [(int(address, 16), name, rest) for address, name, rest in line.findall(listing)]
    index = {address: i for i, (address, _, _) in enumerate(code)}
    steps, turns = [], []
    for i, (address, name, rest) in enumerate(code):
        target = re.search(r"0x([0-9a-f]+)", rest)
        if not name.startswith("BRA") or target is None or int(target[1], 16) >= address:
            continue
        inside = [other for _, other, _ in code[index[int(target[1], 16)] : i + 1]]
        shuffles, divides = (any(other.startswith(kind) for other in inside) for kind in ("SHFL", "MUFU"))
        loads = sum(other.startswith("LDG") for other in inside)
        if shuffles and divides and loads > 3:
            steps.append(len(inside))
        elif not shuffles and any(other.startswith("DADD") for other in inside):
            turns.append(len(inside))
    return min(steps), max(turns)
