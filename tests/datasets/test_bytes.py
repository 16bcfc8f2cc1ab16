"""From bytes to lines: endings, encodings, packing, caps and content that is something else."""

import gzip
import io
import pickle
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AlignError, Invalid, TooLarge, Unsupported
from app.services.formats.lines import Line, split_lines
from app.services.formats.rows import Fault
from app.services.formats.unpack import unpacked

MIB = 1 << 20


def pieces(data: bytes, sizes: Iterable[int] = (1000,)) -> Iterator[bytes]:
    rest = data
    for size in sizes:
        if size < len(rest):
            yield rest[:size]
            rest = rest[size:]
    yield rest


def unpack(data: bytes, cap: int = 64 * MIB) -> bytes:
    return b"".join(unpacked(pieces(data, [1000] * (len(data) // 1000)), cap))


def lines(data: bytes, limit: int = 100) -> list[Line | Fault]:
    return list(split_lines([data], limit))


def refusal(data: bytes, cap: int = 64 * MIB) -> tuple[type[AlignError], str]:
    with pytest.raises(AlignError) as caught:
        unpack(data, cap)
    return type(caught.value), caught.value.code


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("data.jsonl", '{"prompt": "hi"}')
    return made.getvalue()


def test_unix_and_windows_endings_give_the_same_lines() -> None:
    assert lines(b"one\ntwo\n\nthree") == lines(b"one\r\ntwo\r\n\r\nthree\r\n")
    assert lines(b"one\ntwo\n") == [Line(1, "one"), Line(2, "two")]


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert lines("\ufeffone\n\ufefftwo".encode()) == [Line(1, "one"), Line(2, "\ufefftwo")]


def test_other_line_separators_of_unicode_do_not_split() -> None:
    assert lines("a\u2028b\x0bc\n".encode()) == [Line(1, "a\u2028b\x0bc")]


def test_bad_utf8_and_nul_are_faults_of_their_line_alone() -> None:
    good, bad, nul, last = lines(b"ok\ncaf\xe9!\na\x00b\nend")
    assert isinstance(bad, Fault)
    assert isinstance(nul, Fault)
    assert (bad.line, bad.code, bad.excerpt) == (2, "invalid_encoding", "caf\ufffd!")
    assert "Byte 4" in bad.message
    assert (nul.line, nul.code, nul.excerpt) == (3, "forbidden_character", "a\ufffdb")
    assert (good, last) == (Line(1, "ok"), Line(4, "end"))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(ending: bytes) -> None:
    assert lines(b"x" * 100 + ending) == [Line(1, "x" * 100)]
    (fault,) = lines(b"x" * 101 + ending)
    assert isinstance(fault, Fault)
    assert (fault.line, fault.code) == (1, "line_too_long")
    assert len(fault.excerpt or "") <= 120


def test_an_endless_line_takes_no_memory() -> None:
    chunk = b"x" * 65536
    tracemalloc.start()
    found = list(split_lines((chunk for _ in range(3200)), MIB))  # 200 MiB without a newline
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.code for item in found if isinstance(item, Fault)] == ["line_too_long"]
    assert peak < 4 * MIB


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_how_bytes_are_cut_into_chunks_never_changes_the_lines(
    data: bytes, sizes: list[int], pack: bool
) -> None:
    data = b"{" + data
    sent = gzip.compress(data) if pack else data
    whole = list(split_lines(unpacked([sent], MIB), 30))
    assert list(split_lines(unpacked(pieces(sent, sizes), MIB), 30)) == whole


def test_gzip_is_known_by_its_content_and_may_have_several_members() -> None:
    assert unpack(gzip.compress(b"one\n") + gzip.compress(b"two\n")) == b"one\ntwo\n"


@pytest.mark.parametrize(
    "data",
    [
        zipped(),
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 50,
        pickle.dumps({"prompt": "hi"}),
        b"PAR1" + b"\x00" * 40 + b"PAR1",
        b"\x28\xb5\x2f\xfd" + b"\x00" * 20,
        '{"prompt": "hi"}'.encode("utf-16"),
        gzip.compress(zipped()),
        gzip.compress(gzip.compress(b'{"prompt": "hi"}')),
    ],
    ids=["zip", "png", "pickle", "parquet", "zstd", "utf-16", "zip in gzip", "gzip in gzip"],
)
def test_other_content_is_refused_by_what_it_is(data: bytes) -> None:
    assert refusal(data) == (Unsupported, "unsupported_format")


def test_a_git_lfs_pointer_is_named() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    assert refusal(pointer) == (Invalid, "git_lfs_pointer")


def test_cut_or_damaged_gzip_is_refused() -> None:
    packed = gzip.compress(b"a line of text\n" * 50)
    assert refusal(packed[:-5]) == (Invalid, "broken_gzip")
    assert refusal(packed[:20] + b"\xff\xff\xff" + packed[23:]) == (Invalid, "broken_gzip")
    assert refusal(packed + b"garbage") == (Invalid, "broken_gzip")


def test_a_gzip_bomb_is_stopped_early_and_in_little_memory() -> None:
    engine = zlib.compressobj(9, wbits=31)
    bomb = b"".join(engine.compress(bytes(MIB)) for _ in range(300)) + engine.flush()
    tracemalloc.start()
    with pytest.raises(TooLarge) as caught:
        for _ in unpacked([bomb], 1 << 30):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "decompressed_too_large"
    assert peak < 4 * MIB


def test_the_absolute_cap_holds_for_plain_and_packed_bytes() -> None:
    data = b"a line\n" * 1000
    assert unpack(data, 7000) == data
    assert refusal(data, 6999) == (TooLarge, "decompressed_too_large")
    assert refusal(gzip.compress(data), 6999) == (TooLarge, "decompressed_too_large")
