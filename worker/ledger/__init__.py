"""The writer of a run's rows: fenced commits, judge calls and checkpoints."""
