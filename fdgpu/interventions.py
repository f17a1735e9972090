"""Moved to ``fdgpu.repair``."""

raise ImportError("fdgpu.interventions is part of fdgpu.repair now: from fdgpu.repair import …")
