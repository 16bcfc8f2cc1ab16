"""Questions in flight: bounded, in order, and each verdict as soon as it can be had."""

from collections.abc import Callable

from worker.cycle.ports import Answered, Pending
from worker.cycle.types import Ranked, Verdict
from worker.methods.evaluating import IN_FLIGHT, in_flight

VERDICT = Ranked(((0,), (1,)))


class Late:
    """Answers only when somebody waits for it."""

    waiting = 0

    def __init__(self) -> None:
        Late.waiting += 1

    def done(self) -> bool:
        return False

    def result(self) -> Verdict:
        Late.waiting -= 1
        return VERDICT


def test_what_is_answered_in_place_comes_before_the_next_question() -> None:
    asked: list[int] = []

    def ask(number: int) -> Callable[[], Pending]:
        def go() -> Pending:
            asked.append(number)
            return Answered(VERDICT)

        return go

    for number, _ in in_flight((k, ask(k)) for k in range(5)):
        assert asked == list(range(number + 1))


def test_no_more_are_on_their_way_than_may_be_and_their_order_is_kept() -> None:
    most, seen = 0, []
    for number, _ in in_flight((k, Late) for k in range(IN_FLIGHT + 40)):
        most = max(most, Late.waiting)
        seen.append(number)
    assert seen == list(range(IN_FLIGHT + 40))
    assert most == IN_FLIGHT
