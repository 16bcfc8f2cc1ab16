"""Which fields of a CycleAlign job go together, and which its judge cannot honour."""

from collections.abc import Iterator
from typing import Any

from app.core.errors import FaultAt
from app.core.spec.job import JobSpec
from app.core.spec.method import CycleAlign
from app.services.catalogue import Traits
from app.services.consistency import explicit, inconsistent

_READS_NONE = "The judge reads no demonstrations."


def cycle_faults(
    spec: JobSpec, method: CycleAlign, values: dict[str, Any], traits: Traits | None
) -> Iterator[FaultAt]:
    """Yield what contradicts itself; `values` is the settled spec."""
    if spec.judge is None:
        yield FaultAt("missing", "'cyclealign' needs a judge; see GET /v1/judges.", "/judge")
    yield from _iteration_faults(spec, method, values)
    yield from _lane_faults(values)
    if spec.judge is not None and spec.judge.orders > 1:
        yield from _order_faults(spec.judge.orders, values["method"]["candidates"], traits)
    if traits is not None:
        yield from _trait_faults(spec, method, traits)


def _iteration_faults(
    spec: JobSpec, method: CycleAlign, values: dict[str, Any]
) -> Iterator[FaultAt]:
    path = ("method", "dynamic_demonstrations")
    ablated = explicit(spec, path) and method.dynamic_demonstrations != "agreement"
    if ablated and values["method"]["iterations"] == 1:
        yield inconsistent(
            path,
            "'method.dynamic_demonstrations' could have no effect with one of "
            "'method.iterations': demonstrations are read from the second on.",
        )


def _lane_faults(values: dict[str, Any]) -> Iterator[FaultAt]:
    if values["method"]["staleness"] and values["method"]["concurrency"] == 1:
        yield inconsistent(
            ("method", "staleness"),
            "'method.staleness' needs two lanes of 'method.concurrency' or more: one half is "
            "sampled while the other is judged.",
        )


def _order_faults(orders: int, candidates: int, traits: Traits | None) -> Iterator[FaultAt]:
    path = ("judge", "orders")
    if orders > candidates:
        yield inconsistent(
            path,
            f"'judge.orders' is {orders}, but {candidates} of 'method.candidates' have only "
            f"{candidates} cyclic orders.",
        )
    if traits is not None and traits.gives_scores:
        yield inconsistent(
            path,
            "'judge.orders' could have no effect: this judge scores each response by itself, "
            "wherever it stands.",
        )


def _trait_faults(spec: JobSpec, method: CycleAlign, traits: Traits) -> Iterator[FaultAt]:
    if method.teacher == "on" and not traits.writes_response:
        yield inconsistent(
            ("method", "teacher"),
            "'method.teacher' is on, but the judge of 'judge.name' writes no responses.",
        )
    if traits.reads_demonstrations:
        return
    if method.dynamic_demonstrations != "agreement":
        yield inconsistent(
            ("method", "dynamic_demonstrations"),
            "'method.dynamic_demonstrations' could have no effect: the judge of 'judge.name' "
            "reads no demonstrations.",
        )
    if spec.demonstrations == "none":
        yield inconsistent(
            ("demonstrations",),
            "'demonstrations' is an ablation that could have no effect: the judge of "
            "'judge.name' reads none.",
        )


def not_applicable(method: CycleAlign, traits: Traits) -> list[dict[str, str]]:
    """List the fields that the judge cannot honour and that are no ablations."""
    found = []
    if not traits.reads_demonstrations:
        found.append({"field": "demonstrations", "reason": _READS_NONE})
        found.append({"field": "method.dynamic_demonstrations", "reason": _READS_NONE})
    if method.teacher == "auto" and not traits.writes_response:
        found.append({"field": "method.teacher", "reason": "The judge writes no responses."})
    return found
