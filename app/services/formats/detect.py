"""What a text is, by its first lines; names and declared types do not matter."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Literal

from app.core.errors import Unsupported
from app.services.formats.fields import KNOWN
from app.services.formats.lines import Line
from app.services.formats.rows import Fault

Format = Literal["jsonl", "text"]

LOOKED_AT = 20
COLUMN = re.compile(r'"?([A-Za-z_]+)"?')
COLUMNS = {*KNOWN, "text", "question", "instruction", "response", "completion"}


def detect(lines: Iterable[Line | Fault]) -> tuple[Format, Iterator[Line | Fault]]:
    """Return the format and all the lines.

    Raises:
        Unsupported: the text is of a format that reads by something else than lines.
    """
    stream = iter(lines)
    first = list(islice(stream, LOOKED_AT))
    texts = [line.text.strip() for line in first if isinstance(line, Line)]
    return _format([text for text in texts if text]), chain(first, stream)


def _format(texts: list[str]) -> Format:
    """JSON Lines if at least half of the lines are JSON, or mean to be."""
    if not texts:
        return "text"
    _refuse_others(texts[0])
    return "jsonl" if 2 * sum(map(_is_json, texts)) >= len(texts) else "text"


def _is_json(text: str) -> bool:
    if not text.startswith(("[", '"')):
        return text.startswith("{")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_others(first: str) -> None:
    if first == "{" or first.startswith("[{") or first == "[":
        raise _unsupported("JSON that spans lines; write every record on a line of its own")
    if first.lower().startswith(("<!doctype", "<html", "<?xml")):
        raise _unsupported("a markup document")
    if _is_header(first):
        raise _unsupported("a table with a header (CSV or TSV)")


def _is_header(first: str) -> bool:
    for comma in (",", "\t", ";"):
        cells = [COLUMN.fullmatch(cell.strip()) for cell in first.split(comma)]
        names = {cell[1].lower() for cell in cells if cell}
        if len(cells) > 1 and all(cells) and names & COLUMNS:
            return True
    return False


def _unsupported(what: str) -> Unsupported:
    return Unsupported(
        f"The content is {what}. Send JSON Lines, or plain text with a prompt a line.",
        code="unsupported_format",
    )
