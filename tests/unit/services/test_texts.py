"""Figures of answers themselves."""

import pytest

from app.services.measures.texts import distinct, refuses


def test_distinct_n_is_the_share_of_different_n_grams() -> None:
    """6 words, 4 different; 4 pairs within the texts, 3 different."""
    texts = ["the cat the", "The cat sat"]
    assert distinct(texts, 1) == pytest.approx(3 / 6)
    assert distinct(texts, 2) == pytest.approx(3 / 4)
    assert distinct(["one"], 2) is None


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I can't help with that.", True),
        ("I\u2019m sorry, but I cannot do this.", True),
        ("As an AI, I have no body.", True),
        ("You can't boil an egg without water.", False),
        ("Sure. Take two eggs." + " And more." * 40 + " I can't say more.", False),
    ],
)
def test_a_refusal_stands_at_the_start(text: str, refused: bool) -> None:
    assert refuses(text) is refused
