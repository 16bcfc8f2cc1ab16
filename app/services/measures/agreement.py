"""Whether raters mean the same: Krippendorff's alpha for verdicts without an order."""

from collections.abc import Sequence

import krippendorff


def alpha(units: Sequence[Sequence[str]]) -> float | None:
    """1 for perfect agreement, 0 for what chance gives; None where nothing can be compared.

    Args:
        units: for each thing that was rated, the verdicts on it.
    """
    values = sorted({verdict for unit in units for verdict in unit})
    counts = [[unit.count(value) for value in values] for unit in units if len(unit) > 1]
    used = sum(any(row[k] for row in counts) for k in range(len(values)))
    if not counts or used < len(("one", "other")):
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
