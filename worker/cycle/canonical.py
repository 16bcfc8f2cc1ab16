"""Values and texts in the one form in which they are hashed and stored."""

import hashlib
import json


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no spaces, ASCII, no NaN."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def storable(text: str) -> str:
    """Replace what PostgreSQL and UTF-8 cannot hold: NUL and lone surrogates."""
    return "".join(
        "\ufffd" if letter == "\x00" or "\ud800" <= letter <= "\udfff" else letter
        for letter in text
    )
