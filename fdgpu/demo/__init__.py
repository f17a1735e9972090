"""The demo: bundled photographs, a renderer that plants correlations, a model that falls for them, and its audit."""
