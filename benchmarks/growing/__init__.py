"""Growing captions, beside scoring every caption of the grammar."""
