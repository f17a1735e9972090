"""One experiment of the paper a module, with its settings and the paper's numbers in the TOML file beside it."""
