"""Moved to ``fdgpu.repair``."""

raise ImportError("fdgpu.training is part of fdgpu.repair now: from fdgpu.repair import …")
