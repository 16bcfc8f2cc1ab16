"""The application: `uvicorn --factory app.main:create_app`; nothing happens at import."""

from importlib.metadata import version

from fastapi import FastAPI
from sqlalchemy import Engine

from app.api import (
    catalogue,
    checkpoints,
    datasets,
    docs,
    evaluations,
    experiments,
    health,
    jobs,
    reports,
    runs,
)
from app.api.errors import handle_errors
from app.api.middleware import Bodies, Boundary
from app.api.openapi import describe
from app.core.db import get_engine
from app.core.settings import Settings, get_settings
from app.core.storage import open_store
from app.services.catalogue import open_catalogue

FORM_FRAME_BYTES = 1 << 16
"""What an upload's form may weigh beside the file."""

ABOUT = """Aligns language models by CycleAlign: submit a job, watch it, download the checkpoint.

Lists are paged: give a page's `last_id` as `after`. Unknown fields and parameters are refused.
Answers may gain fields at any time. Every error is a problem (RFC 9457) that names all faults.
"""


def create_app(settings: Settings | None = None, engine: Engine | None = None) -> FastAPI:
    """Make the application; it connects to nothing until it is asked something."""
    settings = settings or get_settings()
    engine = engine or get_engine(settings.database_url)
    app = FastAPI(
        title="cyclealign",
        version=version("cyclealign"),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.engine = engine
    app.state.store = open_store(settings.artifacts_url, engine)
    app.state.catalogue = open_catalogue(settings.catalogue)
    for module in (
        jobs,
        evaluations,
        experiments,
        runs,
        reports,
        datasets,
        checkpoints,
        catalogue,
        health,
        docs,
    ):
        app.include_router(module.router)
    handle_errors(app)
    upload_bytes = settings.max_upload_bytes + FORM_FRAME_BYTES
    app.add_middleware(
        Bodies, json_limit=settings.max_json_bytes, uploads={"/v1/datasets": upload_bytes}
    )
    app.add_middleware(Boundary)
    app.openapi = describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app
