"""Classifiers trained further: with what a repair wrote, in their own preprocessing, and loaded again by name."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from fdgpu import Classifier
from fdgpu.auditing import finetune
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from fdgpu.repair import TrainingRecipe

RECIPE = TrainingRecipe(epochs=30, peak_lr=0.5, peak_epoch=3, batch=16, resolution=4)
MODEL = """
import torch
from torch import nn

def made():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 2))
    return net, lambda image: torch.tensor(list(image.resize((4, 4)).tobytes())).view(4, 4, 3).permute(2, 0, 1) / 255
"""


def write(folder: Path, name: str, red: int, blue: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (red, 0, blue)).save(folder / name)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training cats are red and dogs are not, which does not hold of the pool: there it is blue that tells."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(24):
        blue = int(rng.integers(140, 255))
        write(root / "train", f"cat/{i}.png", 220, blue)
        write(root / "train", f"dog/{i}.png", 20, int(rng.integers(0, 110)))
        write(root / "pool", f"cat/{i}.png", 20, int(rng.integers(140, 255)))
        write(root / "test", f"cat/{i}.png", 20, int(rng.integers(140, 255)))
    (root / "model.py").write_text(MODEL)
    return root


@pytest.fixture(scope="module")
def manifests(root: Path) -> Path:
    folder = root / "repair"
    folder.mkdir()
    header = ["path", "class", "decision_value", "weight", "why"]
    with (folder / "pool.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *([f"../pool/cat/{i}.png", "cat", -1, 1, "hard"] for i in range(24))])
    return folder


def accuracy(classifier: Classifier, folder: Path, column: int) -> float:
    assert classifier.view is not None
    images = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
    taken = [torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in images] if classifier.normalisation else images
    inputs = torch.stack([torch.as_tensor(classifier.view.function(image)) for image in taken])
    return float((classifier.answer(inputs).argmax(dim=1) == column).float().mean())


@pytest.mark.parametrize("layers", ["last", "all"])
def test_images_of_a_pool_mend_a_model_of_ones_own_file(
    root: Path, manifests: Path, layers: str, tmp_path: Path
) -> None:
    name, names = f"{root / 'model.py'}:made", ["cat", "dog"]
    plain = finetune(name, root / "train", layers=layers, recipe=RECIPE, class_names=names, out=tmp_path / "plain.st")
    mended = finetune(
        name, root / "train", repair=manifests, layers=layers, recipe=RECIPE, class_names=names,
        out=tmp_path / "mended.safetensors",
    )  # fmt: skip
    assert (plain.n, plain.n_added, mended.n, mended.n_added, mended.n_weighed) == (48, 0, 48, 24, 0)
    loaded = Classifier.from_name(f"{name}:{tmp_path / 'mended.safetensors'}")
    assert accuracy(loaded, root / "test" / "cat", 0) > 0.9
    assert accuracy(Classifier.from_model(plain.model, loaded.view.function), root / "test" / "cat", 0) < 0.6  # type: ignore[union-attr]
    for key, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, mended.model.state_dict()[key])
    first = Classifier.from_name(name).model.state_dict()
    kept = [torch.equal(first[key], tensor) for key, tensor in loaded.model.state_dict().items()]
    assert kept == ([True, True, False, False] if layers == "last" else [False] * 4)


def test_a_model_that_is_normalised_here_is_trained_on_what_it_is_asked_about(root: Path) -> None:
    config = {"size": 4, "mean": (0.5,) * 3, "std": (0.2,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    seen: list[Tensor] = []
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    classifier = Classifier.from_model(net, Preprocess.of_model(config), ["cat", "dog"])
    tuned = finetune(classifier, root / "train", recipe=replace(RECIPE, epochs=3))
    trained_on = torch.cat(seen[2:])  # after the look for the last layer
    assert classifier.view is not None
    pixels = torch.from_numpy(np.array(Image.open(root / "train" / "cat" / "0.png"))).permute(2, 0, 1)
    inputs = classifier.view.function(pixels)[None]
    seen.clear()
    classifier.answer(inputs)
    assert any(torch.allclose(seen[0][0], one, atol=1e-5) for one in trained_on)
    assert not torch.equal(tuned.model[1].weight, net[1].weight)  # type: ignore[index]
    assert isinstance(tuned.model[0], nn.Flatten)  # type: ignore[index]


def test_weights_reach_the_losses(root: Path, tmp_path: Path) -> None:
    """Dogs that weigh nothing are never learned."""
    names = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(24)]
    rows = [[name, name[:3], -1, 0 if name.startswith("dog") else 1, ""] for name in names]
    with (tmp_path / "weights.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "class", "decision_value", "weight", "why"], *rows])
    model, names = f"{root / 'model.py'}:made", ["cat", "dog"]
    found = finetune(model, root / "train", repair=tmp_path, recipe=RECIPE, class_names=names)
    assert found.n_weighed == 24
    view = Classifier.from_name(model).view
    assert view is not None
    assert accuracy(Classifier.from_model(found.model, view.function), root / "train" / "dog", 1) == 0


def test_only_the_split_train_is_trained_on(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [(f"{kind}/{i}.png", kind, "train" if i < 5 else "test") for kind in ("cat", "dog") for i in range(9)]
    table.write_text("path,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    model = f"{root / 'model.py'}:made"
    found = finetune(model, root / "train", table, recipe=replace(RECIPE, epochs=3), class_names=["cat", "dog"])
    assert found.n == 10


def test_what_cannot_be_trained_on_is_refused(root: Path, tmp_path: Path) -> None:
    model, names = f"{root / 'model.py'}:made", ["cat", "dog"]
    few = replace(RECIPE, epochs=3)
    with pytest.raises(InputError, match=r"holds none of pool\.csv, painted\.csv, weights\.csv"):
        finetune(model, root / "train", repair=tmp_path, recipe=few, class_names=names)
    header = "path,class,decision_value,weight,why\n"
    (tmp_path / "weights.csv").write_text(header + "cat/0.png,cat,-1,2,\n")
    with pytest.raises(InputError, match=r"has no weight of 47 training images, the first is 'cat/1\.png'"):
        finetune(model, root / "train", repair=tmp_path, recipe=few, class_names=names)
    (tmp_path / "pool.csv").write_text(header + "gone.png,cat,-1,1,\n")
    with pytest.raises(InputError, match=r"1 images that .* lists are no files, the first is 'gone.png'"):
        finetune(model, root / "train", repair=tmp_path, recipe=few, class_names=names)
    (tmp_path / "pool.csv").write_text("image\n1.png\n")
    with pytest.raises(InputError, match="is no manifest of fdgpu repair: its columns are image"):
        finetune(model, root / "train", repair=tmp_path, recipe=few, class_names=names)
    with pytest.raises(InputError, match="'dog', which is none of the 2 outputs"):
        finetune(model, root / "train", recipe=few, class_names=["cat", "bird"])
    with pytest.raises(InputError, match="layers is 'first'"):
        finetune(model, root / "train", layers="first")  # type: ignore[arg-type]
    with pytest.warns(FdgpuWarning, match="does not name its outputs"):
        finetune(model, root / "train", recipe=few)
    write(tmp_path / "broken", "cat/1.png", 0, 0)
    write(tmp_path / "broken", "dog/1.png", 0, 0)
    (tmp_path / "broken" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"cat/1\.png cannot be trained on"):
        finetune(model, tmp_path / "broken", recipe=few, class_names=names)


def test_weights_behind_a_function_are_checked(root: Path, tmp_path: Path) -> None:
    name = f"{root / 'model.py'}:made"
    with pytest.raises(InputError, match=r"there is no file .* of weights for made of"):
        Classifier.from_name(f"{name}:{tmp_path / 'none.safetensors'}")
    torch.save({"1.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="holds weights of another model"):
        Classifier.from_name(f"{name}:{tmp_path / 'other.pt'}")


def test_weights_of_convolutions_are_written_as_they_were_trained(tmp_path: Path) -> None:
    """They lie in memory by channels once they are trained, which a file must not take for their order."""
    images = [(np.full((8, 8, 3), level, np.uint8), level // 10 % 2) for level in range(0, 250, 10)]
    parts = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    found = finetune(
        nn.Sequential(*parts), images, preprocess=to_tensor, class_names=[0, 1], layers="all",
        recipe=replace(RECIPE, epochs=4), device="cpu", out=tmp_path / "tuned.safetensors",
    )  # fmt: skip
    written = load_file(tmp_path / "tuned.safetensors")
    for key, tensor in found.model.state_dict().items():
        assert torch.equal(written[key], tensor), key
