"""Compile Triton kernels without a device, and read off what each architecture's own assembler says of them.

A kernel is compiled only where it was decorated by ``triton.jit`` outside the interpreter: these tests run in the
ordinary session, the comparisons with the references in a child (:mod:`tests.kernels.interpreting`).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

ARCHITECTURES = (70, 75, 80, 90, 100)  # V100, T4, A100, H100, B200
# Shared memory that one program may ask for, in bytes (CUDA C++ programming guide, compute capabilities)
SHARED_LIMITS = {70: 98_304, 75: 65_536, 80: 166_912, 90: 232_448, 100: 232_448}


@dataclass(frozen=True)
class Usage:
    """What one program of a compiled kernel takes."""

    registers: int  # a thread
    spill_bytes: int  # local memory stored to and loaded from because registers ran out, a thread
    shared_bytes: int  # a program


def compile_for(
    fn: Any, signature: dict[str, str], constexprs: dict[str, Any], cc: int, num_warps: int, num_stages: int = 3
) -> Usage:
    """Compile ``fn`` for the compute capability ``cc`` (70 is sm_70) and return its :class:`Usage`.

    Fused multiply-adds are asked for by name, as the launchers do: left to the default, Triton 3.9 warns that the
    default will change.

    Args:
        fn: a ``triton.jit`` function, decorated without ``TRITON_INTERPRET``.
        signature: type of each argument that is no constexpr: ``"*fp32"``, ``"i32"``, ``"fp32"``. Pointers are taken as
            aligned to 16 bytes, as torch's are; ``"i32:16"`` says the same of an integer, as Triton finds at a launch.
        constexprs: value of each constexpr.
        cc: one of :data:`ARCHITECTURES`.
        num_warps: warps a program.
        num_stages: depth of the software pipeline.
    """
    compiled = _compile(fn, signature, constexprs, cc, num_warps, num_stages)
    registers, spilled = _assemble(compiled.asm["ptx"], cc)
    return Usage(registers, spilled, int(compiled.metadata.shared))


def narrow_products(fn: Any, signature: dict[str, str], constexprs: dict[str, Any]) -> set[frozenset[str]]:
    """Return the factors of every product that ``fn`` computes in 32 bits, which a flat index must not be.

    A factor is the name of a variable, a constant's value as ``"64"``, or ``"?"``; arguments as in :func:`compile_for`.
    """
    ir = _compile(fn, signature, constexprs, cc=80, num_warps=4, num_stages=3).asm["ttir"]
    products = re.findall(r"= arith\.muli (%\S+), (%\S+?)(?: overflow<\w+>)? : (?:tensor<[\dx]+)?i32\b", ir)
    return {frozenset(_factor(value) for value in factors) for factors in products}


def _factor(value: str) -> str:
    constant = re.fullmatch(r"%c(\d+)_i32(?:_\d+)?", value)
    name = re.fullmatch(r"%([a-z]\w*?)(?:_\d+)?", value)
    return constant[1] if constant else name[1] if name else "?"


def _compile(
    fn: Any, signature: dict[str, str], constexprs: dict[str, Any], cc: int, num_warps: int, num_stages: int
) -> Any:
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
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", cc, 32), options=options)


def _assemble(ptx: str, cc: int) -> tuple[int, int]:
    """Return registers a thread and bytes spilled, as ptxas reports them."""
    target = re.search(r"^\.target\s+(sm_\w+)", ptx, re.MULTILINE)
    if target is None:
        raise ValueError("the PTX has no .target line")
    # Triton's own choice of assembler and level, so that the registers are those of a launch; ptxas reads files only
    command = [
        get_ptxas(cc).path,
        "-v",
        "--regAllocOptLevel=2",
        f"--gpu-name={target[1]}",
        "/dev/stdin",
        "-o",
        "/dev/null",
    ]
    done = subprocess.run(command, input=ptx, capture_output=True, text=True, check=False)
    log = done.stderr + done.stdout
    if done.returncode:
        raise RuntimeError(f"ptxas does not assemble the PTX for {target[1]}:\n{log}")
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log)]
    if not registers or not spills:
        raise RuntimeError(f"ptxas reports neither registers nor spills; its output:\n{log}")
    return max(registers), sum(spills)
