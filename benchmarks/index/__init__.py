"""An index of a million captions: time, memory, and recall against exact search."""
