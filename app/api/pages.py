"""Lists over HTTP: how a page is asked for, and the envelope that it comes in."""

from collections.abc import Callable
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from app.services.paging import Ask, Slice

T = TypeVar("T")
M = TypeVar("M")


class Page(BaseModel, Generic[T]):
    """A page; `last_id` is the `after` of the next one."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_ask(
    limit: Annotated[int, Query(ge=1, le=100, description="Rows a page.")] = 20,
    after: Annotated[
        str | None, Query(max_length=512, description="The `last_id` of the page before.")
    ] = None,
) -> Ask:
    """Read the two parameters that every list has."""
    return Ask(limit, None if after is None else after.replace("\x00", "\ufffd"))


PageDep = Annotated[Ask, Depends(page_ask)]


def page_of(found: Slice[M], show: Callable[[M], T]) -> Page[T]:
    """Put a slice into the envelope, each row rendered by `show`."""
    return Page[T](
        data=[show(row) for row in found.rows],
        first_id=found.cursors[0] if found.cursors else None,
        last_id=found.cursors[-1] if found.cursors else None,
        has_more=found.has_more,
    )
