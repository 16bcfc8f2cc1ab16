"""What follows an experiment's runs: the evaluations that compare them, and its end."""

import json
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.lease import grant, settle
from app.core.models import EVALUATION, EXPERIMENT, TERMINAL, Act, Job, State, log_event
from app.core.spec.catalogue import Catalogue
from app.core.spec.evaluation import ContestantSpec, EvaluationSpec, PairwiseSpec
from app.core.spec.experiment import ContestSpec, ExperimentSpec
from app.core.spec.job import JobSpec
from app.core.spec.method import CycleAlign
from app.services import evaluations
from app.services.configs import same_config
from app.services.experiment_rows import START

MOST_CONTESTANTS = 16
"""Of one evaluation, the start models among them."""
OWNER = "dispatcher"
LEASE_SECONDS = 60.0
"""The lease is given and settled in one transaction."""


def contests_expected(spec: ExperimentSpec, runs: Sequence[JobSpec]) -> int:
    """How many evaluations will follow if all runs end well."""
    if spec.evaluation is None:
        return 0
    rows, seeds = len(runs) // len(spec.seeds), len(spec.seeds)
    cycles = sum(isinstance(run.method, CycleAlign) for run in runs)
    judged = cycles if spec.evaluation.judge_quality else 0
    return seeds * -(-rows // _beside({run.model.name for run in runs})) + judged


def _beside(models: Collection[str]) -> int:
    """Runs that have room in one evaluation beside the start models."""
    return max(1, MOST_CONTESTANTS - len(models))


def advance(session: Session, experiment_id: str, catalogue: Catalogue) -> None:
    """Take an experiment on as far as its parts allow: count, compare the runs, end."""
    query = select(Job).where(Job.id == experiment_id, Job.state == State.QUEUED.value)
    experiment = session.scalars(query.with_for_update(skip_locked=True, key_share=True)).first()
    if experiment is None:
        return
    if _all_ended(session, experiment) and not experiment.resolved.get("contests"):
        try:
            _compare(session, experiment, catalogue)
        except Invalid as invalid:
            _end(session, experiment, Act.FAIL, "comparison_refused", str(invalid))
            return
    if _all_ended(session, experiment):
        _finish(session, experiment)


def run_ids(experiment: Job) -> list[str]:
    """Name the runs, row by row."""
    return [run["job_id"] for row in experiment.resolved["rows"] for run in row["runs"]]


def contest_ids(experiment: Job) -> list[str]:
    """Name the evaluations, in the order of their making."""
    return [one["job_id"] for one in experiment.resolved.get("contests", [])]


def jobs_by_id(session: Session, ids: Sequence[str]) -> dict[str, Job]:
    """Read some jobs as they are now."""
    query = select(Job).where(Job.id.in_(ids)).execution_options(populate_existing=True)
    return {job.id: job for job in session.scalars(query)}


def _all_ended(session: Session, experiment: Job) -> bool:
    """Count the parts that have ended; whether none of them can change any more by itself."""
    parts = [*run_ids(experiment), *contest_ids(experiment)]
    ended = Job.state.in_([state.value for state in TERMINAL])
    done = session.scalar(select(func.count()).where(Job.id.in_(parts), ended)) or 0
    phase = "comparing" if contest_ids(experiment) else "running"
    if (done, phase) != (experiment.progress.get("steps_done"), experiment.phase):
        experiment.phase = phase
        experiment.progress = experiment.progress | {"steps_done": done}
    return done == len(set(parts))


def waiting(session: Session) -> Sequence[str]:
    """Name the experiments that are not at their end."""
    query = select(Job.id).where(Job.kind == EXPERIMENT, Job.state == State.QUEUED.value)
    return session.scalars(query.order_by(Job.created_at, Job.id)).all()


def _compare(session: Session, experiment: Job, catalogue: Catalogue) -> None:
    """Queue the evaluations, each with the seed of its runs."""
    asked = experiment.resolved["evaluation"]
    if asked is None:
        return
    runs = jobs_by_id(session, run_ids(experiment))
    wanted = ContestSpec.model_validate_json(json.dumps(asked))
    made = []
    for seed, spec in _contests(experiment, runs, wanted):
        checked = evaluations.check(session, experiment.workspace_id, spec, catalogue)
        known = same_config(session, checked.job)
        if known is None:
            checked.job.parent_id = experiment.id
        job = known or evaluations.queue(session, checked)
        made.append({"seed": seed, "job_id": job.id, "judged": spec.judged})
    if not made:
        return
    experiment.resolved = {**experiment.resolved, "contests": made}
    session.add(log_event(experiment, "compared", f"{len(made)} evaluations follow."))
    session.flush()


def _contests(
    experiment: Job, runs: dict[str, Job], wanted: ContestSpec
) -> Iterator[tuple[int, EvaluationSpec]]:
    starts = _starts([job.resolved["model"]["name"] for job in runs.values()])
    beside = _beside([start.label for start in starts])
    for seed in experiment.resolved["seeds"]:
        ready = _ready(experiment, runs, seed)
        for first in range(0, len(ready), beside):
            some = _contestants(ready[first : first + beside])
            name = f"{experiment.name}, seed {seed}"
            yield seed, contest_spec(wanted, [*starts, *some], name, seed)
        for _, job in ready:
            if wanted.judge_quality and job.resolved["method"]["type"] == "cyclealign":
                yield seed, _quality_spec(wanted, job, seed)


def _ready(experiment: Job, runs: dict[str, Job], seed: int) -> list[tuple[str, Job]]:
    """Pair the rows' labels with their runs of a seed that ended well."""
    found = [
        (row["label"], runs[run["job_id"]])
        for row in experiment.resolved["rows"]
        for run in row["runs"]
        if run["seed"] == seed
    ]
    return [(label, job) for label, job in found if job.state == State.SUCCEEDED.value]


def start_label(model: str, models: Sequence[str]) -> str:
    """Name the start model's row; by its model if the experiment has several."""
    return START if len(set(models)) == 1 else f"{START} {model}"[:64]


def _starts(models: Sequence[str]) -> list[ContestantSpec]:
    return [
        ContestantSpec(label=start_label(model, models), model=model)
        for model in dict.fromkeys(models)
    ]


def _contestants(runs: Sequence[tuple[str, Job]]) -> list[ContestantSpec]:
    return [ContestantSpec(label=label, checkpoint=job.result_checkpoint_id) for label, job in runs]


def contest_spec(
    wanted: ContestSpec, contestants: list[ContestantSpec], name: str, seed: int
) -> EvaluationSpec:
    """Write one evaluation; everybody is compared with the first contestant."""
    first = contestants[0].label
    pairwise = (
        PairwiseSpec(judge=wanted.pairwise.judge, baseline=first) if wanted.pairwise else None
    )
    return EvaluationSpec(
        name=name[:120] or EVALUATION,
        prompts=wanted.prompts,
        given=wanted.given,
        contestants=contestants,
        scorers=wanted.scorers,
        pairwise=pairwise,
        samples_per_prompt=wanted.samples_per_prompt,
        generation=wanted.generation,
        seed=seed,
    )


def _quality_spec(wanted: ContestSpec, job: Job, seed: int) -> EvaluationSpec:
    name = f"judge of {job.name}"[:120]
    return EvaluationSpec(name=name, judged=job.id, scorers=wanted.scorers, seed=seed)


def _finish(session: Session, experiment: Job) -> None:
    well = select(Job.id).where(Job.id.in_(run_ids(experiment)), Job.state == State.SUCCEEDED.value)
    if session.scalars(well.limit(1)).first() is not None:
        _end(session, experiment, Act.FINISH)
    else:
        _end(session, experiment, Act.FAIL, "no_run_succeeded", "No run of it ended well.")


def _end(session: Session, experiment: Job, act: Act, code: str = "", detail: str = "") -> None:
    lease = grant(session, experiment, owner=OWNER, ttl_seconds=LEASE_SECONDS)
    error = {"code": code, "detail": detail} if code else None
    settle(session, lease, act, error=error, reason=detail or "all of its parts have ended")
