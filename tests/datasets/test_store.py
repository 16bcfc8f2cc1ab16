"""What an upload leaves in the database, and what it does not."""

import hashlib
import json
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from app.core.db import transaction
from app.core.errors import AlignError, Conflict, Invalid, NotFound, TooLarge
from app.core.models import DEFAULT_WORKSPACE, Dataset, DatasetIssue, DatasetRow
from app.core.settings import Settings
from app.services import datasets
from app.services.paging import Ask
from tests.datasets.test_reading import real
from tests.hh_rlhf import PAIRS

GOOD = b'{"prompt": "one"}\n{"prompt": "two"}\n'
MIXED = b'{"prompt": "one"}\n{"prompt": ""}\n{"prompt": "three"}\n'


@pytest.fixture
def settings() -> Settings:
    return Settings(max_upload_bytes=1 << 20)


def upload(
    engine: Engine, settings: Settings, data: bytes | Iterable[bytes], **fields: Any
) -> tuple[Dataset, bool]:
    wanted = {"workspace": DEFAULT_WORKSPACE, "name": "test", "kind": "prompts", **fields}
    chunks = [data] if isinstance(data, bytes) else data
    with transaction(engine) as session:
        return datasets.create(session, settings, **{"on_error": "reject", **wanted}, chunks=chunks)


def count(engine: Engine, table: Any) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_clean_upload_is_ready_with_all_of_its_rows(engine: Engine, settings: Settings) -> None:
    data = json.dumps(
        {"id": "a", "split": "test", "metadata": {"k": "ö"}, "prompt": "tab\t, \\N and ☃"}
    ).encode()
    made, is_new = upload(engine, settings, data, subset="mine")
    assert is_new
    assert (made.state, made.format, made.bytes) == ("ready", "jsonl", len(data))
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert (made.line_count, made.row_count, made.issue_count) == (1, 1, 0)
    assert (made.issue_counts, made.subset_counts) == ({}, {"mine": 1})
    with transaction(engine) as session:
        row = session.scalars(select(DatasetRow)).one()
    assert (row.position, row.line, row.row_id, row.subset, row.split) == (
        0,
        1,
        "a",
        "mine",
        "test",
    )
    assert row.messages == [{"role": "user", "content": "tab\t, \\N and ☃"}]
    assert (row.extra, row.responses, row.ranking, row.scores) == ({"k": "ö"}, None, None, None)


def test_replies_and_their_order_are_stored(engine: Engine, settings: Settings) -> None:
    data = b'{"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 2.5, 1]}'
    upload(engine, settings, data, kind="demonstrations")
    with transaction(engine) as session:
        row = session.scalars(select(DatasetRow)).one()
    assert row.responses == ["a", "b", "c"]
    assert (row.ranking, row.scores) == ([[1], [0, 2]], [1.0, 2.5, 1.0])


def test_one_bad_line_makes_an_upload_invalid_without_rows(
    engine: Engine, settings: Settings
) -> None:
    made, _ = upload(engine, settings, MIXED)
    assert (made.state, made.line_count, made.row_count) == ("invalid", 3, 0)
    assert made.issue_counts == {"empty_prompt": 1}
    assert count(engine, DatasetRow) == 0
    with transaction(engine) as session:
        issue = session.scalars(select(DatasetIssue)).one()
    assert (issue.line, issue.code, issue.severity) == (2, "empty_prompt", "error")
    assert issue.excerpt == '{"prompt": ""}'


def test_bad_lines_can_be_skipped_and_are_counted(engine: Engine, settings: Settings) -> None:
    made, _ = upload(engine, settings, MIXED, on_error="skip")
    assert (made.state, made.line_count, made.row_count, made.issue_count) == ("ready", 3, 2, 1)
    with transaction(engine) as session:
        rows = session.scalars(select(DatasetRow).order_by(DatasetRow.position)).all()
    assert [(row.position, row.line) for row in rows] == [(0, 1), (1, 3)]


def test_an_upload_of_bad_lines_alone_is_invalid_even_when_skipping(
    engine: Engine, settings: Settings
) -> None:
    made, _ = upload(engine, settings, b'{"prompt": ""}\n', on_error="skip")
    assert (made.state, made.row_count, made.issue_count) == ("invalid", 0, 1)


def test_warnings_leave_an_upload_ready(engine: Engine, settings: Settings) -> None:
    made, _ = upload(engine, settings, b"Same?\nSame?\n")
    assert (made.state, made.format, made.row_count) == ("ready", "text", 2)
    assert made.issue_counts == {"duplicate_prompt": 1}


def test_a_fault_after_many_batches_takes_their_rows_back(
    engine: Engine, settings: Settings
) -> None:
    lines = b"".join(b'{"prompt": "%d"}\n' % number for number in range(2000))
    made, _ = upload(engine, settings, lines + b"{")
    assert (made.state, made.line_count, made.row_count) == ("invalid", 2001, 0)
    assert count(engine, DatasetRow) == 0


