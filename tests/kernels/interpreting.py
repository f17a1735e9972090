"""Hold one kernel to its reference, twice: Triton's interpreter on the CPU, and a CUDA device.

``triton.jit`` decides between the compiler and the interpreter when a kernel is decorated, that is when its module is
imported: one process can compile a kernel or interpret it, not both. A test file therefore has two kinds of tests:

- compile tests and everything else run in the ordinary session, where kernels are compiled;
- comparisons carry :data:`comparison` and put their tensors on :data:`DEVICE`. ``pytest -m gpu`` runs them on a device.
  In the ordinary session they are skipped where there is none, and ``test_in_the_interpreter.py`` runs those of all
  files in a child whose kernels are interpreted::

      @comparison
      @pytest.mark.parametrize("n", [1, 63])
      def test_it_agrees_with_float64(n: int) -> None:
          x = torch.randn(n, device=DEVICE)
          ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"  # where a comparison's tensors live


def comparison(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test of a kernel's numbers: it runs on a device, and in the interpreter's child, and nowhere else."""
    absent = not INTERPRETED and not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(absent, reason="no CUDA device; runs in the interpreter instead")(test))
