"""What to do about a failure (paper, 2.3 and A.3): choose, weigh, augment, train, fine-tune."""

from fdgpu.repair.augmentation import Augment, AugmentedDataset, augmented, flip_and_shift
from fdgpu.repair.selection import hardest, predicted_failures, soft_up_weights, up_weights
from fdgpu.repair.training_loop import Loss, binary_cross_entropy, cross_entropy, fine_tune, resnet18, train
from fdgpu.repair.training_recipe import TrainingRecipe, as_recipe, recipe_names, triangular

__all__ = [
    "Augment",
    "AugmentedDataset",
    "Loss",
    "TrainingRecipe",
    "as_recipe",
    "augmented",
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
