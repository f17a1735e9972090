"""README and docs say what is true: README's code runs, names are there, links lead somewhere."""

from __future__ import annotations

import ast
import re
import sqlite3
from contextlib import closing
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest

import fdgpu
import fdgpu.repair
from tests.embedding.greys import encoded, seen

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MOST_WORDS = 1500  # of README
CLASSES = {  # of the documents' own variables; a class has the methods of its instances
    "fd": fdgpu.FailureDirections,
    "clip": fdgpu.ClipEmbedder,
    "index": fdgpu.CaptionIndex,
    "decoder": fdgpu.Decoder,
}


def blocks(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def nodes(kind: type[Any]) -> list[Any]:
    trees = [
        ast.parse(block) for document in ("README.md", "docs/api.md", "docs/sources.md") for block in blocks(document)
    ]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kind)]


def names() -> dict[str, Any]:
    """What the documents' imports bind, and the classes of their variables."""
    bound: dict[str, Any] = {}
    for node in nodes(ast.Import) + nodes(ast.ImportFrom):
        exec(compile(ast.Module([node], []), "documents", "exec"), bound)  # noqa: S102  our own lines
    return {**bound, **CLASSES}


def resolved(node: ast.expr, bound: dict[str, Any]) -> Any:
    """The object that a dotted name stands for; None for the documents' variables, and for results of calls."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = resolved(node.value, bound)
    if owner is None or node.attr.endswith("_"):  # what fit leaves is not there before it
        return None
    assert hasattr(owner, node.attr), f"a document asks {ast.unparse(node.value)} for {node.attr}"
    return getattr(owner, node.attr)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_readmes_code_runs(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bundled = fdgpu.ClipEmbedder.bundled("cpu")  # for weights that would have to be fetched
    bundled.doubts = ()  # README's way leaves no other
    monkeypatch.setattr(fdgpu, "ClipEmbedder", lambda model, pretrained: bundled)  # noqa: ARG005
    monkeypatch.chdir(photos)
    (block,) = blocks("README.md")
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  our own lines
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["cat", "dog"]
    assert (photos / "report" / "report.html").is_file()


def test_the_source_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("photos.db")) as rows, rows:
        rows.execute("CREATE TABLE photos (name TEXT, image BLOB, label TEXT, split TEXT)")
        rows.executemany("INSERT INTO photos VALUES (?, ?, 'cat', 'val')", [(f"{i}.png", encoded(i)) for i in (60, 10)])
    variables = {"clip": fdgpu.ClipEmbedder.bundled("cpu")}
    exec(compile(blocks("docs/sources.md")[-1], "sources.md", "exec"), variables)  # noqa: S102  our own lines
    assert variables["embeddings"].shape[0] == 2
    assert seen(variables["Database"]("photos.db")) == [("10.png", 10, "cat", "val"), ("60.png", 60, "cat", "val")]


def test_every_name_is_there_and_takes_the_arguments_that_it_is_given() -> None:
    bound = names()
    checked = 0
    for call in nodes(ast.Call):
        function = resolved(call.func, bound)
        if function is None:
            continue
        parameters = signature(function).parameters
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert {keyword.arg for keyword in call.keywords} <= set(parameters), ast.unparse(call)
        checked += 1
    assert checked >= 30


@pytest.mark.parametrize("attribute", [node.attr for node in nodes(ast.Attribute) if node.attr.endswith("_")])
def test_what_fit_leaves_is_documented(attribute: str) -> None:
    documented = f"{fdgpu.FailureDirections.__doc__}{fdgpu.ClipEmbedder.__doc__}"
    assert re.search(rf"\b{attribute}\b", documented)


@pytest.mark.parametrize("name", sorted({*fdgpu.__all__, *fdgpu.repair.__all__} - {"__version__"}))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:fdgpu|kernels|benchmarks|tests|tools|docs)/[\w./]+)`", text):
        assert (ROOT / path).exists(), f"{document.name} names {path}"
