"""An audit's columns: read, paired with their images, and checked."""
