"""What the checks of deploys, cancels and soaks say of what was found, good or bad."""

from typing import Any

import pytest

from tests.chaos import cancel, drain, soak
from tests.chaos.moments import Seen
from tests.chaos.promises import at_most, broken, share


def calm(**changes: Any) -> drain.Run:
    """A run without a fault."""
    events = [{"type": "step", "data": {"step": n}, "message": ""} for n in range(8)]
    facts: dict[str, Any] = {
        "status": "succeeded",
        "events": events,
        "weights": {"adapter": "a"},
        "twin_weights": {"adapter": "a"},
        "twin_posts": 0,
    }
    return drain.Run(**(facts | changes))


def drained(
    back: float = 3.0, gone: float = 4.0, outcome: str = "given_back", counted: int = 0
) -> drain.Drain:
    return drain.Drain(
        Seen("judging", 2, attempt=1, round=3, runs=True), back, gone, outcome, counted
    )


def test_a_calm_deploy_breaks_no_promise() -> None:
    assert broken(drain.promises(drain.Found([drained()], [calm()], 4, 4))) == []


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"back": 60.1}, "handed back, seconds"),
        ({"gone": 120.1}, "worker gone, seconds"),
        ({"outcome": "lost"}, "attempts not handed back"),
        ({"counted": 1}, "failures or stalls counted"),
    ],
)
def test_a_deploy_that_costs_is_told(fault: dict[str, Any], named: str) -> None:
    found = drain.Found([drained(), drained(**fault)], [calm()], 4, 4)
    assert broken(drain.promises(found)) == [named]


STEP = {"type": "step", "data": {"step": 0}, "message": ""}
ROUND = {"type": "round", "data": {"round": 3}, "message": ""}
REWOUND = {"type": "rewound", "data": {}, "message": "Went back from round 2 to round 1"}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"status": "failed"}, ["jobs that did not succeed"]),
        ({"twin_posts": 1}, ["posts of undisturbed twins"]),
        ({"events": [*calm().events, STEP]}, ["steps told twice"]),
        ({"events": calm().events[1:]}, ["steps missing"]),
        ({"events": [*calm().events, ROUND, ROUND]}, ["rounds told twice"]),
        ({"events": [*calm().events, REWOUND]}, ["rounds undone"]),
        ({"twin_weights": {"adapter": "b"}}, ["weights other than undisturbed"]),
        ({"weights": {}, "twin_weights": {}}, ["weights other than undisturbed"]),
    ],
)
def test_a_run_that_is_not_as_undisturbed_is_told(fault: dict[str, Any], named: list[str]) -> None:
    found = drain.Found([drained()], [calm(**fault)], 4, 4)
    assert broken(drain.promises(found)) == named


def test_a_question_that_was_posted_twice_is_told() -> None:
    assert broken(drain.promises(drain.Found([drained()], [calm()], 5, 4))) == ["posts paid twice"]


def test_what_cancelling_leaves_behind_is_told() -> None:
    late = cancel.Cancelled("judging", 2, 15.1, "cancelling", ["ckpt_1"])
    found = cancel.Found([1.1], [late], finished_first=0, checkpoints=1, left=1)
    assert broken(cancel.promises(found)) == [
        "queued to cancelled, seconds",
        "running to nothing left, seconds",
        "not cancelled",
        "runners left",
        "of them lost",
    ]


def test_growth_after_the_first_jobs_is_told() -> None:
    small, large = soak.Size(80, 70, 10, 12, 9), soak.Size(100.1, 90, 11, 12, 9)
    sizes = [large, small, small, large, small]
    found = soak.Found(sizes, ["succeeded"] * 5, [1] * 5)
    assert broken(soak.promises(found, warm=2)) == ["main_mb", "main_files"]
    assert broken(soak.promises(soak.Found([small] * 5, ["failed"] * 5, [1] * 5), warm=2)) == [
        "jobs that succeeded"
    ]


def test_a_process_of_the_pool_is_compared_with_itself() -> None:
    first, second, grown = (soak.Size(80, 70, 10, files, 9) for files in (11, 12, 13))
    found = soak.Found([first, first, second, second], ["succeeded"] * 4, [1, 1, 2, 2])
    assert broken(soak.promises(found, warm=1)) == []
    found = soak.Found([first, first, second, grown], ["succeeded"] * 4, [1, 1, 2, 2])
    assert broken(soak.promises(found, warm=1)) == ["pool_files"]


def test_nothing_measured_is_nothing_promised() -> None:
    assert not at_most("waits", 1, []).kept


def test_shares_are_of_the_sorted_values() -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert [share(values, q) for q in (0.5, 0.95, 1.0)] == [10, 19, 20]
