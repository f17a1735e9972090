"""Classifiers by name: torchvision's and timm's from files, their preprocessing beside their own, a user's function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision import models

from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.named_networks import timm_network, torchvision_network
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.errors import InputError, ModelError

TIMM = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """A JPEG of no special size, smooth as photographs are."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("jpeg") / "one.jpg"
    Image.fromarray(noise).resize((533, 401), Image.Resampling.BICUBIC).save(path, quality=90)
    return Image.open(path).convert("RGB")


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def levels_between(ours: Preprocess, theirs: torch.Tensor, image: Image.Image) -> torch.Tensor:
    """How far our view of an image is from theirs, in levels of 255."""
    own = ours.normalise(ours.resize(pixels(image))[None], torch.float32)[0]
    assert own.shape == theirs.shape
    return (own - theirs).abs() * torch.tensor(ours.std)[:, None, None] * 255


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("name", "weights"),
    [("resnet50", "IMAGENET1K_V2"), ("resnet50", "IMAGENET1K_V1"), ("swin_t", "DEFAULT"), ("inception_v3", "DEFAULT")],
)
def test_torchvisions_preset_on_a_jpeg(name: str, weights: str, turned: bool, photograph: Image.Image) -> None:
    image = photograph.rotate(90, expand=True) if turned else photograph
    preset = models.get_model_weights(name)[weights].transforms()
    apart = levels_between(Preprocess.of_torchvision(preset), preset(image), image)
    assert apart.max() <= 2.01
    assert apart.mean() <= 0.01


@pytest.mark.parametrize(
    "name", [TIMM, "vit_base_patch16_clip_224.openai_ft_in1k", "convnext_tiny.fb_in22k_ft_in1k_384"]
)
def test_timms_configuration_on_a_jpeg(name: str, photograph: Image.Image) -> None:
    config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    ours = Preprocess.of_timm(config)
    assert ours is not None
    apart = levels_between(ours, create_transform(**config)(photograph), photograph)
    assert apart.max() <= 3.01
    assert apart.mean() <= 0.01


def test_a_mode_that_is_not_ours_is_timms_own_transform(photograph: Image.Image) -> None:
    model = timm.create_model(TIMM)
    model.pretrained_cfg = model.pretrained_cfg | {"crop_mode": "border"}
    classifier = Classifier.from_model(model)
    assert classifier.view is not None
    assert classifier.view.takes_image
    expected = create_transform(**resolve_data_config({}, model=model))(photograph)
    torch.testing.assert_close(classifier.view.function(photograph), expected)


def test_logits_agree_with_the_librarys_own_way(photograph: Image.Image) -> None:
    torch.manual_seed(0)
    classifier = Classifier.from_name("torchvision:resnet18:none", "cpu")
    assert classifier.view is not None
    ours = classifier.answer(classifier.view.function(pixels(photograph))[None])
    with torch.no_grad():
        theirs = classifier.model.eval()(models.ResNet18_Weights.DEFAULT.transforms()(photograph)[None])
    assert torch.nn.functional.cosine_similarity(ours, theirs).item() >= 0.99999
    assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()


def test_the_names_of_imagenets_classes() -> None:
    of_torchvision = torchvision_network("resnet18", "none")
    assert of_torchvision.class_names is not None
    assert (len(of_torchvision.class_names), of_torchvision.class_names[0]) == (1000, "tench")
    assert "random weights" in of_torchvision.doubts[0]
    of_timm = timm_network(TIMM, None)
    assert of_timm.class_names is not None
    assert (len(of_timm.class_names), of_timm.class_names[0]) == (1000, "n01440764")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_of_a_file_that_was_fine_tuned_to_other_classes(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models.resnet18(num_classes=5).eval()
    file = tmp_path / f"own.{kind}"
    (save_file if kind == "safetensors" else torch.save)(model.state_dict(), file)
    classifier = Classifier.from_name(f"torchvision:resnet18:{file}", "cpu")
    inputs = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8)
    ours = models.ResNet18_Weights.DEFAULT.transforms()
    with torch.no_grad():
        expected = model(
            (inputs / 255 - torch.tensor(ours.mean)[:, None, None]) / torch.tensor(ours.std)[:, None, None]
        )
    torch.testing.assert_close(classifier.answer(inputs), expected)
    assert (classifier.class_names, classifier.doubts, classifier.outputs) == (None, (), 5)
    assert classifier.name == f"torchvision:resnet18:{file}"


