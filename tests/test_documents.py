"""README and docs say what is true: README's code runs, names are there, links lead somewhere."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil
from inspect import Parameter, isbuiltin, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import ResNet18_Weights, resnet18
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
from typer.testing import CliRunner

import fdgpu
import fdgpu.repair
from fdgpu.cli import app
from tools import pages

ROOT = Path(__file__).parents[1]
GALLERY = sorted((ROOT / "docs" / "gallery").glob("*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *GALLERY])
MOST_WORDS = 1500  # of README
IMAGENET = ResNet18_Weights.DEFAULT.meta["categories"]
KINDS = ("tabby", "Siberian husky")  # two of ImageNet's classes
CLASSES = {  # of the documents' own variables; a class has the methods of its instances
    "fd": fdgpu.FailureDirections,
    "clip": fdgpu.ClipEmbedder,
    "index": fdgpu.CaptionIndex,
    "decoder": fdgpu.Decoder,
}


def blocks(document: Path | str) -> list[str]:
    return [block.code for block in pages.blocks((ROOT / document).read_text(encoding="utf-8"))]


def nodes(kind: type[Any]) -> list[Any]:
    trees = [ast.parse(block) for document in DOCUMENTS for block in blocks(document)]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kind)]


def names() -> dict[str, Any]:
    """What the documents' imports bind, and the classes of their variables."""
    bound: dict[str, Any] = {}
    for node in nodes(ast.Import) + nodes(ast.ImportFrom):
        if node.names[0].name in ("cupy", "fiftyone"):  # of a GPU, and of an environment of its own
            continue
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


@pytest.fixture
def at_home(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where README's names are: photos by class, a model and a data set that their libraries find on this disk."""
    bundled = fdgpu.ClipEmbedder.bundled("cpu")  # for weights that would have to be fetched
    bundled.doubts = ()  # README's way leaves no other
    monkeypatch.setattr(fdgpu.ClipEmbedder, "from_name", lambda *_, **__: bundled)
    weights = resnet18(num_classes=1000).eval()
    with torch.no_grad():  # two outputs of a thousand are ever the highest
        weights.fc.bias.fill_(-1e4)
        weights.fc.bias[[IMAGENET.index(name) for name in KINDS]] = 0
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: weights.state_dict())
    rows = list(csv.DictReader((photos / "predictions.csv").read_text().splitlines()))
    for row in rows:
        split = {"val": "validation"}.get(row["split"], row["split"])
        for root, name in (
            (Path("your/photos") / split, row["label"]),
            (Path("by_kind"), KINDS[row["label"] == "dog"]),
        ):
            (photos / root / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / "photos" / row["path"], photos / root / name)
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=16,
        id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(photos / "your/model")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(photos / "your/model")
    monkeypatch.setenv("HF_HOME", str(photos / "cache"))
    monkeypatch.chdir(photos)
    return photos


def statements(block: str) -> int:
    return sum(not isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(block).body)


def test_readmes_code_runs_in_three_statements(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, hugging_face, loaded = blocks("README.md")
    assert [statements(block) for block in (folder, hugging_face, loaded)] == [1, 3, 2]
    Path("photos").rename("flat")
    Path("by_kind").rename("photos")
    for block in (folder, hugging_face):
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102  our own lines
    assert (at_home / "report" / "report.html").is_file()
    of_folder = json.loads((at_home / "report" / "audit.json").read_text())
    assert [one["name"] for one in of_folder["classes"]] == sorted(KINDS)
    assert of_folder["n_images"]["val"] == 60
    seen = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
    items = DataLoader(ImageFolder("your/photos/validation", seen), batch_size=4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    exec(compile(loaded, "README.md", "exec"), {"loader": items, "model": model})  # noqa: S102
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["cat", "dog"]


@pytest.mark.parametrize("place", [0, 1])
def test_readmes_command_lines_run(place: int, at_home: Path) -> None:
    lines = re.findall(r"^fdgpu audit .*$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(lines) == 2
    if place == 0:
        Path("photos").rename("flat")
        Path("by_kind").rename("photos")
    result = CliRunner().invoke(app, lines[place].split()[1:])
    assert result.exit_code == 0, result.output
    assert (at_home / "report" / "report.html").is_file()


def run(document: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a document's blocks in a folder, and return the names that they leave."""
    left: dict[str, Any] = {}
    monkeypatch.chdir(folder)
    list(pages.run((ROOT / document).read_text(encoding="utf-8"), document, left))
    return left


WITH_CODE = [
    document.relative_to(ROOT).as_posix()
    for document in DOCUMENTS
    if not all(block.not_run for block in pages.blocks(document.read_text(encoding="utf-8")))
]
RUN_HERE = [name for name in WITH_CODE if name.startswith("docs/") and "gallery" not in name]  # README's runs above


@pytest.mark.parametrize("document", RUN_HERE)
def test_a_documents_blocks_run(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the gallery take minutes: the site's build runs them."""
    assert run(document, tmp_path, monkeypatch)


def test_others_read_a_store_as_the_document_on_scale_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's block runs where there is a cluster, in tests/test_cluster.py."""
    found = run("docs/scale.md", tmp_path, monkeypatch)
    assert np.allclose(found["vectors"], [[0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])  # of val
    assert found["images_of_each_class"].to_dict() == {"cat": 2, "dog": 1}
    assert found["nearest"][:2] == [("a.png", pytest.approx(1)), ("b.png", pytest.approx(0.8))]


def test_blocks_are_left_out_for_weights_files_of_others_and_clusters_only() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in WITH_CODE]
    every = [block for text in texts for block in pages.blocks(text)]
    reasons = {one.not_run for one in every if one.not_run}
    assert reasons <= {
        "fetches weights", "starts Ray", "starts Ray, and fetches weights", "needs a file that FFCV wrote",
        "needs FiftyOne", "needs the exported file",
    }  # fmt: skip
    assert len(every) == sum(text.count("```py") for text in texts)  # no block in another spelling escapes


@pytest.mark.parametrize("page", GALLERY, ids=lambda path: path.stem)
def test_a_page_of_the_gallery_ends_in_a_picture_that_it_draws(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^]]+\]\(([\w.]+)\)", text)
    assert f'figure.savefig("{picture}"' in blocks(page)[-1]
    assert text.index(f"({picture})") > text.rindex("```")
    assert f"gallery/{page.name}" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_name_is_there_and_takes_the_arguments_that_it_is_given() -> None:
    bound = names()
    checked = 0
    for call in nodes(ast.Call):
        function = resolved(call.func, bound)
        if function is None or isbuiltin(function):  # of which some have no signature
            continue
        parameters = signature(function).parameters
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert {keyword.arg for keyword in call.keywords if keyword.arg} <= set(parameters), ast.unparse(call)
        checked += 1
    assert checked >= 30


LEFT_BY_FIT = [node.attr for node in nodes(ast.Attribute) if re.fullmatch(r"(?!__)\w+_", node.attr)]


@pytest.mark.parametrize("attribute", LEFT_BY_FIT)
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
        if not target.startswith(("http://", "https://")) and f'savefig("{target}"' not in text:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:fdgpu|kernels|benchmarks|tests|tools|docs)/[\w./]+)`", text):
        assert (ROOT / path).exists(), f"{document.name} names {path}"
