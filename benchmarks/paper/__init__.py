"""The paper's experiments, in their matching form on the bundled world."""