def test_timms_weights_of_a_file(tmp_path: Path) -> None:
    model = timm.create_model(TIMM, num_classes=4).eval()
    torch.save(model.state_dict(), tmp_path / "own.pth")
    held = timm_network(TIMM, str(tmp_path / "own.pth"))
    inputs = torch.rand(1, 3, 160, 160)
    assert torch.equal(held.model.eval()(inputs), model(inputs))
    assert held.class_names is None


def test_weights_that_cannot_be_had(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(models.resnet18(num_classes=5).state_dict(), file)
    with pytest.raises(ModelError, match=r"holds weights of another model than resnet34 \(.*such entries\): name the"):
        torchvision_network("resnet34", str(file))
    with pytest.raises(ModelError, match="torchvision has no 'resnet19'"):
        torchvision_network("resnet19")
    with pytest.raises(ModelError, match="weights 'V9', nor is that a file; it has IMAGENET1K_V1"):
        torchvision_network("resnet18", "V9")
    with pytest.raises(ModelError, match=r"there is no file gone\.pth of weights for timm's"):
        timm_network(TIMM, "gone.pth")
    torch.save(nn.Linear(2, 2), file)  # code, and no state_dict
    with pytest.raises(ModelError, match="cannot be read as weights"):
        torchvision_network("resnet18", str(file))


# --- a user's own file ------------------------------------------------------------------------------------------------

OWN = """
import torch
from beside import WIDTH
from fdgpu.embedding.classifier import Classifier

def model():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(WIDTH, 2))

def with_transform():
    return model(), lambda image: torch.zeros(3, 2, 2)

def whole():
    return Classifier.from_model(model(), class_names=["a", "b"], name="mine")

def fails():
    return torch.zeros(2) @ torch.zeros(3)

def leaves():
    raise SystemExit("no weights here")

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 12\n")
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_function_of_a_file(own: Path) -> None:
    bare = Classifier.from_name(f"{own}:model")
    assert (bare.view, bare.name) == (None, f"{own}:model")
    assert bare.answer(torch.zeros(2, 3, 2, 2)).shape == (2, 2)
    pair = Classifier.from_name(f"{own}:with_transform")
    assert pair.view is not None
    assert pair.view.function(None).shape == (3, 2, 2)
    whole = Classifier.from_name(f"{own}:whole")
    assert (whole.name, whole.class_names) == ("mine", ("a", "b"))


def test_a_function_that_raises_is_named_with_its_line(own: Path, tmp_path: Path) -> None:
    line = OWN.splitlines().index("    return torch.zeros(2) @ torch.zeros(3)") + 1
    with pytest.raises(ModelError, match=rf"own.py, line {line} raises RuntimeError \(.*size.*\): correct it there"):
        Classifier.from_name(f"{own}:fails")
    with pytest.raises(ModelError, match=r"own.py, line \d+ raises SystemExit \(no weights here\)"):
        Classifier.from_name(f"{own}:leaves")
    (tmp_path / "broken.py").write_text("def make():\n    return (\n")
    with pytest.raises(ModelError, match=r"broken.py, line 2 raises SyntaxError"):
        Classifier.from_name(f"{tmp_path}/broken.py:make")
    (tmp_path / "lacks.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ModelError, match=r"lacks.py, line 1 raises ModuleNotFoundError"):
        Classifier.from_name(f"{tmp_path}/lacks.py:make")


def test_a_function_that_returns_no_model(own: Path) -> None:
    with pytest.raises(InputError, match=r"nothing of .*own.py returns None: return a torch.nn.Module, \(model, prep"):
        Classifier.from_name(f"{own}:nothing")
    with pytest.raises(InputError, match=r"own.py has no function 'gone': it has model, with_transform, whole"):
        Classifier.from_name(f"{own}:gone")
