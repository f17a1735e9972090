"""The paper's training recipe (A.3) for any torch model: train, weigh, break off, fine-tune."""

from fdgpu.training.architectures import resnet18
from fdgpu.training.augmenting import Augment, flip_and_shift
from fdgpu.training.fine_tuning import fine_tune
from fdgpu.training.loop import train
from fdgpu.training.losses import GeneralisedCrossEntropy, Loss, binary_cross_entropy, cross_entropy
from fdgpu.training.recipe import Recipe, as_recipe, recipe_names, triangular
from fdgpu.training.thresholds import best_f1_threshold

__all__ = [
    "Augment",
    "GeneralisedCrossEntropy",
    "Loss",
    "Recipe",
    "as_recipe",
    "best_f1_threshold",
    "binary_cross_entropy",
    "cross_entropy",
    "fine_tune",
    "flip_and_shift",
    "recipe_names",
    "resnet18",
    "train",
    "triangular",
]
