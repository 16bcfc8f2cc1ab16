"""How a block's attention is cut into heads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values of a token stand beside one another, (H + 2 h) d numbers."""

    queries: int
    """H."""
    shared: int
    """Keys, and as many values, h: each is read by H / h query heads."""
    size: int
    """Of a head, d."""
    scale: float
    """Of a score."""
