"""1,000 real preference pairs, which lie beside the project's folder and not in it."""

from pathlib import Path

PAIRS = Path(__file__).parents[2] / "shared/data/hh-rlhf/harmless-base/test-first1000.jsonl.gz"


def pairs() -> Path:
    """The file; fails, and says how to mend it, where it is missing."""
    assert PAIRS.is_file(), (
        f"These tests need real data: put the first 1,000 lines of HH-RLHF's public "
        f"harmless-base/test.jsonl.gz, compressed with gzip, at {PAIRS}"
    )
    return PAIRS
