"""How far tests go that can go on for as long as one likes: briefly, or as `LONG_TESTS=1` asks."""

import os


def examples(brief: int, long: int) -> int:
    """Choose how many examples are drawn."""
    return long if os.environ.get("LONG_TESTS") else brief
