"""What a reply cost, in micro-units of a currency."""

from dataclasses import dataclass

from worker.cycle.types import Reply

TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True)
class Price:
    """Micro-units of the currency for a million tokens; `cached_input` None means as `input`."""

    currency: str
    input: int
    output: int
    cached_input: int | None = None


def most_micros(price: Price, tokens_in: int, tokens_out: int) -> int:
    """The most that a reply of so many tokens at most can cost, rounded up."""
    dearest = max(price.input, price.cached_input or 0)
    return -(-(tokens_in * dearest + tokens_out * price.output) // TOKENS_PER_PRICE)


def cost_micros(price: Price, reply: Reply) -> int | None:
    """The cost of one reply, rounded up; None if the judge did not count its tokens."""
    if reply.tokens_in is None or reply.tokens_out is None:
        return None
    cached = min(reply.cached_tokens_in or 0, reply.tokens_in)
    cached_price = price.input if price.cached_input is None else price.cached_input
    parts = (
        (reply.tokens_in - cached) * price.input,
        cached * cached_price,
        reply.tokens_out * price.output,
    )
    return -(-sum(parts) // TOKENS_PER_PRICE)
