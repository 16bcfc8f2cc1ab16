"""Checkpoints over HTTP: the row, its files, and all of them as one archive."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.deps import EngineDep, SessionDep, StoreDep, WorkspaceDep, only_declared_parameters
from app.api.downloads import attachment, send_file
from app.api.examples import CHECKPOINT_ID
from app.api.schemas_runs import CheckpointDetail
from app.core.errors import FaultAt, Invalid
from app.core.models import Checkpoint
from app.services import checkpoints

router = APIRouter(
    prefix="/v1/checkpoints", tags=["checkpoints"], dependencies=[Depends(only_declared_parameters)]
)

ROLES = ("weights", "card", "training_state")


def _checkpoint(
    session: SessionDep,
    workspace: WorkspaceDep,
    checkpoint_id: Annotated[str, Path(examples=[CHECKPOINT_ID])],
) -> Checkpoint:
    return checkpoints.get(session, workspace, checkpoint_id)


CheckpointDep = Annotated[Checkpoint, Depends(_checkpoint)]


def _bytes(media: str, description: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    content = {media: {"schema": schema, "example": "(bytes)"}}
    return {200: {"description": description, "content": content}}


CORRUPT: dict[int | str, dict[str, Any]] = {
    410: {"description": "The stored bytes are not those of the manifest; they are not given out."}
}
FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_bytes("application/octet-stream", "The whole file."),
    206: {"description": "The asked ranges of it."},
    304: {"description": "The caller's copy is this one."},
    **CORRUPT,
    416: {"description": "No asked range lies in the file."},
}


@router.get("/{checkpoint_id}", operation_id="checkpoints_get", summary="Get a checkpoint")
def get(checkpoint: CheckpointDep) -> CheckpointDetail:
    """Return a checkpoint with its manifest: every file, its bytes, sha256, role and form."""
    return CheckpointDetail.model_validate(checkpoint)


@router.get(
    "/{checkpoint_id}/files/{name:path}",
    operation_id="checkpoints_file",
    summary="Download a file of a checkpoint",
    response_class=Response,
    responses=FILE_ANSWERS,
)
def get_file(
    request: Request, checkpoint: CheckpointDep, store: StoreDep, engine: EngineDep, name: str
) -> Response:
    """Send a file that the manifest names; ranges, If-Range and If-None-Match are honoured."""
    return send_file(request, checkpoints.file_of(checkpoint, name, store), store, engine)


@router.head(
    "/{checkpoint_id}/files/{name:path}",
    operation_id="checkpoints_file_head",
    summary="Ask about a file of a checkpoint",
    response_class=Response,
    responses=FILE_ANSWERS,
)
def head_file(
    request: Request, checkpoint: CheckpointDep, store: StoreDep, engine: EngineDep, name: str
) -> Response:
    """Send the headers of a download alone."""
    return send_file(request, checkpoints.file_of(checkpoint, name, store), store, engine)


def _roles(
    role: Annotated[
        str, Query(max_length=100, description=f"Any of {', '.join(ROLES)}, with commas between.")
    ] = "weights,card",
) -> list[str]:
    names = role.split(",")
    if not set(names) <= set(ROLES):
        message = f"'role' may name: {', '.join(ROLES)}."
        raise Invalid(message, code="not_allowed", faults=(FaultAt("not_allowed", message),))
    return names


@router.get(
    "/{checkpoint_id}/archive",
    operation_id="checkpoints_archive",
    summary="Download a checkpoint as a tar",
    response_class=Response,
    responses={
        **_bytes("application/x-tar", "The files, below one folder, with the manifest."),
        **CORRUPT,
    },
)
def get_archive(
    checkpoint: CheckpointDep,
    store: StoreDep,
    engine: EngineDep,
    roles: Annotated[list[str], Depends(_roles)],
    form: Annotated[
        Literal["adapter", "merged"] | None, Query(description="Weights in this form only.")
    ] = None,
) -> Response:
    """Stream weights and card, or the roles asked for; the state of training is not among them."""
    files = checkpoints.chosen_files(checkpoint, store, roles, form)
    archive = checkpoints.Archive(checkpoint, files)
    headers = {
        "Content-Type": "application/x-tar",
        "Content-Length": str(archive.size()),
        "Content-Disposition": attachment(f"{checkpoint.id}.tar"),
        "Cache-Control": "private, no-transform",
    }
    return StreamingResponse(
        archive.read(partial(checkpoints.read_whole, engine, store)), headers=headers
    )
