"""Datasets over HTTP: upload, list, and read back rows and issues."""

import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from app.api.deps import EngineDep, SessionDep, SettingsDep, WorkspaceDep, only_declared_parameters
from app.api.lines import NDJSON, wants_lines
from app.api.pages import Page, PageDep, page_of
from app.api.schemas_datasets import (
    DATASET_EXAMPLE,
    ISSUE_EXAMPLE,
    UPLOAD_BODY,
    DatasetForm,
    DatasetOut,
    IssueOut,
    RowOut,
    StoredOut,
)
from app.api.uploads import FILE, UploadDep
from app.core.errors import Invalid
from app.core.models import DatasetIssue
from app.core.spec.base import Text
from app.services import datasets
from app.services.formats.rows import Kind
from app.services.paging import Ask

INLINE_ISSUES = 100

DatasetId = Annotated[str, Path(description="The dataset's id.", examples=[DATASET_EXAMPLE["id"]])]

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(only_declared_parameters)]
)


def _form(upload: UploadDep) -> DatasetForm:
    """Check the text parts; an empty one, as HTML forms send it, is none."""
    upload.check_fields((FILE, *DatasetForm.model_fields))
    given = {name: text for name, text in upload.fields.items() if text}
    try:
        return DatasetForm.model_validate(given)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults, body=given) from None


FormDep = Annotated[DatasetForm, Depends(_form)]


@router.post(
    "",
    operation_id="datasets_create",
    status_code=201,
    summary="Upload a dataset",
    openapi_extra=UPLOAD_BODY,
    responses={200: {"model": StoredOut, "description": "These bytes are known already."}},
)
def create(
    response: Response,
    session: SessionDep,
    settings: SettingsDep,
    workspace: WorkspaceDep,
    upload: UploadDep,
    form: FormDep,
) -> StoredOut:
    """Store a file as `ready` or `invalid`, with everything wrong with it named by line."""
    dataset, is_new = datasets.create(
        session,
        settings,
        workspace=workspace,
        name=form.name or upload.file_name or "dataset",
        kind=form.kind,
        on_error=form.on_error,
        chunks=upload.chunks(),
        subset=form.subset,
    )
    if form.sha256 not in (None, dataset.sha256):
        raise Invalid("The bytes received have another SHA-256.", code="checksum_mismatch")
    session.refresh(dataset)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    first = datasets.issues_page(session, dataset, Ask(INLINE_ISSUES)).rows
    shown = DatasetOut.model_validate(dataset).model_dump()
    return StoredOut(**shown, issues=[IssueOut.model_validate(issue) for issue in first])


@router.get("", operation_id="datasets_list", summary="List datasets, newest first")
def list_datasets(
    session: SessionDep,
    workspace: WorkspaceDep,
    ask: PageDep,
    kind: Kind | None = None,
    state: datasets.State | None = None,
    name_contains: Annotated[Text | None, Query(max_length=200)] = None,
) -> Page[DatasetOut]:
    """List the workspace's datasets."""
    found = datasets.list_page(
        session, workspace, ask, kind=kind, state=state, name_contains=name_contains
    )
    return page_of(found, DatasetOut.model_validate)


@router.get("/{dataset_id}", operation_id="datasets_get", summary="Get a dataset")
def get(session: SessionDep, workspace: WorkspaceDep, dataset_id: DatasetId) -> DatasetOut:
    """Return one dataset."""
    return DatasetOut.model_validate(datasets.get(session, workspace, dataset_id))


@router.get(
    "/{dataset_id}/rows", operation_id="datasets_rows", summary="List the rows of a dataset"
)
def rows(
    session: SessionDep, workspace: WorkspaceDep, ask: PageDep, dataset_id: DatasetId
) -> Page[RowOut]:
    """List rows in the order of the upload; an `invalid` dataset has none."""
    dataset = datasets.get(session, workspace, dataset_id)
    return page_of(datasets.rows_page(session, dataset, ask), RowOut.model_validate)


@router.get(
    "/{dataset_id}/issues",
    operation_id="datasets_issues",
    summary="List everything wrong with a dataset",
    response_model=Page[IssueOut],
    responses={
        200: {
            "content": {NDJSON: {"example": json.dumps(ISSUE_EXAMPLE)}},
            "description": "A page; or with `Accept: application/x-ndjson` all issues, one a line.",
        }
    },
)
def issues(
    request: Request,
    session: SessionDep,
    workspace: WorkspaceDep,
    engine: EngineDep,
    ask: PageDep,
    dataset_id: DatasetId,
) -> Page[IssueOut] | StreamingResponse:
    """List issues in the order of the upload."""
    dataset = datasets.get(session, workspace, dataset_id)
    if wants_lines(request):
        stream = datasets.stream_issues(engine, dataset.id)
        return StreamingResponse(_as_lines(stream), media_type=NDJSON)
    return page_of(datasets.issues_page(session, dataset, ask), IssueOut.model_validate)


def _as_lines(found: Iterator[DatasetIssue]) -> Iterator[str]:
    for issue in found:
        yield IssueOut.model_validate(issue).model_dump_json() + "\n"
