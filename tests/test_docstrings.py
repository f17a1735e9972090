"""Every public name has an example in its docstring, and examples give what they show."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
import fdgpu.auditing
import fdgpu.repair
import tools.pages
from fdgpu.auditing import AuditResult

PACKAGE = Path(fdgpu.__file__).parent
WITH_EXAMPLES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for file in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"^\s+>>> ", file.read_text("utf-8"), re.MULTILINE) and "kernels" not in file.parts
]
ELSEWHERE = (
    "fdgpu.cluster",
    "fdgpu.auditing.after.exporting",
)  # tests/test_cluster.py and tests/auditing/test_exporting.py


def public() -> Iterator[tuple[str, Any]]:
    """Public names with what they stand for; functions of the stages too, but not their records."""
    for package in ("fdgpu", "fdgpu.repair"):
        module = import_module(package)
        yield from ((f"{package}.{name}", getattr(module, name)) for name in module.__all__)
    for stage in ("auditing", "embedding", "captions", "index", "decoding", "directions", "store"):
        module = import_module(f"fdgpu.{stage}")
        named = ((f"fdgpu.{stage}.{name}", getattr(module, name)) for name in module.__all__)
        yield from ((name, one) for name, one in named if inspect.isfunction(one))


def docstrings(one: Any) -> list[str]:
    """The docstring of a function, or those of a class and its public methods."""
    methods = [getattr(one, name) for name in vars(one) if not name.startswith("_")] if inspect.isclass(one) else []
    return [inspect.getdoc(part) or "" for part in (one, *methods)]


@pytest.mark.parametrize(
    ("name", "one"), [pair for pair in public() if inspect.isclass(pair[1]) or inspect.isfunction(pair[1])]
)
def test_every_public_name_has_an_example(name: str, one: Any) -> None:
    assert any(">>> " in text for text in docstrings(one)), f"{name} has no example in its docstring"


@pytest.fixture(scope="module")
def audited() -> AuditResult:
    """Grey pictures, of which the model takes dark cats for dogs."""
    levels = np.arange(120) * 2
    labels = np.where(np.arange(120) % 2, "dog", "cat")
    wrong = (levels < 100) & (labels == "cat")
    clip = fdgpu.ClipEmbedder.bundled("cpu")
    clip.doubts = ()  # nobody reads captions of these
    return fdgpu.audit(
        np.repeat(levels.astype(np.uint8), 32 * 32 * 3).reshape(-1, 32, 32, 3),
        labels,
        np.where(wrong, "dog", labels),
        embedder=clip,
        grammar=fdgpu.CaptionGrammar("a photo of a {colour} {noun}", colour=[None, "dark", "bright"], noun=["cat"]),
    )


@pytest.mark.parametrize("module", [tools.pages, *(name for name in WITH_EXAMPLES if name not in ELSEWHERE)])
def test_an_example_gives_what_it_shows(module: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    module = import_module(module) if isinstance(module, str) else module
    known = {"fdgpu": fdgpu, "np": np, "torch": torch, "tmp_path": tmp_path}
    if "audited" in inspect.getsource(module):
        known["audited"] = request.getfixturevalue("audited")
    failed, attempted = doctest.testmod(module, extraglobs=known, optionflags=doctest.ELLIPSIS)
    assert attempted > 0
    assert failed == 0
