"""Datasets: uploads become rows and issues, stored once for each content and read back in pages."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Literal

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Invalid, NotFound, TooLarge
from app.core.models import Dataset, DatasetIssue, DatasetRow, new_id
from app.core.settings import Settings
from app.services.formats.reading import Limits, Source, open_source
from app.services.formats.rows import Kind
from app.services.intake import Intake
from app.services.paging import Ask, Slice, fetch, fetch_newest

OnError = Literal["reject", "skip"]
State = Literal["ready", "invalid"]

STREAMED = 500


def create(
    session: Session,
    settings: Settings,
    *,
    workspace: str,
    name: str,
    kind: Kind,
    on_error: OnError,
    chunks: Iterable[bytes],
    subset: str | None = None,
) -> tuple[Dataset, bool]:
    """Read an upload and store it, in constant memory; tell whether it is new.

    The same bytes of the same kind and error policy are the dataset that is there already.

    Raises:
        Invalid: `dataset_empty`, `git_lfs_pointer`, `broken_gzip`.
        Unsupported: `unsupported_format`.
        TooLarge: `body_too_large`, `decompressed_too_large`, `too_many_rows`.
        Conflict: known already, but its rows were given another subset.
    """
    fresh = _provisional(workspace, name, kind, on_error)
    limits = Limits(settings.max_unpacked_bytes, settings.max_line_bytes)
    content = _Hashed(chunks, settings.max_upload_bytes)
    try:
        with session.begin_nested():
            session.add(fresh)
            session.flush()
            source = open_source(content, kind, limits, subset)
            Intake(session, fresh).take(source)
            _settle(fresh, source, content)
            session.flush()
    except IntegrityError:
        return _known(session, fresh, content.hexdigest()), False
    return fresh, True


class _Hashed:
    """Chunks on their way, hashed, counted and bounded."""

    def __init__(self, chunks: Iterable[bytes], max_bytes: int) -> None:
        self._chunks, self._max, self._hash, self.size = chunks, max_bytes, sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._max:
                raise TooLarge(f"An upload may have at most {self._max} bytes.")
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _provisional(workspace: str, name: str, kind: Kind, on_error: OnError) -> Dataset:
    """Return a dataset that rows can point at before its content is known."""
    made = new_id("ds")
    return Dataset(
        id=made,
        workspace_id=workspace,
        name=name,
        kind=kind,
        on_error=on_error,
        state="invalid",
        format="",
        sha256=made,
        bytes=0,
        line_count=0,
        row_count=0,
        issue_count=0,
        issue_counts={},
        subset_counts={},
    )


def _settle(dataset: Dataset, source: Source, content: _Hashed) -> None:
    tally = source.tally
    if tally.lines == 0:
        raise Invalid("There are no lines with content.", code="dataset_empty")
    usable = tally.rows > 0 and (tally.lost == 0 or dataset.on_error == "skip")
    dataset.state = "ready" if usable else "invalid"
    dataset.format = source.format
    dataset.sha256 = content.hexdigest()
    dataset.bytes = content.size
    dataset.line_count = tally.lines
    dataset.row_count = tally.rows if usable else 0
    dataset.issue_count = tally.issues.total()
    dataset.issue_counts = dict(tally.issues)
    dataset.subset_counts = dict(tally.subsets) if usable else {}


def _known(session: Session, fresh: Dataset, digest: str) -> Dataset:
    """Return the dataset that has this content already."""
    known = session.scalars(
        select(Dataset).where(
            Dataset.workspace_id == fresh.workspace_id,
            Dataset.kind == fresh.kind,
            Dataset.on_error == fresh.on_error,
            Dataset.sha256 == digest,
        )
    ).one()
    if known.subset_counts != fresh.subset_counts:
        raise Conflict(
            f"These bytes are dataset {known.id} already, with other subsets. Use that one, or "
            "write the subset into the records.",
            code="dataset_known_otherwise",
            facts={"dataset_id": known.id},
        )
    return known


def get(session: Session, workspace: str, dataset_id: str) -> Dataset:
    """Return one dataset; raises `NotFound`, for other workspaces' too."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or dataset.workspace_id != workspace:
        raise NotFound("There is no such dataset.")
    return dataset


def list_page(
    session: Session,
    workspace: str,
    ask: Ask,
    *,
    kind: Kind | None = None,
    state: State | None = None,
    name_contains: str | None = None,
) -> Slice[Dataset]:
    """Return datasets, newest first."""
    chosen = select(Dataset).where(Dataset.workspace_id == workspace)
    if kind is not None:
        chosen = chosen.where(Dataset.kind == kind)
    if state is not None:
        chosen = chosen.where(Dataset.state == state)
    if name_contains is not None:
        chosen = chosen.where(Dataset.name.icontains(name_contains, autoescape=True))
    return fetch_newest(session, chosen, Dataset, ask)


def rows_page(session: Session, dataset: Dataset, ask: Ask) -> Slice[DatasetRow]:
    """Return rows in the order of the upload."""
    chosen = select(DatasetRow).where(DatasetRow.dataset_id == dataset.id)
    return fetch(session, chosen, [DatasetRow.position], ask, f"rows:{dataset.id}")


def issues_page(session: Session, dataset: Dataset, ask: Ask) -> Slice[DatasetIssue]:
    """Return issues in the order of the upload."""
    chosen = select(DatasetIssue).where(DatasetIssue.dataset_id == dataset.id)
    return fetch(session, chosen, [DatasetIssue.seq], ask, f"issues:{dataset.id}")


def stream_issues(engine: Engine, dataset_id: str) -> Iterator[DatasetIssue]:
    """Yield all issues from a cursor of the server, in constant memory."""
    chosen = select(DatasetIssue).where(DatasetIssue.dataset_id == dataset_id)
    ordered = chosen.order_by(DatasetIssue.seq).execution_options(yield_per=STREAMED)
    with Session(engine) as session:
        yield from session.scalars(ordered)