def test_the_same_bytes_twice_are_one_dataset(engine: Engine, settings: Settings) -> None:
    first, _ = upload(engine, settings, MIXED)
    second, is_new = upload(engine, settings, [MIXED[:5], MIXED[5:]], name="other")
    assert (second.id, second.name, is_new) == (first.id, "test", False)
    assert (count(engine, Dataset), count(engine, DatasetIssue)) == (1, 1)


def test_another_kind_policy_or_workspace_is_another_dataset(
    engine: Engine, settings: Settings
) -> None:
    data = b'{"prompt": "q", "chosen": "a", "rejected": "b"}'
    made = [
        upload(engine, settings, data),
        upload(engine, settings, data, kind="preferences"),
        upload(engine, settings, data, on_error="skip"),
        upload(engine, settings, data, workspace="ws_other"),
    ]
    assert all(is_new for _, is_new in made)
    assert len({dataset.id for dataset, _ in made}) == 4


def test_known_bytes_are_not_given_another_subset_in_silence(
    engine: Engine, settings: Settings
) -> None:
    first, _ = upload(engine, settings, GOOD, subset="a")
    with pytest.raises(Conflict) as caught:
        upload(engine, settings, GOOD, subset="b")
    assert caught.value.facts == {"dataset_id": first.id}
    known, is_new = upload(engine, settings, GOOD, subset="a")
    assert (known.id, is_new) == (first.id, False)


def test_the_same_bytes_at_the_same_time_are_one_dataset(
    engine: Engine, settings: Settings
) -> None:
    both_read = threading.Barrier(2)
    made: list[tuple[str, bool]] = []

    def chunks() -> Iterable[bytes]:
        yield GOOD
        both_read.wait(timeout=30)

    def run() -> None:
        dataset, is_new = upload(engine, settings, chunks())
        made.append((dataset.id, is_new))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in made}) == 1
    assert sorted(is_new for _, is_new in made) == [False, True]
    assert (count(engine, Dataset), count(engine, DatasetRow)) == (1, 2)


@pytest.mark.parametrize(
    ("data", "error", "code"),
    [
        (b"", Invalid, "dataset_empty"),
        (b"\n  \n\r\n", Invalid, "dataset_empty"),
        (b"x" * (1 << 20) + b"x", TooLarge, "body_too_large"),
        (b"version https://git-lfs.github.com/spec/v1\n", Invalid, "git_lfs_pointer"),
    ],
    ids=["nothing", "blank", "large", "lfs"],
)
@pytest.mark.parametrize("kind", ["prompts", "preferences"])
def test_what_is_no_dataset_stores_nothing(
    engine: Engine,
    settings: Settings,
    data: bytes,
    error: type[AlignError],
    code: str,
    kind: str,
) -> None:
    with pytest.raises(error) as caught:
        upload(engine, settings, data, kind=kind)
    assert caught.value.code == code
    assert count(engine, Dataset) == 0


def test_the_real_pairs_are_stored_with_nothing_lost(engine: Engine, settings: Settings) -> None:
    made, _ = upload(engine, settings, real(), kind="preferences", on_error="skip", name=PAIRS.name)
    assert (made.line_count, made.row_count) == (1000, 997)
    assert made.issue_counts["empty_reply"] == 3
    assert count(engine, DatasetRow) == 997


def test_a_dataset_of_another_workspace_is_not_found(engine: Engine, settings: Settings) -> None:
    made, _ = upload(engine, settings, GOOD, workspace="ws_other")
    with transaction(engine) as session, pytest.raises(NotFound):
        datasets.get(session, DEFAULT_WORKSPACE, made.id)


def test_lists_are_filtered_and_names_are_matched_literally(
    engine: Engine, settings: Settings
) -> None:
    upload(engine, settings, GOOD, name="50% done")
    upload(engine, settings, MIXED, name="500 done")
    with transaction(engine) as session:

        def names(**filters: Any) -> list[str]:
            found = datasets.list_page(session, DEFAULT_WORKSPACE, Ask(), **filters)
            return [dataset.name for dataset in found.rows]

        assert names() == ["500 done", "50% done"]
        assert names(name_contains="0% D") == ["50% done"]
        assert names(state="invalid") == ["500 done"]
        assert names(kind="preferences") == []


def test_pages_of_rows_and_issues_follow_each_other(engine: Engine, settings: Settings) -> None:
    made, _ = upload(engine, settings, MIXED * 2, on_error="skip")
    with transaction(engine) as session:
        first = datasets.rows_page(session, made, Ask(3))
        rest = datasets.rows_page(session, made, Ask(3, first.cursors[-1]))
        assert [row.line for row in first.rows + rest.rows] == [1, 3, 4, 6]
        assert (first.has_more, rest.has_more) == (True, False)
        paged = [issue.line for issue in datasets.issues_page(session, made, Ask(100)).rows]
    assert paged == [issue.line for issue in datasets.stream_issues(engine, made.id)]
