"""Videos read and written, and their times."""
