"""The last stage: what an audit found → one self-contained HTML page."""

from fdgpu.report.page import render_report

__all__ = ["render_report"]
