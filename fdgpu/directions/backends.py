"""The solver's backends by name. Those that need a GPU are only imported when they run."""

from __future__ import annotations

from fdgpu.directions.batch import Backend
from fdgpu.directions.numba_backend import NumbaBackend


def backend_named(name: str) -> Backend:
    """Return a backend that :func:`fdgpu.device.choose_backend` has found able to run."""
    if name == "triton":
        from fdgpu.directions.triton_backend import TritonBackend

        return TritonBackend()
    if name == "cuml":
        from fdgpu.directions.cuml_backend import CumlBackend

        return CumlBackend()
    return NumbaBackend()
