"""Moved to ``benchmarks/baselines`` of the repository."""

raise ImportError(
    "the baselines are in the repository, not in the package: from benchmarks.baselines import … in a checkout"
)
