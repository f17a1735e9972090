"""What to do about a failure (paper, 2.3): choose, weigh, add; plain indices, weights and Datasets come out."""

from fdgpu.interventions.augmentation import AugmentedDataset, augmented
from fdgpu.interventions.choosing import hardest, predicted_failures
from fdgpu.interventions.weighting import soft_up_weights, up_weights

__all__ = ["AugmentedDataset", "augmented", "hardest", "predicted_failures", "soft_up_weights", "up_weights"]
