"""What a user may ask for, as frozen Pydantic unions; no tensors, no tables, no settings."""
