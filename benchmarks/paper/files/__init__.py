"""The data sets as they lie on disk, in their own formats."""
