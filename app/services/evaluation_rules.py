"""Which fields of an evaluation go together, and what must be there for them."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.errors import FaultAt
from app.core.models import TERMINAL, Job, State
from app.core.spec.catalogue import Catalogue, JudgeEntry, OpenAiJudge, judge_entry
from app.core.spec.evaluation import ContestantSpec, EvaluationSpec
from app.core.spec.job import JudgeSpec
from app.services.catalogue import traits_of
from app.services.consistency import length_faults
from app.services.entries import checkpoint_fault, judge_fault
from app.services.prompts import ready_rows


@dataclass(frozen=True)
class Asked:
    """An evaluation with what it is checked against."""

    session: Session
    workspace: str
    spec: EvaluationSpec
    catalogue: Catalogue


def evaluation_faults(asked: Asked) -> Iterator[FaultAt]:
    """Yield everything wrong with the fields among themselves and with what they name."""
    spec = asked.spec
    labels = [one.label for one in spec.contestants]
    if spec.prompts is None:
        yield from _unanswerable_faults(spec)
    if not spec.contestants and (spec.prompts or spec.given):
        yield FaultAt("missing", "There is nobody to answer.", "/contestants")
    yield from _judged_faults(asked)
    if len(set(labels)) < len(labels):
        yield _wrong("Two contestants have the same 'label'.", "/contestants")
    for place, one in enumerate(spec.contestants):
        yield from _contestant_faults(asked, one, f"/contestants/{place}")
    for place, scorer in enumerate(spec.scorers):
        yield from _scorer_faults(asked, scorer, f"/scorers/{place}")
    yield from length_faults(spec.generation.model_dump())
    yield from _pairwise_faults(asked, labels)


def asked_judges(asked: Asked) -> list[JudgeEntry]:
    """Return the entries of all that is asked through the ledger, as far as they are there."""
    spec = asked.spec
    judges = [*spec.scorers, *([spec.pairwise.judge] if spec.pairwise else [])]
    judges += [JudgeSpec(name=one.endpoint) for one in spec.contestants if one.endpoint]
    if spec.consistency is not None and spec.judged is not None:
        job = asked.session.get(Job, spec.judged)
        told = (job.resolved.get("judge") or {}) if job else {}
        judges.append(JudgeSpec(name=told.get("name"), checkpoint=told.get("checkpoint")))
    named = (one for one in judges if one.name or one.checkpoint)
    return [entry for one in named if (entry := judge_entry(one, asked.catalogue))]


def _judged_faults(asked: Asked) -> Iterator[FaultAt]:
    if asked.spec.judged is None:
        if asked.spec.consistency is not None:
            yield _wrong("'consistency' needs a 'judged' job.", "/consistency")
        return
    if not asked.spec.scorers and asked.spec.consistency is None:
        message = "'judged' needs 'scorers' to compare the judge with, or 'consistency'."
        yield _wrong(message, "/judged")
    job = asked.session.get(Job, asked.spec.judged)
    if job is None or job.workspace_id != asked.workspace:
        yield FaultAt("job_not_found", "There is no such job.", "/judged")
    elif job.resolved.get("method", {}).get("type") != "cyclealign":
        yield _wrong("Only a 'cyclealign' job has a judge's rankings.", "/judged")
    elif State(job.state) not in TERMINAL:
        yield _wrong("The job has not ended yet, so its rankings may still change.", "/judged")


def _unanswerable_faults(spec: EvaluationSpec) -> Iterator[FaultAt]:
    if spec.given is None and spec.judged is None:
        message = "Give 'prompts' to answer, 'given' responses, a 'judged' job, or several of them."
        yield FaultAt("missing", message, "/prompts")
    if spec.scorers and spec.judged is None:
        yield _wrong("Without 'prompts' there are no answers to score.", "/scorers")
    if spec.pairwise is not None:
        yield _wrong("Without 'prompts' there are no answers to compare.", "/pairwise")


def _pairwise_faults(asked: Asked, labels: list[str]) -> Iterator[FaultAt]:
    pairwise = asked.spec.pairwise
    if pairwise is None:
        return
    if len(labels) == 1:
        yield _wrong("One contestant alone cannot be compared.", "/pairwise")
    if pairwise.baseline is not None and pairwise.baseline not in labels:
        yield _wrong("No contestant has this label.", "/pairwise/baseline")
    fault = judge_fault(
        asked.session, asked.workspace, pairwise.judge, asked.catalogue, "/pairwise/judge"
    )
    if fault is not None:
        yield fault


def _contestant_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    if sum(source is not None for source in (one.model, one.checkpoint, one.endpoint)) != 1:
        yield _wrong("Give one of 'model', 'checkpoint' and 'endpoint'.", pointer)
    else:
        yield from _source_faults(asked, one, pointer)
    if (one.strategy == "icl") is (one.examples is None):
        yield _wrong("'examples' are for the strategy 'icl', which needs them.", pointer)
    if one.examples is not None:
        yield from _example_faults(asked, one, f"{pointer}/examples")


def _source_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    if one.model is not None and one.model not in asked.catalogue.models:
        message = "No such model; see GET /v1/models."
        yield FaultAt("model_not_allowed", message, f"{pointer}/model")
    if one.endpoint is not None:
        yield from _endpoint_faults(asked, one.endpoint, f"{pointer}/endpoint")
    if one.checkpoint is not None:
        letters = asked.spec.given is not None and asked.spec.given.form == "letters"
        answers = False if asked.spec.prompts is not None or letters else None
        place = f"{pointer}/checkpoint"
        fault = checkpoint_fault(
            asked.session, asked.workspace, one.checkpoint, place, reward_model=answers
        )
        if fault is not None:
            yield fault


def _endpoint_faults(asked: Asked, name: str, pointer: str) -> Iterator[FaultAt]:
    if not isinstance(asked.catalogue.judges.get(name), OpenAiJudge):
        message = "No such judge of type 'openai'; see GET /v1/judges."
        yield FaultAt("judge_not_allowed", message, pointer)
    if asked.spec.given is not None:
        yield _wrong("An endpoint tells no probabilities of 'given' responses.", pointer)
    if asked.spec.samples_per_prompt > 1:
        yield _wrong("An endpoint gives one answer; set 'samples_per_prompt' to 1.", pointer)


def _example_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    assert one.examples is not None
    row_count = ready_rows(asked.session, asked.workspace, one.examples.dataset, ("dialogues",))
    if row_count is None:
        message = "A ready dataset of kind 'dialogues' is needed here."
        yield FaultAt("wrong_dataset_kind", message, f"{pointer}/dataset")
    elif row_count < one.examples.n:
        message = f"The dataset has {row_count} rows only."
        yield FaultAt("sample_too_large", message, f"{pointer}/n")


def _scorer_faults(asked: Asked, scorer: JudgeSpec, pointer: str) -> Iterator[FaultAt]:
    fault = judge_fault(asked.session, asked.workspace, scorer, asked.catalogue, pointer)
    if fault is not None:
        yield fault
        return
    entry = judge_entry(scorer, asked.catalogue)
    if entry is not None and not traits_of(entry).gives_scores:
        yield _wrong("This judge gives no scores; it can compare in 'pairwise'.", pointer)


def _wrong(message: str, pointer: str) -> FaultAt:
    return FaultAt("inconsistent_parameters", message, pointer)
