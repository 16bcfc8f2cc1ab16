"""Every error becomes a problem: ours, FastAPI's, Starlette's and the database's."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.middleware import BodyRefused
from app.api.problems import problem, problem_of
from app.core.errors import AlignError
from app.core.logging import get_logger
from app.services.faults import faults_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_HTTP = {
    400: ("malformed_multipart", "The body could not be read."),
    404: ("not_found", "Nothing is at this path."),
    405: ("method_not_allowed", "This path does not know the method; `Allow` names those it does."),
}


def handle_errors(app: FastAPI) -> None:
    """Give the app a handler for every kind of error that is raised on the way."""
    app.add_exception_handler(AlignError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(DataError, _data)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, AlignError)
    return problem_of(request.scope, error)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    route = request.scope.get("route")
    field = getattr(route, "body_field", None)
    model = field.field_info.annotation if field is not None else None
    errors = faults_of(error.errors(), error.body, model)
    return problem(request.scope, 422, _summary(errors), _detail(errors), errors)


def _summary(errors: list[dict[str, Any]]) -> str:
    codes = {item["code"] for item in errors}
    return str(codes.pop()) if len(codes) == 1 else "invalid"


def _detail(errors: list[dict[str, Any]]) -> str:
    first = errors[0]
    place = first.get("parameter") or first.get("pointer") or "body"
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    return f"{place}: {first['message']}{more}"


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyRefused):
        return problem_of(request.scope, error.error)
    status = error.status_code
    code, detail = _HTTP.get(status, ("http_error", "The request cannot be answered."))
    headers = {"Allow": ", ".join(_allowed(request))} if status == 405 else None  # noqa: PLR2004  # HTTP's
    return problem(request.scope, status, code, detail, headers=headers)


def _allowed(request: Request) -> Iterable[str]:
    # One path may lie on several routes; Starlette's own Allow names the first one's methods.
    for method in METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            yield method


def _database_away(request: Request, error: Exception) -> Response:
    get_logger().warning("database unavailable", fault=type(error).__name__)
    detail = "The database does not answer now; try again."
    return problem(request.scope, 503, "unavailable", detail)


def _data(request: Request, error: Exception) -> Response:
    get_logger().warning("the database refused a value", fault=type(error).__name__)
    return problem(request.scope, 422, "out_of_range", "A value is outside of what can be stored.")
