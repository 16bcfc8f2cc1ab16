"""Whole uploads: no line is lost in silence, whatever is in it."""

import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AlignError, TooLarge, Unsupported
from app.services.formats.reading import Limits, Source, open_source
from app.services.formats.rows import Fault, Kind, Row
from tests.hh_rlhf import pairs

LIMITS = Limits(64 << 20, 1 << 20)


def record(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def read(
    data: bytes, kind: Kind = "prompts", limits: Limits = LIMITS, subset: str | None = None
) -> tuple[Source, list[Row], list[Fault]]:
    source = open_source([data], kind, limits, subset)
    readings = list(source)
    rows = [reading.row for reading in readings if reading.row]
    return source, rows, [fault for reading in readings for fault in reading.faults]


def places(faults: list[Fault]) -> list[tuple[int, str]]:
    return [(fault.line, fault.code) for fault in faults]


def real() -> bytes:
    return pairs().read_bytes()


def test_of_1000_real_pairs_997_are_usable_and_3_have_an_empty_reply() -> None:
    source, rows, faults = read(real(), "preferences")
    errors = [fault for fault in faults if fault.severity == "error"]
    assert Counter(fault.code for fault in errors) == {"empty_reply": 3}
    assert (source.tally.seen, source.tally.rows, source.tally.lost) == (1000, 997, 3)
    assert source.format == "jsonl"
    assert all(len(row.responses or []) == 2 and row.ranking == [[0], [1]] for row in rows)
    assert source.tally.issues["turns_joined"] == 2


def test_of_1000_real_pairs_all_are_usable_prompts() -> None:
    source, rows, faults = read(real())
    assert (source.tally.rows, source.tally.lost) == (1000, 0)
    assert all(row.messages[-1]["role"] == "user" for row in rows)
    assert [row.line for row in rows] == list(range(1, 1001))
    assert {fault.severity for fault in faults} <= {"warning"}


def test_real_replies_of_several_paragraphs_are_kept_whole() -> None:
    _, rows, _ = read(real(), "preferences")
    several = [row for row in rows if any("\n\n" in text for text in row.responses or [])]
    assert len(several) > 30  # 122 of the file's 2,312 pairs, so about 53 of 1,000


def test_every_planted_fault_is_named_with_its_line() -> None:
    good = [record(prompt=f"question {number}", id=f"q{number}") for number in range(100)]
    planted = {
        3: (b'{"prompt": "cut', "malformed_json"),
        20: (record(prompt=5), "type_error"),
        41: (b'{"prompt": "caf\xe9"}', "invalid_encoding"),
        42: (record(prompt="  "), "empty_prompt"),
        57: (b'{"prompt": "a\x00b"}', "forbidden_character"),
        60: (record(prompt="x", id="q5"), "duplicate_id"),
        73: (record(question="x"), "unknown_field"),
        88: (b'{"prompt": "\\ud83d"}', "invalid_unicode"),
        99: (record(prompt="x" * 2000), "line_too_long"),
    }
    lines = [
        planted[number][0] if number in planted else good[number - 1] for number in range(1, 101)
    ]
    source, rows, faults = read(b"\n".join(lines), limits=Limits(1 << 20, 1000))
    named = {fault.line: fault.code for fault in reversed(faults)}
    assert named == {number: code for number, (_, code) in planted.items()}
    assert [row.line for row in rows] == [n for n in range(1, 101) if n not in planted]
    assert (source.tally.lines, source.tally.rows, source.tally.lost) == (100, 91, 9)


def test_blank_lines_are_counted_and_keep_the_numbers_of_the_others() -> None:
    source, rows, faults = read(b"\nFirst?\n  \n\nSecond?\r\n\r\n")
    assert [(row.line, row.messages[0]["content"]) for row in rows] == [
        (2, "First?"),
        (5, "Second?"),
    ]
    assert (source.format, source.tally.blank, source.tally.lines, faults) == ("text", 4, 2, [])


def test_a_repeated_prompt_is_a_warning_and_a_repeated_id_loses_the_row() -> None:
    data = b"\n".join(
        [record(prompt="a", id="1"), record(prompt=" a", id="2"), record(prompt="b", id=1)]
    )
    source, _, faults = read(data)
    assert places(faults) == [(2, "duplicate_prompt"), (3, "duplicate_id")]
    assert [fault.severity for fault in faults] == ["warning", "error"]
    assert source.tally.rows == 2


def test_rows_without_a_subset_get_the_one_of_the_upload() -> None:
    data = record(prompt="a") + b"\n" + record(prompt="b", subset="own")
    source, rows, _ = read(data, subset="harmless")
    assert [row.subset for row in rows] == ["harmless", "own"]
    assert source.tally.subsets == {"harmless": 1, "own": 1}


def test_the_first_lines_decide_the_format_even_if_the_very_first_is_broken() -> None:
    source, _, faults = read(b"oops\n" + record(prompt="a") + b"\n" + record(prompt="b"))
    assert source.format == "jsonl"
    assert places(faults) == [(1, "malformed_json")]


def test_lines_of_json_that_are_no_objects_are_no_text() -> None:
    source, _, faults = read(b'"one"\n"two"\n')
    assert source.format == "jsonl"
    assert places(faults) == [(1, "object_expected"), (2, "object_expected")]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'[{"prompt": "a"}, {"prompt": "b"}]', "prompts"),
        (b'{\n  "prompt": "a"\n}', "prompts"),
        (b"prompt,response\nhi,yo\n", "prompts"),
        (b"id\tquestion\n1\thi\n", "prompts"),
        (b"<!DOCTYPE html>\n<p>hi", "prompts"),
        (b"just some words\n", "preferences"),
    ],
)
def test_text_of_another_format_is_refused(data: bytes, kind: Kind) -> None:
    with pytest.raises(Unsupported) as caught:
        read(data, kind)
    assert caught.value.code == "unsupported_format"


def test_there_are_at_most_so_many_lines() -> None:
    with pytest.raises(TooLarge) as caught:
        read(b"a\n" * 11, limits=Limits(1000, 100, max_lines=10))
    assert caught.value.code == "too_many_rows"


def test_50_megabytes_are_read_in_little_memory() -> None:
    def chunks() -> Iterator[bytes]:
        filler = "word " * 1000
        for number in range(10_000):
            yield record(prompt=f"{number} {filler}", id=number) + b"\n"

    tracemalloc.start()
    source = open_source(chunks(), "prompts", LIMITS)
    size = sum(len(reading.row.messages[0]["content"]) for reading in source if reading.row)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 50_000_000
    assert peak < 12 << 20


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([record(prompt="a"), record(prompt="b", id=1), b"", b"{"]),
        ),
        max_size=20,
    ),
    st.integers(1, 50),
    st.booleans(),
)
def test_any_bytes_in_any_chunks_are_read_alike_and_every_line_is_accounted_for(
    lines: list[bytes], size: int, pack: bool
) -> None:
    data = b"\n".join(lines)
    sent = gzip.compress(data) if pack else data
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]

    def outcome(chunks: list[bytes]) -> object:
        try:
            source = open_source(chunks, "prompts", Limits(1 << 20, 60))
            return list(source), source.tally
        except AlignError as error:
            return error.code

    assert outcome(pieces) == outcome([sent])
