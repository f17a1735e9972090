"""Planted slices: which methods of slice discovery find a group of samples that a simulated model fails on?"""
