"""A whole upload as a stream of readings: every line becomes a row or is named as lost."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from app.core.errors import TooLarge, Unsupported
from app.services.formats.detect import Format, detect
from app.services.formats.lines import Line, split_lines
from app.services.formats.records import read_record, read_text
from app.services.formats.rows import Fault, Kind, Messages, Reading
from app.services.formats.unpack import unpacked

MAX_LINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader puts up with."""

    max_unpacked_bytes: int
    max_line_bytes: int
    max_lines: int = MAX_LINES


@dataclass(slots=True)
class Tally:
    """Counts of what was read; no line is ever lost without being counted."""

    seen: int = 0
    blank: int = 0
    rows: int = 0
    lost: int = 0
    issues: Counter[str] = field(default_factory=Counter)
    subsets: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> int:
        """Lines that held something."""
        return self.rows + self.lost

    def add(self, reading: Reading) -> None:
        """Count one line that is not blank."""
        self.issues.update(fault.code for fault in reading.faults)
        if reading.row is None:
            self.lost += 1
            return
        self.rows += 1
        if reading.row.subset is not None:
            self.subsets[reading.row.subset] += 1

    def check(self) -> None:
        """Assert that every line seen is a row, or lost with a fault, or blank."""
        assert self.seen == self.blank + self.rows + self.lost, self


@dataclass(slots=True)
class Before:
    """What came before, to find repeated ids and prompts; about 200 bytes a row."""

    ids: dict[bytes, int] = field(default_factory=dict)
    prompts: dict[bytes, int] = field(default_factory=dict)

    def compare(self, reading: Reading) -> Reading:
        """Lose a row whose id is taken; warn of a prompt that stood before."""
        row = reading.row
        if row is None:
            return reading
        taken = self.ids.setdefault(_digest(row.row_id), row.line) if row.row_id else row.line
        if taken != row.line:
            message = f"The id is that of line {taken}."
            return reading.lost(Fault(row.line, "duplicate_id", message, "/id"))
        same = self.prompts.setdefault(_prompt_digest(row.messages), row.line)
        if same == row.line:
            return reading
        message = f"The prompt is that of line {same}."
        return reading.warned(Fault(row.line, "duplicate_prompt", message, severity="warning"))


@dataclass(slots=True)
class Source:
    """Data being read: iterate once; the tally is whole at the end."""

    format: Format
    kind: Kind
    subset: str | None
    limits: Limits
    lines: Iterator[Line | Fault]
    tally: Tally = field(default_factory=Tally)
    before: Before = field(default_factory=Before)

    def __iter__(self) -> Iterator[Reading]:
        """Yield one reading a line that is not blank."""
        for line in self.lines:
            self._count()
            if isinstance(line, Line) and not line.text.strip():
                self.tally.blank += 1
                continue
            reading = self.before.compare(self._read(line))
            self.tally.add(reading)
            yield reading
        self.tally.check()

    def _count(self) -> None:
        self.tally.seen += 1
        if self.tally.seen > self.limits.max_lines:
            message = f"There are more than {self.limits.max_lines} lines. Split the file."
            raise TooLarge(message, code="too_many_rows")

    def _read(self, line: Line | Fault) -> Reading:
        if isinstance(line, Fault):
            return Reading(line.line, None, (line,))
        reading = read_text(line) if self.format == "text" else read_record(line, self.kind)
        if self.subset is None or reading.row is None or reading.row.subset is not None:
            return reading
        return replace(reading, row=replace(reading.row, subset=self.subset))


def open_source(
    chunks: Iterable[bytes], kind: Kind, limits: Limits, subset: str | None = None
) -> Source:
    """Look at the first lines and say what the data are; rows without a subset get `subset`.

    Raises:
        Unsupported: not text, or text that is neither JSON Lines nor, for prompts, plain.
        Invalid: a Git-LFS pointer or broken gzip, here or while iterating.
        TooLarge: beyond a limit of the whole, here or while iterating.
    """
    text = unpacked(chunks, limits.max_unpacked_bytes)
    found, lines = detect(split_lines(text, limits.max_line_bytes))
    if found == "text" and kind != "prompts":
        lines = _refuse_text(lines, kind)
    return Source(found, kind, subset, limits, lines)


def _refuse_text(lines: Iterator[Line | Fault], kind: Kind) -> Iterator[Line | Fault]:
    """Let blank lines pass: data without any other are empty, not of another format."""
    for line in lines:
        if isinstance(line, Line) and line.text.strip():
            message = f"The content is plain text; {kind} are read from JSON Lines."
            raise Unsupported(message, code="unsupported_format")
        yield line


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _prompt_digest(messages: Messages) -> bytes:
    return _digest("\x00".join(part for turn in messages for part in turn.values()))
