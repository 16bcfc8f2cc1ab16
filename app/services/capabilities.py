"""What this service can do, so that a client can build its forms from the answer."""

from importlib.metadata import version
from typing import Any, get_args

from app.core.models import State, allowed_actions
from app.core.models.job import TRANSITIONS, USER_ACTS
from app.core.settings import Settings
from app.core.spec.job import GenerationSpec, JobJudgeSpec, JobSpec, OptimizerSpec
from app.core.spec.method import CycleAlign, MethodSpec, Offline
from app.core.spec.objectives import ObjectiveSpec
from app.services.formats.rows import Kind
from app.services.resolving import PRESETS

METHODS = get_args(get_args(MethodSpec)[0])


def capabilities(settings: Settings) -> dict[str, Any]:
    """Describe methods, objectives, presets, formats, limits, states and transitions."""
    return {
        "object": "capabilities",
        "service_version": version("cyclealign"),
        "methods": [part.model_fields["type"].default for part in METHODS],
        "objectives": [part.model_fields["type"].default for part in get_args(ObjectiveSpec)],
        "tunings": ["lora", "full"],
        "presets": {name: _preset(name) for name in PRESETS},
        "dataset_kinds": list(get_args(Kind)),
        "checkpoint_forms": ["adapter", "merged"],
        "ranges": {
            "method": _ranges(CycleAlign),
            "offline_method": _ranges(Offline),
            "judge": _ranges(JobJudgeSpec),
            "generation": _ranges(GenerationSpec),
            "optimizer": _ranges(OptimizerSpec),
        },
        "limits": {
            "max_json_bytes": settings.max_json_bytes,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_unpacked_bytes": settings.max_unpacked_bytes,
            "max_line_bytes": settings.max_line_bytes,
            "max_page": 100,
            "metadata_keys": 16,
        },
        "states": {state.value: list(allowed_actions(state)) for state in State},
        "transitions": _transitions(),
        "job_schema": JobSpec.model_json_schema(by_alias=True),
    }


def _preset(name: str) -> dict[str, Any]:
    return {".".join(path): value for path, value in PRESETS[name].items()}


def _ranges(model: Any) -> dict[str, Any]:
    """Return the bounds and defaults of a spec's numbers, as JSON Schema words them."""
    fields = model.model_json_schema(by_alias=True)["properties"]
    words = ("default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum")
    return {
        name: {word: field[word] for word in words if word in field}
        for name, field in fields.items()
    }


def _transitions() -> list[dict[str, str]]:
    """List the moves that users can make."""
    return [
        {"from": state.value, "action": act.value, "to": TRANSITIONS[state, act].value}
        for state in State
        for act in USER_ACTS
        if (state, act) in TRANSITIONS
    ]
