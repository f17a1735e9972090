"""Hold one kernel to its reference, twice: Triton's interpreter on the CPU, and a CUDA device.

``triton.jit`` decides between the compiler and the interpreter when a kernel is decorated, that is when its module is
imported: one process can compile a kernel or interpret it, not both. A test file therefore has two kinds of tests:

- compile tests and everything else run in the ordinary session, where kernels are compiled;
- comparisons carry :data:`comparison` and put their tensors on :data:`DEVICE`. ``pytest -m gpu`` runs them on a device.
  In the ordinary session they are skipped where there is none, and one test of the file runs them all in a child whose
  kernels are interpreted::

      @comparison
      @pytest.mark.parametrize("n", [1, 63])
      def test_it_agrees_with_float64(n: int) -> None:
          x = torch.randn(n, device=DEVICE)
          ...

      @pytest.mark.slow
      def test_the_comparisons_hold_in_the_interpreter() -> None:
          compare_in_the_interpreter(__file__)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"  # where a comparison's tensors live
ROOT = Path(__file__).parents[2]


def comparison(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test of a kernel's numbers: it runs on a device, and in the interpreter's child, and nowhere else."""
    absent = not INTERPRETED and not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(absent, reason="no CUDA device; runs in the interpreter instead")(test))


def compare_in_the_interpreter(file: str, timeout: float = 600.0) -> None:
    """Run the comparisons of ``file`` in a child process whose kernels are interpreted; fail with its output.

    A file whose comparisons were all skipped or lost fails too, so that an empty run cannot pass.
    """
    command = [sys.executable, "-m", "pytest", file, "-m", "gpu", "-q", "-p", "no:cacheprovider", "--color=no"]
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    env.pop("PYTEST_ADDOPTS", None)  # a filter meant for this session is not the child's
    child = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    last = child.stdout.strip().rpartition("\n")[2]
    if child.returncode or " passed" not in last or "skipped" in last:
        pytest.fail(
            f"{' '.join(command)} ended with {child.returncode}:\n{child.stdout}\n{child.stderr}", pytrace=False
        )
