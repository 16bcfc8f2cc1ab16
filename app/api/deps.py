"""What endpoints are given: a session that commits before the answer, and the app's parts."""

import difflib
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.core.db import transaction
from app.core.errors import FaultAt, Invalid
from app.core.models import DEFAULT_WORKSPACE
from app.core.settings import Settings
from app.core.spec.catalogue import Catalogue
from app.core.storage import Store

METADATA = "metadata[key]"
"""The declared name of a filter by metadata; requests carry `metadata[team]=x`."""


def get_session(request: Request) -> Iterator[Session]:
    """One transaction a request; with the scope `function` it commits before the answer.

    A request with an Idempotency-Key brings its own, in which its answer is kept as well.
    """
    if (begun := getattr(request.state, "session", None)) is not None:
        yield begun
        return
    with transaction(request.app.state.engine) as session:
        yield session


def get_workspace() -> str:
    """Return the caller's workspace; until there are keys there is one."""
    return DEFAULT_WORKSPACE


def get_engine(request: Request) -> Engine:
    """Return the app's engine, for streams that outlive the request's session."""
    engine: Engine = request.app.state.engine
    return engine


def get_settings(request: Request) -> Settings:
    """Return the app's settings."""
    settings: Settings = request.app.state.settings
    return settings


def get_store(request: Request) -> Store:
    """Return the app's artifact store."""
    store: Store = request.app.state.store
    return store


def get_catalogue(request: Request) -> Catalogue:
    """Return the operator's catalogue, loaded when the app was made."""
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
WorkspaceDep = Annotated[str, Depends(get_workspace)]
EngineDep = Annotated[Engine, Depends(get_engine)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
StoreDep = Annotated[Store, Depends(get_store)]
CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]


def declared_parameters(dependant: Dependant) -> set[str]:
    """Return the names of all query parameters that an endpoint and its dependencies declare."""
    own = {field.alias for field in dependant.query_params}
    return own.union(*(declared_parameters(inner) for inner in dependant.dependencies))


def _known(name: str, declared: set[str]) -> bool:
    is_metadata = name.startswith("metadata[") and name.endswith("]")
    return name in declared or (is_metadata and METADATA in declared)


def only_declared_parameters(request: Request) -> None:
    """Refuse query parameters that the endpoint does not declare; give it to every router."""
    route = request.scope.get("route")
    declared = declared_parameters(route.dependant) if isinstance(route, APIRoute) else set()
    unknown = [name for name in request.query_params if not _known(name, declared)]
    if unknown:
        faults = tuple(FaultAt("unknown_parameter", _hint(name, declared)) for name in unknown)
        raise Invalid(faults[0].message, code="unknown_parameter", faults=faults)


def _hint(name: str, declared: set[str]) -> str:
    near = difflib.get_close_matches(name, declared, n=1)
    more = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown parameter {name[:64]!a}{more}"
