"""Compute kernels, one file each: kernel, launcher, plain reference.

The folder stands at the top of the repository and is imported as ``fdgpu.kernels``.
"""
