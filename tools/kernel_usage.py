"""Compile every Triton kernel for each architecture, without a device, and print what its own assembler says of it.

``python -m tools.kernel_usage`` prints registers, spills and shared memory as the installed Triton compiles them. For
another Triton, put it first: ``pip install --target /tmp/triton 'triton==3.5.*' --no-deps``, then
``PYTHONPATH=/tmp/triton python -m tools.kernel_usage``. Under ``TRITON_INTERPRET=1`` nothing is compiled.
"""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from fdgpu.kernels import gram_triton, libsvm_triton
from fdgpu.kernels.gram_triton import gram_kernel, precision_of
from fdgpu.kernels.smo_triton import SolverLaunch, cross_validate_kernel, fit_kernel

ARCHITECTURES = (70, 75, 80, 90, 100)  # V100, T4, A100, H100, B200
# Shared memory that one program may ask for, in bytes (CUDA C++ programming guide, compute capabilities)
SHARED_LIMITS = {70: 98_304, 75: 65_536, 80: 166_912, 90: 232_448, 100: 232_448}
SIZES = (16, 256, 512, 1024, 2048, 4096, 8192)  # samples of a class: one for each launch that differs

SOLVER = {
    "grams_ptr": "*fp32", "diagonal_ptr": "*fp32", "gram_starts_ptr": "*i64", "starts_ptr": "*i64",
    "classes_ptr": "*i32", "labels_ptr": "*i8", "costs_ptr": "*fp32", "a_ptr": "*fp32", "violation_ptr": "*fp32",
    "n_samples": "i32", "n_classes": "i32", "n_labellings": "i32", "tol": "fp32", "max_iter": "i32",
}  # fmt: skip
CROSS_VALIDATION = SOLVER | {"folds_ptr": "*i8", "hits_ptr": "*i32", "cv": "i32", "n_costs": "i32"}
FITS = SOLVER | {"C_index_ptr": "*i32", "decisions_ptr": "*fp32", "intercept_ptr": "*fp32", "n_iter_ptr": "*i32"}
# of the published code's steps: everything but the Gram matrices in float64
LIBSVM = {name: kind for name, kind in SOLVER.items() if name not in ("costs_ptr", "tol")} | {
    "limits_ptr": "*fp64", "diagonal_ptr": "*fp64", "a_ptr": "*fp64", "violation_ptr": "*fp64",
}  # fmt: skip
LIBSVM_CROSS_VALIDATION = LIBSVM | {
    "folds_ptr": "*i8", "hits_ptr": "*i32", "held_ptr": "*i32", "cv": "i32", "n_costs": "i32",
}  # fmt: skip
LIBSVM_FITS = LIBSVM | {
    "C_index_ptr": "*i32", "decisions_ptr": "*fp64", "intercept_ptr": "*fp64", "n_iter_ptr": "*i32",
}  # fmt: skip
GRAMS = {
    "grams_ptr": "*fp32", "tiles_ptr": "*i32", "starts_ptr": "*i64", "sizes_ptr": "*i32", "gram_starts_ptr": "*i64",
    "d": "i32:16",
}  # fmt: skip
POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


@dataclass(frozen=True)
class Usage:
    """What one program of a compiled kernel takes."""

    registers: int  # a thread
    spill_bytes: int  # local memory stored to and loaded from because registers ran out, a thread
    shared_bytes: int  # a program


@dataclass(frozen=True)
class Program:
    """A kernel as one of its launches compiles it.

    - ``fn``: a ``triton.jit`` function, decorated without ``TRITON_INTERPRET``.
    - ``of``: what is computed, in words.
    - ``signature``: type of each argument that is no constexpr: ``"*fp32"``, ``"i32"``, ``"fp32"``. Pointers are taken
      as aligned to 16 bytes, as torch's are; ``"i32:16"`` says the same of an integer, as Triton finds at a launch.
    - ``constexprs``: value of each constexpr.
    - ``options``: of the compiler, as ``num_warps``.
    """

    fn: Any
    of: str
    signature: dict[str, str]
    constexprs: dict[str, Any]
    options: dict[str, Any]

    def compile_for(self, cc: int) -> Usage:
        """Compile for the compute capability ``cc`` (70 is sm_70)."""
        compiled = _compile(self, cc)
        registers, spilled = _assemble(compiled.asm["ptx"], cc)
        return Usage(registers, spilled, int(compiled.metadata.shared))

    def ptx(self, cc: int) -> str:
        """Return the instructions for the compute capability ``cc``."""
        return str(_compile(self, cc).asm["ptx"])


def solver_programs(n: int) -> list[Program]:
    """Return both of the solver's kernels, as they are launched for a class of ``n`` samples."""
    options: dict[str, Any] = dict(SolverLaunch.choose(n).options)
    constexprs = {name: options.pop(name) for name in ("FUSED", "BLOCK", "ROWS")}
    return [
        Program(kernel, f"{n} samples", signature, constexprs, options)
        for kernel, signature in ((cross_validate_kernel, CROSS_VALIDATION), (fit_kernel, FITS))
    ]


