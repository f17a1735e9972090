"""One run that measures everything on one device."""
