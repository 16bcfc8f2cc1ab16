"""The artifact stores keep bytes, whole or in ranges, and know when they are gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from app.core.db import transaction
from app.core.errors import Invalid, Unavailable
from app.core.models import ArtifactChunk
from app.core.storage import CHUNK, DatabaseStore, FileStore, Store, open_store, rechunk

KEY = "ckpt_1/adapter/model.safetensors"


@pytest.fixture(params=["database", "file"])
def any_store(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Store:
    """Each kind of store in turn."""
    url = "database://" if request.param == "database" else f"file://{tmp_path}/artifacts"
    return open_store(url, engine)


def read(store: Store, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(store.read(key, start, end))


def test_what_was_written_is_read_back(any_store: Store) -> None:
    assert any_store.write(KEY, [b"ab", b"", b"cde"]) == 5

    assert read(any_store, KEY) == b"abcde"
    assert any_store.size(KEY) == 5


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (2, 4), (2, None), (0, 5), (5, 5)])
def test_a_range_is_the_slice(any_store: Store, start: int, end: int | None) -> None:
    any_store.write(KEY, [b"abcde"])

    assert read(any_store, KEY, start, end) == b"abcde"[start:end]


def test_ranges_across_chunks_are_exact(any_store: Store) -> None:
    data = b"".join(n.to_bytes(4) for n in range(2 * CHUNK // 4 + 5))
    any_store.write(KEY, (data[at : at + 999_983] for at in range(0, len(data), 999_983)))

    assert any_store.size(KEY) == len(data)
    for start, end in ((CHUNK - 3, CHUNK + 3), (CHUNK, 2 * CHUNK), (7, 2 * CHUNK + 9)):
        assert read(any_store, KEY, start, end) == data[start:end]
    assert read(any_store, KEY) == data


def test_an_empty_file_is_a_file(any_store: Store) -> None:
    any_store.write(KEY, [])

    assert any_store.size(KEY) == 0
    assert read(any_store, KEY) == b""


def test_writing_again_replaces_the_file(any_store: Store) -> None:
    any_store.write(KEY, [b"a long one" * 100])
    any_store.write(KEY, [b"short"])

    assert read(any_store, KEY) == b"short"


def test_a_file_that_is_not_there_is_unavailable(any_store: Store) -> None:
    assert any_store.size(KEY) is None
    with pytest.raises(Unavailable):
        read(any_store, KEY)
    with pytest.raises(Unavailable):
        read(any_store, KEY, 0, 5)


def test_a_file_shorter_than_its_range_is_unavailable(any_store: Store) -> None:
    any_store.write(KEY, [b"abc"])

    with pytest.raises(Unavailable):
        read(any_store, KEY, 0, 5)


@pytest.mark.parametrize("prefix", ["ckpt_1", "ckpt_1/"])
def test_deleting_a_folder_leaves_those_beside_it(any_store: Store, prefix: str) -> None:
    for key in (KEY, "ckpt_1/README.md", "ckpt_10/README.md", "ckptX1/README.md"):
        any_store.write(key, [b"x"])

    any_store.delete(prefix)

    assert any_store.size(KEY) is None
    assert any_store.size("ckpt_1/README.md") is None
    assert any_store.size("ckpt_10/README.md") == 1
    assert any_store.size("ckptX1/README.md") == 1
    any_store.delete(prefix)


def test_a_write_that_fails_leaves_no_file(any_store: Store) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * (CHUNK + 1)
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        any_store.write(KEY, chunks())

    assert any_store.size(KEY) is None


def test_a_store_that_can_be_used_says_nothing(any_store: Store) -> None:
    any_store.check()


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 9))
def test_chunks_of_any_size_become_equal_ones(chunks: list[bytes], size: int) -> None:
    pieces = list(rechunk(chunks, size))

    assert b"".join(pieces) == b"".join(chunks)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert len(pieces[-1]) > 0 or pieces == [b""]


def test_the_database_holds_chunks_of_four_megabytes(engine: Engine) -> None:
    DatabaseStore(engine).write(KEY, [b"x" * (CHUNK + 1)])

    with transaction(engine) as session:
        sizes = select(func.octet_length(ArtifactChunk.data)).order_by(ArtifactChunk.seq)
        assert list(session.scalars(sizes)) == [4 << 20, 1]


@pytest.mark.parametrize("key", ["../out", "/etc/passwd", "a/../../out", "", "."])
def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(Invalid):
        FileStore(tmp_path / "root").write(key, [b"x"])


def test_files_can_be_read_by_others_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    FileStore(tmp_path).write(KEY, [b"x"])

    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path == tmp_path / KEY
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_store_that_is_not_offered_is_refused_in_words(engine: Engine) -> None:
    with pytest.raises(Invalid, match="'s3' is not offered yet"):
        open_store("s3://bucket/prefix", engine)
