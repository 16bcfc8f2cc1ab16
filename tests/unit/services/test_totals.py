"""The papers' arithmetic: every printed total is the mean over all items."""

import pytest

from app.services.measures.totals import HH_TEST_ITEMS, item_weighted

PRINTED = {
    "LLaMA zero-shot": (53.59, 33.25, 40.48, 36.23, 40.67),
    "Alpaca zero-shot": (52.77, 53.85, 55.30, 55.43, 54.26),
    "ChatGLM zero-shot": (67.26, 62.14, 60.44, 63.86, 63.85),
    "ChatGPT zero-shot": (72.19, 68.28, 69.85, 71.02, 70.43),
    "LLaMA ICL": (57.04, 38.69, 42.41, 40.83, 44.83),
    "Alpaca ICL": (58.32, 57.58, 59.19, 59.81, 58.71),
    "ChatGLM ICL": (71.65, 63.14, 65.07, 65.31, 66.39),
    "ChatGPT ICL": (72.05, 67.88, 69.41, 70.46, 70.04),
    "LLaMA CoT": (54.66, 36.88, 41.81, 39.78, 43.27),
    "Alpaca CoT": (57.69, 55.23, 58.00, 57.58, 57.02),
    "ChatGLM CoT": (71.21, 64.72, 66.40, 66.34, 67.22),
    "ChatGPT CoT": (73.35, 72.30, 71.83, 74.22, 73.13),
    "LLaMA PPO": (61.97, 55.29, 59.78, 58.26, 58.65),
    "LLaMA RRHF": (64.63, 61.38, 63.26, 63.28, 63.12),
    "LLaMA CycleAlign-RRHF": (71.66, 67.05, 65.89, 67.95, 68.43),
    "LLaMA PRO": (72.86, 64.05, 65.56, 66.44, 67.40),
    "LLaMA CycleAlign-PRO": (70.62, 66.49, 67.67, 68.50, 68.41),
    "Alpaca PRO": (73.13, 64.56, 65.60, 66.51, 67.64),
    "Alpaca CycleAlign-PRO": (71.32, 67.89, 66.53, 68.92, 68.97),
    "w/o D2": (71.77, 65.37, 64.99, 66.34, 67.36),
    "w/o ICL": (71.96, 64.37, 64.03, 65.93, 66.88),
    "w/o WRD": (69.81, 66.08, 65.75, 67.23, 67.41),
    "w/o BRD": (67.99, 66.65, 65.73, 67.64, 67.21),
    "w/o Cycle": (70.30, 66.57, 65.51, 67.57, 67.76),
}
"""CycleAlign's Tables 1 and 3: harmless-base, helpful-base, -online, -rejection, total."""


def test_all_rows_of_both_tables_are_here() -> None:
    assert len(PRINTED) == 24


@pytest.mark.parametrize("row", PRINTED)
def test_the_total_is_the_mean_over_all_items(row: str) -> None:
    *subsets, total = PRINTED[row]
    means = dict(zip(HH_TEST_ITEMS, subsets, strict=True))
    assert item_weighted(means, HH_TEST_ITEMS) == pytest.approx(total, abs=0.01)


def test_the_plain_mean_of_the_subsets_is_not_what_is_printed() -> None:
    off = [abs(sum(row[:4]) / 4 - row[4]) for row in PRINTED.values()]
    assert sum(gap > 0.015 for gap in off) > 20


def test_means_and_items_must_be_of_the_same_subsets() -> None:
    with pytest.raises(ValueError, match="every subset"):
        item_weighted({"a": 1.0}, {"a": 1, "b": 2})
