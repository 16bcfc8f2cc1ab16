"""What this service offers, over HTTP: models, judges, capabilities."""

from typing import Any, TypeVar

from fastapi import APIRouter, Depends

from app.api.deps import CatalogueDep, SettingsDep, only_declared_parameters
from app.api.pages import Page
from app.api.schemas import CapabilitiesOut, JudgeOut, ModelOut
from app.services import catalogue
from app.services.capabilities import capabilities

router = APIRouter(
    prefix="/v1", tags=["catalogue"], dependencies=[Depends(only_declared_parameters)]
)

T = TypeVar("T", ModelOut, JudgeOut)


def _whole(rows: list[T]) -> Page[T]:
    first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
    return Page(data=rows, first_id=first, last_id=last, has_more=False)


@router.get("/models", operation_id="models_list", summary="List the models")
def list_models(entries: CatalogueDep) -> Page[ModelOut]:
    """List every model that a job may name, on one page."""
    return _whole([ModelOut(**model) for model in catalogue.models(entries)])


@router.get("/judges", operation_id="judges_list", summary="List the judges")
def list_judges(entries: CatalogueDep) -> Page[JudgeOut]:
    """List every judge that a job may name, with what it can do, on one page."""
    return _whole([JudgeOut.model_validate(judge) for judge in catalogue.judges(entries)])


@router.get(
    "/capabilities",
    operation_id="capabilities_get",
    summary="Get the capabilities",
    response_model=CapabilitiesOut,
)
def get_capabilities(settings: SettingsDep) -> dict[str, Any]:
    """Return methods, presets, ranges, limits, states and transitions, to build forms from."""
    return capabilities(settings)
