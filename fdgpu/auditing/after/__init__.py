"""What comes after an audit: comparing, repairing, training further, and other programs."""
