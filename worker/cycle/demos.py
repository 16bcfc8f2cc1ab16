"""Demonstrations made of what a step has ranked so far (CycleAlign section 3.2).

The paper is silent on presentation. A demonstration here is re-indexed from 0 and shuffled, since
in best-first order its answer would always be the identity and teach that the first is the best.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from worker.cycle.ranking import flatten, is_ranking_of, orders_a_pair
from worker.cycle.types import Demonstration, Dialogue, Message, Ranking

Dynamic = Literal["agreement", "black_box", "white_box", "none"]
"""What an iteration demonstrates: `black_box` is the paper's w/o WRD, `white_box` its w/o BRD."""


def demonstrated_order(
    dynamic: Dynamic, black: Ranking, white: Ranking, agreed: Sequence[int]
) -> Ranking | None:
    """The groups of candidates that an iteration demonstrates; None if they order no pair."""
    match dynamic:
        case "agreement":
            order: Ranking = tuple((item,) for item in agreed)
        case "black_box":
            order = black
        case "white_box":
            order = white
        case "none":
            return None
    return order if orders_a_pair(order) else None


def demonstrate(
    messages: Dialogue,
    order: Ranking,
    texts: Mapping[int, str],
    shuffle: Sequence[int],
    origin: Dynamic,
) -> Demonstration:
    """Make a demonstration of ordered candidates.

    Args:
        messages: the prompt they answer.
        order: groups of candidate ids, best to worst.
        texts: the text of each candidate id.
        shuffle: a permutation of as many positions as `order` has candidates.
        origin: what the order is of.

    Raises:
        ValueError: `shuffle` is not such a permutation.
    """
    ranked = flatten(order)
    if sorted(shuffle) != list(range(len(ranked))):
        raise ValueError(f"{tuple(shuffle)} does not permute {len(ranked)} candidates")
    shown = tuple(ranked[position] for position in shuffle)
    place = {item: position for position, item in enumerate(shown)}
    answer = tuple(tuple(sorted(place[item] for item in group)) for group in order)
    return Demonstration(messages, tuple(texts[item] for item in shown), answer, origin)


def to_json(demonstration: Demonstration) -> dict[str, object]:
    """Write a demonstration as plain lists and dicts."""
    return {
        "messages": [
            {"role": turn.role, "content": turn.content} for turn in demonstration.messages
        ],
        "responses": list(demonstration.responses),
        "answer": [list(group) for group in demonstration.answer],
        "origin": demonstration.origin,
    }


def from_json(data: Any) -> Demonstration:
    """Read what `to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is no demonstration.
    """
    read = Demonstration(
        messages=tuple(Message(turn["role"], turn["content"]) for turn in data["messages"]),
        responses=tuple(data["responses"]),
        answer=tuple(tuple(group) for group in data["answer"]),
        origin=data["origin"],
    )
    if not is_ranking_of(read.answer, range(len(read.responses))):
        raise ValueError(f"{read.answer} does not rank {len(read.responses)} responses")
    return read
