"""The judges: what may be asked for a ranking, and how one answer is got and read."""
