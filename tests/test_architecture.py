"""The one-way flow, read from the imports: a stage knows the foundation and itself, only the top knows the stages."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

import fdgpu

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fdgpu"
AUDITED = {"embedding", "directions", "captions", "decoding", "report"}  # the stages that an audit goes through
STAGES = AUDITED | {"index", "repair", "store"}
FOUNDATION = {
    "arrays", "cgroups", "checks", "cluster", "cuda", "described", "device", "errors", "extras", "files",
    "findings", "fingerprint", "folders", "networks", "progress", "rows", "version",
}  # fmt: skip
MOVED = {"interventions": "fdgpu.repair", "training": "fdgpu.repair", "baselines": "benchmarks.baselines"}
BELOW = FOUNDATION | {"kernels"}
ALLOWED = {
    **dict.fromkeys(FOUNDATION, BELOW),
    **{stage: BELOW | {stage} for stage in STAGES},
    "kernels": {"kernels"},
    "index": BELOW | {"captions", "index"},
    "store": BELOW | {"embedding", "store"},
    **{part: set() for part in MOVED},
    "plotting": BELOW | {"report"},
    "auditing": BELOW | STAGES | {"auditing", "plotting"},
    "demo": BELOW | STAGES | {"auditing", "demo"},
    "doctor": BELOW | {"embedding"},  # which decodes images, and by what
    "__main__": {"cli"},
    "options": BELOW | {"auditing"},
    "answering": BELOW,
    "after_audits": BELOW | STAGES | {"answering", "auditing", "options"},
    "cli": BELOW | STAGES | {"after_audits", "answering", "auditing", "demo", "doctor", "options"},
}
# Calls that would wait for a device, and why these here never do: ``to_host`` is the only way down. What no reading of
# the source tells, such as the truth of a tensor, raises under tests/pretend_cuda.py.
WAITING_METHODS, WAITING_FUNCTIONS = {"cpu", "item", "nonzero", "numpy", "unique"}, {"equal", "allclose", "bincount"}
ON_THE_HOST = {
    ("arrays", "cpu"): "the way down",
    ("arrays", "numpy"): "the way down",
    ("auditing.drawing", "numpy"): "pictures that to_host brought, for PNG files",
    ("auditing.after.exporting", "numpy"): "vectors of a store, read on the host",
    ("fingerprint", "item"): "a number of NumPy's",
    ("decoding.synthetic", "numpy"): "pictures of a painter, for PNG files",
    ("demo.world", "cpu"): "pictures of the world, which are rendered batch by batch, before any audit",
    ("demo.world", "nonzero"): "a scene and the splits, on the host",
    ("demo.world", "unique"): "a scene and the splits, on the host",
    ("demo.run", "numpy"): "the world, on the host",
    ("directions.labellings", "numpy"): "groups, for the solver on the CPU",
    ("directions.numba_backend", "numpy"): "the solver on the CPU",
    ("directions.whitening", "numpy"): "rows on the CPU, for compiled loops",
    ("embedding.embedder", "numpy"): "pictures on the CPU, to be hashed",
    ("embedding.loading", "numpy"): "a picture of a file, for a transform of PIL images",
    ("index.stores", "nonzero"): "what to_host brought",
    ("index.vector_index", "numpy"): "ids of positions that NumPy has",
    ("kernels.draws", "numpy"): "the compiled twin, for the CPU",
    ("kernels.folds", "numpy"): "the compiled twin, for the CPU",
    ("kernels.hidden_classes_numba", "numpy"): "the compiled twin, for the CPU",
    ("kernels.proximal_newton", "nonzero"): "indices of a mask on the CPU",
    ("store.embedding_store", "numpy"): "memory on the host, into which shards are read",
}
INSIDE = ("after", "columns")  # of auditing
FILES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "kernels"))
FILES += sorted((PACKAGE / "kernels").glob("*.py"))  # a link, which rglob may follow or not


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    """Modules, and what is taken from them, as in "fdgpu.files" and "fdgpu.files.write_atomically"."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: name the module in full"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_parts(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported_names(path) if name.startswith("fdgpu.")}
    return names & set(ALLOWED) if path == PACKAGE / "__init__.py" else names


