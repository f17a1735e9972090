"""The experiments' matching forms on the bundled world: rendered sets in which something is planted."""
