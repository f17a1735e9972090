"""Benchmarks: ``speed`` side by side with peers."""