WITHOUT_ROOT = [path for path in FILES if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", WITHOUT_ROOT, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    assert part_of(path) in ALLOWED, "a new part of the package: say in ALLOWED what it may know"
    assert imported_parts(path) <= ALLOWED[part_of(path)]


def test_the_walk_sees_the_package() -> None:
    assert {part_of(path) for path in WITHOUT_ROOT} >= STAGES | {"auditing", "demo", "cli", "kernels"}
    walk = ("pipeline", "captioning", "result")
    assert set().union(*(imported_parts(PACKAGE / "auditing" / f"{name}.py") for name in walk)) >= AUDITED
    assert "fdgpu.files" in imported_names(PACKAGE / "demo" / "run.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_package_imports_nothing_of_the_repository_but_itself(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported_names(path)} & {"benchmarks", "tools", "tests"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda path: path.name)
def test_a_kernel_needs_nothing_but_arrays_and_compilers(path: Path) -> None:
    outside = {name.split(".")[0] for name in imported_names(path)} - sys.stdlib_module_names
    assert outside <= {"numpy", "torch", "triton", "numba", "fdgpu"}


def test_an_audit_knows_neither_what_comes_after_it_nor_its_columns_what_reads_them() -> None:
    for path in (PACKAGE / "auditing").rglob("*.py"):
        if path != PACKAGE / "auditing" / "__init__.py":
            names = {name for name in imported_names(path) if name.startswith("fdgpu.auditing.")}
            after, columns = ({name for name in names if name.startswith(f"fdgpu.auditing.{part}")} for part in INSIDE)
            assert path.parent.name == "after" or not after, path
            assert path.parent.name != "columns" or names == columns, path


def waits(tree: ast.AST) -> set[str]:
    """Names of the calls that wait where a tensor is on a device; NumPy's functions of the same names are not meant."""
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute):
            continue
        owner, name = call.func.value, call.func.attr
        of_torch = isinstance(owner, ast.Name) and owner.id == "torch"
        of_numpy = isinstance(owner, ast.Name) and owner.id == "np"
        to_cpu = name == "to" and "cpu" in [one.value for one in call.args if isinstance(one, ast.Constant)]
        if (name in WAITING_METHODS and not of_numpy) or (of_torch and name in WAITING_FUNCTIONS) or to_cpu:
            found.add("cpu" if to_cpu else name)
    return found


def test_what_waits_for_a_device_is_seen() -> None:
    lines = "x.cpu(); x.to('cpu'); a.b[0].item(); torch.equal(x, y); np.unique(z); x.to(device); np.equal(x, y)"
    assert waits(ast.parse(lines)) == {"cpu", "item", "equal"}


def test_to_host_is_the_only_way_down_from_a_device() -> None:
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in FILES}
    found = {(name, call) for name, path in files.items() for call in waits(ast.parse(path.read_text()))}
    assert found - set(ON_THE_HOST) == set(), "bring it down by fdgpu.arrays.to_host, or say why it is on the host"
    assert set(ON_THE_HOST) - found == set(), "nothing there needs a reason any longer: take the line out"


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that reach one another."""

    def reached(start: str) -> set[str]:
        seen, ahead = set(), [start]
        while ahead:
            for after in edges[ahead.pop()] - seen:
                seen.add(after)
                ahead.append(after)
        return seen

    far = {module: reached(module) for module in edges}
    groups = {frozenset({module} | {b for b in far[module] if module in far[b]}) for module in edges}
    return [set(group) for group in groups if len(group) > 1]


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) == [{"b", "c"}]


def test_no_module_lies_on_an_import_circle() -> None:
    """Neither with another, nor through a package's ``__init__``: what is needed comes from where it is defined."""
    modules = {module_of(path): path for path in FILES}
    edges = {module: imported_names(path) & set(modules) - {module} for module, path in modules.items()}
    assert circles(edges) == []


def test_import_does_no_work() -> None:
    code = "import sys, fdgpu; print([m for m in ('torch', 'numba', 'open_clip', 'pyarrow') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_repairs_loads_no_networks_and_no_solver() -> None:
    heavy = ("torchvision.models", "numba", "open_clip", "pyarrow", "diffusers", "sklearn")
    code = f"import sys, fdgpu.repair; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_are_there_in_any_order() -> None:
    code = (
        "import fdgpu; fdgpu.AuditResult; assert callable(fdgpu.audit); "
        "assert all(hasattr(fdgpu, name) for name in fdgpu.__all__); "
        "import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_type_checkers_see_the_public_names_where_they_are_imported_from() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (seen,) = [node.body for node in tree.body if isinstance(node, ast.If)]
    shown = {alias.asname: node.module for node in seen if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert shown == fdgpu._HOME


@pytest.mark.parametrize(("module", "home"), MOVED.items())
def test_an_import_path_of_before_names_the_new_one(module: str, home: str) -> None:
    with pytest.raises(ImportError, match=home):
        __import__(f"fdgpu.{module}")


def test_no_file_of_the_package_holds_a_pickle() -> None:
    for path in FILES:
        text = path.read_text()
        for harmless in ("never a pickle", "Never a pickle", "from pickle import UnpicklingError"):
            text = text.replace(harmless, "")
        assert "pickle" not in text


def packages() -> Iterator[str]:
    for path in ROOT.glob("*/__init__.py"):
        yield path.parent.name


def test_benchmarks_tools_and_tests_are_not_in_the_wheel() -> None:
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {"fdgpu", "benchmarks", "tools", "tests"} <= set(packages())
    assert {name for name in packages() if any(fnmatch(name, pattern) for pattern in chosen)} == {"fdgpu"}


def test_the_bundled_data_are_small() -> None:
    """The wheel's limit is 28 MB; photographs and weights hardly shrink in it."""
    data = [path for path in PACKAGE.rglob("*") if path.suffix in {".png", ".safetensors"}]
    assert sum(path.stat().st_size for path in data) <= 29.5e6
