"""Everything that has to be measured on a device, in one run of at most eight minutes.

    python -m benchmarks.device --out results               # on a CUDA device
    python -m benchmarks.device --out results --memory 16   # as on a card of 16 GB
    python -m benchmarks.device --out results --cpu         # the same lines at sizes that say nothing: does it run?

The tests that need a device; the solver beside the authors' loop on all cores of the host; permutations; alignment
below copy bandwidth; caption and image encoding beside open_clip and below the rate of a matrix product; an audit of
the bundled world with every crossing to the host; an index beside an exact search; decoding beside diffusers; cuML.

Results are compared before anything is timed, and where they differ there is no ratio. A part that fails, hangs or
lacks a package becomes a line with the reason, and the others go on. ``device.md`` and ``device.json`` are written to
the folder from the first line on; nothing is written elsewhere but to the temporary folder.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.device.record import Record
from benchmarks.device.run import GB, PARTS, Setting, measure_parts
from benchmarks.device.sizes import FULL, SMALL
from benchmarks.machine import machine
from fdgpu.cuda import driver_version
from fdgpu.device import choose_backend
from fdgpu.errors import BackendError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what cannot run here ends with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of device.md and device.json")
    parser.add_argument("--cpu", action="store_true", help="try every line at small sizes, without a device")
    parser.add_argument("--memory", type=float, metavar="GB", help="cap torch's device memory, as on a smaller card")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--budget", type=float, default=480.0, metavar="S", help="seconds, after which parts are left out"
    )
    arguments = parser.parse_args(argv)
    if arguments.cpu and arguments.memory is not None:
        parser.error("--memory caps a device's memory: leave out --cpu")
    if arguments.budget <= 0 or (arguments.memory is not None and arguments.memory <= 0):
        parser.error("--budget and --memory have to be positive")
    if not arguments.cpu:
        try:
            choose_backend("triton")
        except BackendError as error:
            parser.error(f"{error}\nwithout a device: --cpu")
    return arguments


def about(argv: Sequence[str], cap_gb: float | None) -> dict[str, str]:
    """Return machine, device, driver, versions and commit, the date and the command."""
    told = machine()
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        told |= {
            "capability": f"sm_{properties.major}{properties.minor}",
            "device memory, GB": f"{properties.total_memory / GB:.4g}" + (f", capped at {cap_gb:g}" if cap_gb else ""),
            "driver": driver_version() or "unknown",
            "CUDA of torch": str(torch.version.cuda),
        }
    told["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    told["command"] = shlex.join(["python", "-m", "benchmarks.device", *argv])
    return told


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write, and print the table."""
    arguments = parse(argv)
    setting = Setting("cpu" if arguments.cpu else "cuda", SMALL if arguments.cpu else FULL, memory_gb=arguments.memory)
    record = Record(arguments.out, about(sys.argv[1:] if argv is None else argv, arguments.memory))
    measure_parts({part: PARTS[part] for part in arguments.parts}, setting, record, arguments.budget)
    print(record.markdown())


if __name__ == "__main__":
    main()
