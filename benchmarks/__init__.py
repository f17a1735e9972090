"""Benchmarks: ``speed`` side by side with peers, ``demo`` over several seeds; figures are kept in ``results/``."""
