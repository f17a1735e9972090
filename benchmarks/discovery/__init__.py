"""Which method finds the samples that a model fails on? One protocol for all settings and rivals."""
