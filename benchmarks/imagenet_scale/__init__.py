"""An audit of ImageNet at full size, stage by stage, and what a larger one would take."""
