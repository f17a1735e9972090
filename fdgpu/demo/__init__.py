"""The bundled world: photographs, a renderer, a small CLIP, the scripts that made them, and the demo itself."""