def libsvm_programs(n: int) -> list[Program]:
    """Return both kernels of the published code's steps, as they are launched for a class of ``n`` samples."""
    launch = SolverLaunch.choose(n)
    kernels = (
        (libsvm_triton.cross_validate_kernel, LIBSVM_CROSS_VALIDATION),
        (libsvm_triton.fit_kernel, LIBSVM_FITS),
    )
    return [
        Program(
            kernel, f"{n} samples", signature, {"BLOCK": launch.block},
            {"num_warps": launch.num_warps, "enable_fp_fusion": False},
        )
        for kernel, signature in kernels
    ]  # fmt: skip


def gram_program(dtype: torch.dtype, cc: int) -> Program:
    """Return the kernel of the Gram matrices for rows of ``dtype`` on a device of ``cc``."""
    precision, widen = precision_of(dtype, cc)
    blocks = {"BLOCK": gram_triton.BLOCK, "BLOCK_D": gram_triton.BLOCK_D}
    return Program(
        gram_kernel,
        str(dtype).removeprefix("torch."),
        GRAMS | {"x_ptr": POINTERS[dtype]},
        {"PRECISION": precision, "WIDEN": widen, **blocks},
        {"num_warps": gram_triton.WARPS, "num_stages": gram_triton.STAGES},
    )


def narrow_products(program: Program) -> set[frozenset[str]]:
    """Return the factors of every product that a kernel computes in 32 bits, which a flat index must not be.

    A factor is the name of a variable, a constant's value as ``"64"``, or ``"?"``.
    """
    ir = _compile(program, cc=80).asm["ttir"]
    products = re.findall(r"= arith\.muli (%\S+), (%\S+?)(?: overflow<\w+>)? : (?:tensor<[\dx]+)?i32\b", ir)
    return {frozenset(_factor(value) for value in factors) for factors in products}


def _factor(value: str) -> str:
    constant = re.fullmatch(r"%c(\d+)_i32(?:_\d+)?", value)
    name = re.fullmatch(r"%([a-z]\w*?)(?:_\d+)?", value)
    return constant[1] if constant else name[1] if name else "?"


def _compile(program: Program, cc: int) -> Any:
    """Compile; fused multiply-adds are asked for by name, as the launchers do, since Triton's default will change."""
    fn, signature, constexprs = program.fn, program.signature, program.constexprs
    given = signature.keys() | constexprs.keys()
    if given != set(fn.arg_names):
        raise ValueError(f"{fn.__name__} takes {fn.arg_names}, signature and constexprs name {sorted(given)}")
    types = {name: "constexpr" if name in constexprs else signature[name] for name in fn.arg_names}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, kind in enumerate(types.values())
        if kind.startswith("*") or kind.endswith(":16")
    }
    source = ASTSource(fn, {name: kind.removesuffix(":16") for name, kind in types.items()}, constexprs, aligned)
    options = {"enable_fp_fusion": True} | program.options
    return triton.compile(source, target=GPUTarget("cuda", cc, 32), options=options)


def _assemble(ptx: str, cc: int) -> tuple[int, int]:
    """Return registers a thread and bytes spilled, as ptxas reports them."""
    target = re.search(r"^\.target\s+(sm_\w+)", ptx, re.MULTILINE)
    if target is None:
        raise ValueError("the PTX has no .target line")
    # Triton's own choice of assembler and level, so that the registers are those of a launch; ptxas reads files only
    command = [_ptxas(cc), "-v", "--regAllocOptLevel=2", f"--gpu-name={target[1]}", "/dev/stdin", "-o", "/dev/null"]
    done = subprocess.run(command, input=ptx, capture_output=True, text=True, check=False)  # noqa: S603 - Triton's own
    log = done.stderr + done.stdout
    if done.returncode:
        raise RuntimeError(f"ptxas does not assemble the PTX for {target[1]}:\n{log}")
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log)]
    if not registers or not spills:
        raise RuntimeError(f"ptxas reports neither registers nor spills; its output:\n{log}")
    return max(registers), sum(spills)


def _ptxas(cc: int) -> str:
    takes_capability = inspect.signature(
        get_ptxas
    ).parameters  # as Triton has two from 3.6 on, one of them for Blackwell
    return str((get_ptxas(cc) if takes_capability else get_ptxas()).path)


def table(architectures: tuple[int, ...] = ARCHITECTURES, sizes: tuple[int, ...] = SIZES) -> Iterator[str]:
    """Yield the lines of a markdown table, a program each as it is compiled: registers / bytes spilled / shared."""
    yield f"| Triton {triton.__version__} | " + " | ".join(f"sm_{cc}" for cc in architectures) + " |"
    yield "|---" * (1 + len(architectures)) + "|"
    rows = [[program] * len(architectures) for n in sizes for program in solver_programs(n)]
    rows += [[gram_program(dtype, cc) for cc in architectures] for dtype in POINTERS]
    for programs in rows:
        used = [program.compile_for(cc) for program, cc in zip(programs, architectures, strict=True)]
        cells = [f"{one.registers} / {one.spill_bytes} / {one.shared_bytes}" for one in used]
        yield f"| `{programs[0].fn.__name__}`, {programs[0].of} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="samples of a class")
    parser.add_argument("--architectures", type=int, nargs="+", default=ARCHITECTURES, help="75 for sm_75")
    asked = parser.parse_args()
    for line in table(tuple(asked.architectures), tuple(asked.sizes)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
