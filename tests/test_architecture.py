"""The one-way flow, read from the imports: a stage knows the ground floor and itself, the roof knows the stages."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fdgpu"
AUDITED = {"embedding", "directions", "captions", "decoding", "report"}  # the stages that an audit goes through
STAGES = AUDITED | {"index", "repair"}
GROUND = {"arrays", "batches", "device", "errors", "extras", "files", "findings", "kernels", "networks", "progress", "version"}
MOVED = {"interventions", "training", "baselines"}  # each says where its names are now
ALLOWED = {
    **dict.fromkeys(GROUND, GROUND),
    **{stage: GROUND | {stage} for stage in STAGES},
    "index": GROUND | {"captions", "index"},
    **dict.fromkeys(MOVED, set()),
    "auditing": GROUND | STAGES | {"auditing"},
    "demo": GROUND | STAGES | {"auditing", "demo"},
    "doctor": GROUND,
    "cli": GROUND | STAGES | {"auditing", "demo", "doctor"},
}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "fdgpu":
                names = [f"fdgpu.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("fdgpu.")}
    return parts


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    assert part_of(path) in ALLOWED, "a new part of the package: say in ALLOWED what it may know"
    assert imported_parts(path) <= ALLOWED[part_of(path)]


def test_the_walk_sees_the_package() -> None:
    assert {part_of(path) for path in FILES} >= STAGES | {"auditing", "demo", "cli"}
    assert imported_parts(PACKAGE / "auditing" / "pipeline.py") >= AUDITED


def test_import_does_no_work() -> None:
    code = "import sys, fdgpu; print([m for m in ('torch', 'numba', 'open_clip', 'pyarrow') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_are_there_in_any_order() -> None:
    code = (
        "import fdgpu; fdgpu.AuditResult; assert callable(fdgpu.audit); "
        "assert all(hasattr(fdgpu, name) for name in fdgpu.__all__); "
        "import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_no_file_of_the_package_holds_a_pickle() -> None:
    for path in FILES:
        assert "pickle" not in path.read_text().replace("never a pickle", "").replace("Never a pickle", "")
