"""Scripts that made what ships with fdgpu: photographs, weights, word lists. They are not in the wheel."""
