"""Totals over subsets: the mean over all items, so that larger subsets weigh more.

That is what the papers' "Total" is (the plain mean of four subsets does not reproduce it).
"""

from collections.abc import Mapping

HH_TEST_ITEMS = {
    "harmless-base": 2312,
    "helpful-base": 2354,
    "helpful-online": 1137,
    "helpful-rejection-sampled": 2749,
}
"""Items of HH-RLHF's test files after cleaning."""


def item_weighted(means: Mapping[str, float], items: Mapping[str, int]) -> float:
    """Return the mean over all items, from each subset's mean and number of items.

    Raises:
        ValueError: the subsets are not the same, or there are none.
    """
    if means.keys() != items.keys() or not means:
        raise ValueError("there must be a mean and a number of items for every subset")
    return sum(means[name] * items[name] for name in means) / sum(items[name] for name in means)
