r"""What an H100 would take for the kernels, from counted bytes, operations and steps: predicted, not measured.

Everything here is arithmetic on :class:`H100`, :data:`PROGRAMS` and the steps that the CPU solver took on the same
problems (:mod:`benchmarks.speed.steps`). A kernel takes the largest of what binds it:

- *memory* and *L2*: bytes over bandwidth. Rows of Gram matrices come from L2 if those of all problems that are resident
  fit there, and from memory otherwise.
- *issue*: instructions of all warps over what 132 SMs issue, four warps' a cycle each.
- *latency*: the time of all problems, each by itself, over the problems that are resident together.
- *chain*: the slowest problem by itself, whose steps wait for each other.

A step by itself waits for two rows of the Gram matrix, one after the other, for two reductions, and for its
instructions, of which a warp issues one a cycle:

.. math:: t = 2 \, t_{row} + 2 \, t_{reduction} + \text{instructions} \cdot \max(1, \text{warps} / 4),

a reduction in a warp is five levels of shuffle and combination; across warps it adds a store to and a load from shared
memory, two barriers, and a level for each doubling of warps. What the model leaves out makes it optimistic: loads that
queue behind each other, bank conflicts, the tail of a launch, a second fresh product at the same C.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log2

from benchmarks.speed.counts import Work, gram_work_triton, solver_work_triton
from benchmarks.speed.steps import Path


@dataclass(frozen=True)
class H100:
    """An H100 SXM. Every figure is someone else's or an estimate; none was measured by this project.

    - ``sms``, ``registers``, ``warps``, ``programs`` of an SM, ``l2_bytes``: NVIDIA, Hopper tuning guide and H100
      architecture white paper.
    - ``memory`` 3.35 TB/s: NVIDIA, H100 data sheet; a copy reaches about nine tenths of it.
    - ``l2`` 5.5 TB/s: between the 6.65 of reads within a partition that OpenXLA's cost model for GPUs takes as
      measured, and the 3.6 of reads and writes of one public study of the SXM part at 1.98 GHz.
    - ``clock`` 1.755 GHz: the PCIe part's highest; the SXM part reaches 1.98, and clocks down under load.
    - ``l2_latency`` 291, ``memory_latency`` 700 cycles: pointer chasing on the SXM part, in latency/README.md of
      github.com/markdewing/AI_kernels; the study above has 260 and 570.
    - ``shared_latency`` 29 cycles: the same study.
    - ``shuffle`` 25 cycles, ``combine`` 15 (three to four dependent comparisons and selections), ``barrier`` 30 and
      ``launch_s`` 5 us a kernel: estimates.
    - ``tf32`` 494.7 TFLOP/s without sparsity: NVIDIA, H100 data sheet.
    """

    sms: int = 132
    registers: int = 65_536
    warps: int = 64
    programs: int = 32
    l2_bytes: float = 50e6
    memory: float = 3.35e12
    l2: float = 5.5e12
    clock: float = 1.755e9
    l2_latency: float = 291
    memory_latency: float = 700
    shared_latency: float = 29
    shuffle: float = 25
    combine: float = 15
    barrier: float = 30
    tf32: float = 494.7e12
    launch_s: float = 5e-6
    name: str = "H100"


@dataclass(frozen=True)
class Program:
    """What a compiled program of the solver is: its warps, and for one warp the instructions and registers it takes."""

    warps: int
    rows: int  # of the Gram matrix that one turn of a fresh product reads
    step: int  # instructions of a step
    turn: int  # instructions of a turn of a fresh product
    registers: int  # a thread


# cross_validate_kernel by block size, compiled for sm_90 by Triton 3.8: instructions of the two loops in cuobjdump's
# listing, registers from ptxas. fit_kernel's differ by a few in a hundred.
PROGRAMS = {
    16: Program(1, 4, 151, 48, 64),
    32: Program(1, 4, 170, 48, 64),
    64: Program(1, 4, 227, 81, 64),
    128: Program(1, 4, 355, 123, 80),
    256: Program(1, 4, 628, 228, 158),
    512: Program(2, 4, 625, 225, 159),
    1024: Program(4, 4, 644, 225, 159),
    2048: Program(8, 4, 684, 243, 173),
    4096: Program(16, 2, 709, 128, 128),
    8192: Program(32, 2, 801, 130, 64),
}


@dataclass(frozen=True)
class Prediction:
    """Seconds, what binds them, and the work."""

    seconds: float
    bound: str
    work: Work


def bound_by(device: H100, work: Work, **bounds: float) -> Prediction:
    """Return the largest of ``bounds`` in seconds, and a launch."""
    name = max(bounds, key=lambda bound: bounds[bound])
    return Prediction(bounds[name] + device.launch_s, name, work)


def predict_stream(device: H100, work: Work) -> Prediction:
    """Predict a kernel that reads and writes memory once and computes little."""
    return bound_by(device, work, memory=work.bytes / device.memory, L2=work.requested_bytes / device.l2)


def predict_gram(device: H100, sizes: Sequence[int], d: int) -> Prediction:
    """Predict the Gram kernel as it is launched on sm_90: three TF32 products for one."""
    from fdgpu.kernels.gram_triton import BLOCK, BLOCK_D

    work = gram_work_triton(sizes, d, BLOCK, BLOCK_D, products=3)
    tensor_cores = work.operations / device.tf32
    return bound_by(
        device,
        work,
        memory=work.bytes / device.memory,
        L2=work.requested_bytes / device.l2,
        **{"tensor cores": tensor_cores},
    )


def predict_solver(device: H100, paths: Iterable[Path], problems_a_class: int, copies: int = 1) -> Prediction:
    """Predict a solver's launches, one a block size and one after another.

    Args:
        device: the constants.
        paths: the problems.
        problems_a_class: how many of them, copies included, share a Gram matrix.
        copies: how many problems each of ``paths`` stands for.
    """
    by_block: dict[int, list[Path]] = {}
    for path in paths:
        by_block.setdefault(block_of(path.n), []).append(path)
    launches = [
        _predict_launch(device, PROGRAMS[block], group, problems_a_class, copies) for block, group in by_block.items()
    ]
    longest = max(launches, key=lambda launch: launch.seconds)
    work = sum((launch.work for launch in launches), Work())
    return Prediction(sum(launch.seconds for launch in launches), longest.bound, work)


def block_of(n: int) -> int:
    """Return the block size of a class of ``n`` samples."""
    return max(16, 1 << (n - 1).bit_length())


def _predict_launch(
    device: H100, program: Program, paths: Sequence[Path], problems_a_class: int, copies: int
) -> Prediction:
    resident = device.sms * programs_an_sm(device, program)
    work = solver_work_triton(paths, problems_a_class).times(copies)
    # problems of a class are neighbours in the grid, so that resident ones belong to few classes
    classes = ceil(min(copies * len(paths), resident) / problems_a_class)
    in_l2 = classes * 4 * max(path.n for path in paths) ** 2 <= device.l2_bytes
    alone = [problem_cycles(device, program, path, in_l2) / device.clock for path in paths]
    instructions = sum(path.steps * program.step + turns(program, path) * program.turn for path in paths)
    return bound_by(
        device,
        work,
        memory=(work.bytes if in_l2 else work.requested_bytes) / device.memory,
        L2=work.requested_bytes / device.l2,
        issue=copies * instructions * program.warps / (4 * device.sms * device.clock),
        latency=copies * sum(alone) / resident,
        chain=max(alone),
    )


def programs_an_sm(device: H100, program: Program) -> int:
    """Return how many programs an SM holds at once: registers come to a warp 256 at a time."""
    of_warp = 256 * ceil(program.registers * 32 / 256)
    by_registers = device.registers // (of_warp * program.warps)
    return max(1, min(device.programs, device.warps // program.warps, by_registers))


def turns(program: Program, path: Path) -> int:
    """Return the turns of all fresh products of a problem: one product for the bounds, one a C that moved."""
    return (1 + path.moved) * ceil(path.n / program.rows)


def problem_cycles(device: H100, program: Program, path: Path, in_l2: bool) -> float:
    """Return what one problem takes by itself."""
    row = device.l2_latency if in_l2 else device.memory_latency
    crowd = max(1.0, program.warps / 4)
    step = 2 * row + 2 * reduction_cycles(device, program.warps) + program.step * crowd
    turn = row + program.turn * crowd
    return path.steps * step + turns(program, path) * turn


def reduction_cycles(device: H100, warps: int) -> float:
    """Return what a reduction over a program takes."""
    level = device.shuffle + device.combine
    across = 0.0 if warps == 1 else 2 * (device.shared_latency + device.barrier) + ceil(log2(warps)) * level
    return 5 * level + across
