"""The demo's world in miniature, as files: what examples and the documents' gallery run on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL.Image import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from fdgpu.checks import check_seed, check_whole
from fdgpu.demo.base_model import halved, predict, small_convnet, train_base_model
from fdgpu.demo.run import write_inputs, write_pictures
from fdgpu.demo.world import RenderedSplit, make_pool, make_split, world_settings
from fdgpu.embedding.classifier import Classifier
from fdgpu.errors import InputError
from fdgpu.findings import Split
from fdgpu.folders import replaced_folder
from fdgpu.progress import OneBar, Reporter
from fdgpu.repair.training_recipe import TrainingRecipe
from fdgpu.version import __version__

SETTINGS = "miniature.json"
FEWEST_PICTURES = 4  # of a class, in val and test
MODEL = """from fdgpu.demo.miniature import network  # model.py:network:model.safetensors is the trained model
"""


def miniature(
    out: str | Path = "world", *, every: int = 5, epochs: int = 6, seed: int = 0, progress: Reporter | None = None
) -> Path:
    """Write the demo's world, of a part of its photographs, and a model that fails where the demo's does.

    The folder holds ``images/val`` and ``images/test``, ``predictions.csv`` with what the model says of them, its
    training pictures in ``train``, more of them in ``pool``, and the model itself, by the name
    ``OUT/model.py:network:OUT/model.safetensors``. Pictures lie in a folder for each of ten classes. One that is there
    with the same settings is left as it is.

    Args:
        out: the folder.
        every: which photographs are taken, each ``every``-th: 20 000 / every of them for training, a quarter of that
            for val, for test and for the pool.
        epochs: of the model's training.
        seed: of the pictures and of the model.
        progress: a reporter; by default a bar where a person watches standard error.

    Returns:
        The folder.

    Raises:
        InputError: for fewer than four pictures of a class, or a folder that holds something else.

    Example:
        >>> folder = miniature(tmp_path / "world", every=100, epochs=2)
        >>> sorted(path.name for path in folder.iterdir())[:4]
        ['images', 'miniature.json', 'model.py', 'model.safetensors']
        >>> len(list(folder.glob("images/val/boot/*.png")))
        5
    """
    most = 500 // FEWEST_PICTURES
    settings = {
        "fdgpu": __version__, "every": check_whole(every, "every", 1, most),
        "epochs": check_whole(epochs, "epochs", 2, 100), "seed": check_seed(seed),
    }  # fmt: skip
    folder = Path(out)
    if (folder / SETTINGS).exists() and json.loads((folder / SETTINGS).read_text("utf-8")) == settings:
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds something else than a miniature of {settings}: choose another folder")
    with replaced_folder(folder) as staged, OneBar(progress) as report:
        splits = list[RenderedSplit]()
        for name in Split:
            report("render pictures", len(splits), len(Split))
            splits.append(make_split(name, seed, every=every))
        recipe = replace(TrainingRecipe.named("demo"), epochs=epochs)
        model = train_base_model(splits[0].pictures, splits[0].labels, seed, recipe=recipe, progress=report)
        answers = [predict(model, split.pictures, split.labels) for split in splits[1:]]
        write_inputs(staged.path, splits[1:], answers)
        for split in (splits[0], make_pool(seed, every=4 * every)):
            write_pictures(staged.path, split)
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, staged.path / "model.safetensors")
        (staged.path / "model.py").write_text(MODEL, "utf-8")
        (staged.path / SETTINGS).write_text(json.dumps(settings), "utf-8")
    return folder


def network() -> Classifier:
    """Return the miniature's model before it was trained, with its classes and its preprocessing."""
    names = world_settings().class_names
    return Classifier.from_model(small_convnet(len(names), seed=0), preprocess=_halved, class_names=names)


def _halved(image: Image) -> Tensor:
    return halved(pil_to_tensor(image)[None])[0]
