"""The whole job: images and predictions in, a report out. The only part that knows every stage."""

from fdgpu.auditing.after.comparing import compare
from fdgpu.auditing.after.exporting import export
from fdgpu.auditing.after.finetuning import FineTuned, finetune
from fdgpu.auditing.after.picturing import repair_by_painting
from fdgpu.auditing.after.repairing import repair_by_pool, repair_by_weights
from fdgpu.auditing.captioning import grow_captions
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.auditing.columns.tables import Predictions
from fdgpu.auditing.drawing import decode_directions, extreme_captions
from fdgpu.auditing.pipeline import audit
from fdgpu.auditing.result import AuditResult
from fdgpu.auditing.slices import SliceSearch
from fdgpu.auditing.truth import Planted
from fdgpu.report.comparison import Comparison

__all__ = [
    "AuditResult",
    "Comparison",
    "FineTuned",
    "Planted",
    "Predictions",
    "SliceSearch",
    "audit",
    "compare",
    "decode_directions",
    "export",
    "extreme_captions",
    "finetune",
    "grow_captions",
    "read_predictions",
    "repair_by_painting",
    "repair_by_pool",
    "repair_by_weights",
]
