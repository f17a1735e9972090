"""The whole job: images and predictions in, a report out. The only part that knows every stage."""

from fdgpu.auditing.drawing import decode_directions, extreme_captions
from fdgpu.auditing.growing import grow_captions
from fdgpu.auditing.pipeline import AuditResult, audit
from fdgpu.auditing.predictions import read_predictions
from fdgpu.auditing.tables import Predictions
from fdgpu.auditing.truth import Planted

__all__ = [
    "AuditResult",
    "Planted",
    "Predictions",
    "audit",
    "decode_directions",
    "extreme_captions",
    "grow_captions",
    "read_predictions",
]
