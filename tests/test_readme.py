"""README's code names what there is: its imports run, and what it asks of fdgpu and of what fdgpu returns exists."""

from __future__ import annotations

import ast
import re
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest

import fdgpu

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = [ast.parse(block) for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)]
CLASSES = {  # of README's own variables; a class has the methods of its instances
    "fd": fdgpu.FailureDirections,
    "clip": fdgpu.ClipEmbedder,
    "index": fdgpu.CaptionIndex,
    "decoder": fdgpu.Decoder,
}


def nodes(kind: type[Any]) -> list[Any]:
    return [node for block in BLOCKS for node in ast.walk(block) if isinstance(node, kind)]


def names() -> dict[str, Any]:
    """What README's imports bind, and its variables' classes."""
    bound: dict[str, Any] = {}
    for node in nodes(ast.Import) + nodes(ast.ImportFrom):
        exec(compile(ast.Module([node], []), "README.md", "exec"), bound)  # noqa: S102  our own lines
    return {**bound, **CLASSES}


def resolved(node: ast.expr, bound: dict[str, Any]) -> Any:
    """The object that a dotted name stands for; None for README's own variables, and for results of calls."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = resolved(node.value, bound)
    if owner is None or node.attr.endswith("_"):  # what fit leaves is not there before it
        return None
    assert hasattr(owner, node.attr), f"README asks {ast.unparse(node.value)} for {node.attr}"
    return getattr(owner, node.attr)


def test_readme_has_code() -> None:
    assert len(BLOCKS) >= 2
    assert {"fdgpu", "train", "Examples"} <= set(names())


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
