"""A run's rows as a page, or all of them as JSON Lines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.api.deps import EngineDep, SessionDep
from app.api.pages import Page, PageDep
from app.api.schemas import Out
from app.services import runs
from app.services.paging import Ask

T = TypeVar("T")
O = TypeVar("O", bound=Out)  # noqa: E741  # what comes out

NDJSON = "application/x-ndjson"

Show = Callable[[Session, Sequence[T]], Sequence[O]]

ALSO_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {NDJSON: {"schema": {"type": "string"}, "example": '{"step": 0}\n'}},
        "description": "A page; or with `Accept: application/x-ndjson` all rows, one a line.",
    }
}


def wants_lines(request: Request) -> bool:
    """Whether the caller asked for JSON Lines."""
    return NDJSON in request.headers.get("accept", "")


def lines(engine: Engine, listing: runs.Listing[T], show: Show[T, O]) -> StreamingResponse:
    """Stream every row of a listing."""

    def written() -> Iterator[bytes]:
        for session, rows in runs.batches(engine, listing):
            for row in show(session, rows):
                yield row.model_dump_json(by_alias=True).encode() + b"\n"

    return StreamingResponse(written(), media_type=NDJSON)


def paged(session: Session, listing: runs.Listing[T], ask: Ask, show: Show[T, O]) -> Page[O]:
    """Return one page of a listing."""
    found = runs.page(session, listing, ask)
    return Page[O](
        data=list(show(session, found.rows)),
        first_id=found.cursors[0] if found.cursors else None,
        last_id=found.cursors[-1] if found.cursors else None,
        has_more=found.has_more,
    )


@dataclass(frozen=True)
class Answerer:
    """Answers with a listing in the form that the caller accepts: a page, or all rows as lines."""

    request: Request
    session: SessionDep
    engine: EngineDep
    ask: PageDep

    def __call__(self, listing: runs.Listing[T], show: Show[T, O]) -> Any:
        """Return the page, or the stream."""
        if wants_lines(self.request):
            return lines(self.engine, listing, show)
        return paged(self.session, listing, self.ask, show)


AnswerDep = Annotated[Answerer, Depends()]
