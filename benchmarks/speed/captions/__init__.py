"""Caption encoding against open_clip's ``encode_text``, side by side in one run."""
