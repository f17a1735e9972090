"""What to do about a failure (paper, 2.3 and A.3): choose, weigh, augment, train, fine-tune."""

from fdgpu.repair.architectures import resnet18
from fdgpu.repair.augmentation import AugmentedDataset, augmented
from fdgpu.repair.augmenting import Augment, flip_and_shift
from fdgpu.repair.choosing import hardest, predicted_failures
from fdgpu.repair.fine_tuning import fine_tune
from fdgpu.repair.loop import train
from fdgpu.repair.losses import GeneralisedCrossEntropy, Loss, binary_cross_entropy, cross_entropy
from fdgpu.repair.thresholds import best_f1_threshold
from fdgpu.repair.training_recipe import Recipe, as_recipe, recipe_names, triangular
from fdgpu.repair.weighting import soft_up_weights, up_weights

__all__ = [
    "Augment",
    "AugmentedDataset",
    "GeneralisedCrossEntropy",
    "Loss",
    "Recipe",
    "as_recipe",
    "augmented",
    "best_f1_threshold",
    "binary_cross_entropy",
    "cross_entropy",
    "fine_tune",
    "flip_and_shift",
    "hardest",
    "predicted_failures",
    "recipe_names",
    "resnet18",
    "soft_up_weights",
    "train",
    "triangular",
    "up_weights",
]
