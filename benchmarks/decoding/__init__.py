"""How fast directions are decoded in one batch, beside one call a direction."""
