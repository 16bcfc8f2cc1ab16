from worker.blackbox.price import Price, cost_micros
from worker.cycle.types import Reply

PRICE = Price("USD", input=2_000_000, output=8_000_000, cached_input=500_000)


def test_input_cached_input_and_output_have_their_own_prices() -> None:
    reply = Reply("", "stop", tokens_in=1000, cached_tokens_in=400, tokens_out=50)
    assert cost_micros(PRICE, reply) == 600 * 2 + 200 + 50 * 8


def test_cached_input_costs_the_full_price_where_none_is_listed() -> None:
    reply = Reply("", "stop", tokens_in=1000, cached_tokens_in=400, tokens_out=0)
    assert cost_micros(Price("USD", 2_000_000, 0), reply) == 2000


def test_a_part_of_a_micro_is_rounded_up() -> None:
    assert cost_micros(Price("USD", 1, 1), Reply("", "stop", tokens_in=1, tokens_out=0)) == 1


def test_more_cached_than_asked_is_not_paid_back() -> None:
    reply = Reply("", "stop", tokens_in=10, cached_tokens_in=99, tokens_out=0)
    assert cost_micros(PRICE, reply) == 5


def test_uncounted_tokens_have_no_known_price() -> None:
    assert cost_micros(PRICE, Reply("", "stop")) is None
