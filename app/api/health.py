"""Liveness and readiness, outside of the versioned paths."""

from dataclasses import asdict

from fastapi import APIRouter, Depends

from app.api.deps import EngineDep, SettingsDep, StoreDep, only_declared_parameters
from app.api.schemas import CheckOut, Health, Readiness
from app.core.errors import Unavailable
from app.services import health

router = APIRouter(tags=["health"], dependencies=[Depends(only_declared_parameters)])


@router.get("/healthz", operation_id="health_live", summary="Is the process alive?")
def live() -> Health:
    """Answer without touching anything else."""
    return Health()


@router.get("/readyz", operation_id="health_ready", summary="Can requests be served?")
def ready(engine: EngineDep, store: StoreDep, settings: SettingsDep) -> Readiness:
    """Check database, schema, store and broker; the broker alone may be away."""
    checks = health.ready(engine, store, settings.broker_url)
    if not all(check.ok for check in checks.values() if check.needed):
        shown = {name: asdict(check) for name, check in checks.items()}
        raise Unavailable("Not everything answers.", code="not_ready", facts={"checks": shown})
    return Readiness(checks={name: CheckOut.model_validate(c) for name, c in checks.items()})
