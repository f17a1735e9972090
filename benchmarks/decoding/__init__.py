"""Decoding directions: how fast in one batch, and how hard the decoded pictures are."""
