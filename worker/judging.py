"""A judge asked through the ledger: in place, or by threads that keep many calls in flight."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import assert_never

from app.core import budget as budgets
from app.core.errors import BudgetReached
from app.core.settings import get_settings
from app.core.spec.catalogue import (
    JudgeEntry,
    LocalLmJudge,
    OpenAiJudge,
    RecordedJudge,
    RewardModelJudge,
    RubricJudge,
)
from worker.blackbox.asking import rank
from worker.blackbox.breaker import Breaker
from worker.blackbox.failures import AskFailure
from worker.blackbox.flight import Flight, Limits, Unlimited, estimated_tokens, most_tokens
from worker.blackbox.openai import OpenAiBox
from worker.blackbox.price import Price, cost_micros, most_micros
from worker.blackbox.threads import STEP_SECONDS, Halt
from worker.blackbox.tries import with_retries
from worker.blackbox.types import BlackBox, Request, question_digest
from worker.cycle.canonical import storable
from worker.cycle.ports import Answered, Pending, Traits
from worker.cycle.seeds import derive
from worker.cycle.types import At, Question, Reply, Verdict
from worker.ledger.book import Book
from worker.ledger.judging import Asked, Cost, JudgeLedger
from worker.ledger.limits import credential_hash, open_limits

GRACE_SHARE = 0.75
"""Of the time that a runner gets to stop: the rest is for noticing it and for leaving."""


@contextmanager
def open_judge(
    box: BlackBox,
    entry: JudgeEntry,
    name: str,
    book: Book,
    *,
    interrupted: Callable[[], bool],
    stop_grace_seconds: float,
) -> Iterator["LedgeredJudge"]:
    """Open a judge of the catalogue; at the end, posts in flight get a grace to be answered."""
    flight = build_flight(entry, book, interrupted)
    in_place = not isinstance(entry, OpenAiJudge)
    judge = LedgeredJudge(box, name, JudgeLedger(book), price_of(entry), flight, in_place=in_place)
    try:
        yield judge
    finally:
        judge.close(GRACE_SHARE * stop_grace_seconds)


def build_flight(entry: JudgeEntry, book: Book, interrupted: Callable[[], bool]) -> Flight:
    """Say how many calls a judge bears; what answers in place is asked one by one."""
    match entry:
        case OpenAiJudge():
            breaker = Breaker(get_settings().judge_outage_seconds)
            return Flight(entry.concurrency, limits_of(entry, book), interrupted, breaker)
        case LocalLmJudge() | RewardModelJudge() | RubricJudge() | RecordedJudge():
            return Flight(1, Unlimited(), interrupted)
        case _:
            assert_never(entry)


def limits_of(entry: OpenAiJudge, book: Book) -> Limits:
    """Choose the limits; without one a minute, no row is shared and nothing is written."""
    if entry.requests_per_minute is None and entry.tokens_per_minute is None:
        return Unlimited()
    credential = credential_hash(str(entry.base_url), entry.credential_env)
    return open_limits(book.engine, credential, entry.requests_per_minute, entry.tokens_per_minute)


def price_of(entry: JudgeEntry) -> Price | None:
    """Return the price of a judge's replies; what runs here costs nothing."""
    if not isinstance(entry, OpenAiJudge):
        return Price("USD", 0, 0)
    listed = entry.price
    if listed is None:
        return None
    return Price(listed.currency, listed.input, listed.output, listed.cached_input)


class LedgeredJudge:
    """A black box asked through the ledger: found answers are reused, posts are counted.

    A box that answers `in_place` uses this process's own compute, in the caller's thread.
    """

    def __init__(
        self,
        box: BlackBox,
        name: str,
        ledger: JudgeLedger,
        price: Price | None,
        flight: Flight,
        *,
        in_place: bool,
    ) -> None:
        self._box = box
        self._name = name
        self._ledger = ledger
        self._price = price
        self._flight = flight
        self._in_place = in_place
        self._turns = Turns(flight.halt)

    @property
    def traits(self) -> Traits:
        """What the black box can do."""
        return self._box.traits

    def submit(self, at: At, question: Question) -> Pending:
        """Ask, with one re-ask after a malformed reply; what goes wrong is raised by `result`.

        In place, the answer is here when this returns, and what goes wrong is raised at once.
        """
        if self._in_place:
            return Answered(self._rank(at, question))
        return self._flight.submit(lambda: self._rank(at, question))

    def close(self, grace_seconds: float) -> None:
        """Drop what is not posted; wait so long for what is, so that paid answers are stored."""
        landed = self._flight.close(grace_seconds)
        if landed and isinstance(self._box, OpenAiBox):
            self._box.close()

    def _rank(self, at: At, question: Question) -> Verdict:
        self._flight.halt.check()
        return rank(self._box, at, question, self._ask)

    def _ask(self, at: At, request: Request, question: Question) -> Reply:
        key, digest = request.key(), question_digest(question)
        most = self._most(request)
        asked = Asked(key, self._name, digest, request.as_json(), question.repeat, most)
        with self._turns.of(asked.key):
            known = self._ledger.find(at, asked)
            if known is not None:
                return known
            return with_retries(
                lambda _: self._post(at, asked, request),
                tries=self._box.tries,
                sleep=self._flight.halt.sleep,
                jitter_seed=derive(0, "retry", asked.key),
            )

    def _post(self, at: At, asked: Asked, request: Request) -> Reply:
        tokens = estimated_tokens(request)
        return self._flight.post(tokens, lambda: self._booked(at, asked, request))

    def _booked(self, at: At, asked: Asked, request: Request) -> Reply:
        number = self._begin(at, asked)
        start = time.monotonic()
        try:
            reply = self._box.ask(request)
        except AskFailure as failure:
            spent = time.monotonic() - start
            told = (failure.reason, failure.detail, spent)
            self._ledger.failed(at, asked, number, *told, maybe_paid=failure.maybe_paid)
            raise
        kept = replace(reply, text=storable(reply.text))
        self._ledger.done(at, asked, number, kept, self._cost(reply), time.monotonic() - start)
        return kept

    def _begin(self, at: At, asked: Asked) -> int:
        """Begin a post; where only what is in flight leaves no room for it, wait for that."""
        while True:
            try:
                return self._ledger.begin(at, asked)
            except BudgetReached as reached:
                if not reached.facts["passing"]:
                    raise
            self._flight.halt.sleep(STEP_SECONDS)

    def _most(self, request: Request) -> dict[str, int]:
        """The most that one post can take of each unit of a budget."""
        tokens_in, tokens_out = most_tokens(request)
        price = self._price or Price("", 0, 0)
        return {
            budgets.COST: most_micros(price, tokens_in, tokens_out),
            budgets.TOKENS: tokens_in + tokens_out,
            budgets.CALLS: 1,
        }

    def _cost(self, reply: Reply) -> Cost:
        if self._price is None:
            return Cost()
        return Cost(cost_micros(self._price, reply), self._price.currency)


@dataclass(frozen=True)
class Turns:
    """Lets one thread at a time ask a thing, so that the next finds the answer of the first."""

    halt: Halt
    _taken: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Wait for the key's turn; raises `Interrupted` when it is time to stop."""
        self._take(key)
        try:
            yield
        finally:
            with self._changed:
                self._taken.discard(key)
                self._changed.notify_all()

    def _take(self, key: str) -> None:
        with self._changed:
            while key in self._taken:
                self._changed.wait(STEP_SECONDS)
                self.halt.check()
            self._taken.add(key)
