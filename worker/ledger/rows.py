"""Events as table rows; nothing here touches a session."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from app.core.models import (
    AgreementRow,
    Base,
    DemonstrationRow,
    Job,
    RankingRow,
    Response,
)
from worker.cycle.canonical import storable
from worker.cycle.events import (
    Iterated,
    Outcome,
    Taught,
)
from worker.cycle.orders import position_consistency
from worker.cycle.ranking import kendall_tau
from worker.cycle.types import (
    At,
    Learned,
    Malformed,
    Order,
    Ranked,
    Sample,
    TrainingRanking,
    Unanswered,
    Verdict,
)

SKIP_NOTES = {
    Outcome.TOO_FEW: "Fewer than two different responses; nothing was asked or learned.",
    Outcome.UNRANKED: "The judge's replies could not be used; the update was skipped.",
    Outcome.UNANSWERED: "The judge did not answer; the update was skipped.",
    Outcome.NOTHING_ORDERED: "The judge ordered no pair; there was nothing to learn.",
}


def finite(value: float) -> float | None:
    """Return the value, or None where it is not finite."""
    return value if math.isfinite(value) else None


def place(event: Iterated) -> dict[str, Any]:
    """Say where in the run an iteration stands."""
    return {"step": event.at.step, "iteration": event.at.iteration, "outcome": event.outcome.value}


def key_of(job: Job, at: At) -> dict[str, Any]:
    """The columns that say where in the run a row stands."""
    return {
        "workspace_id": job.workspace_id,
        "job_id": job.id,
        "stage": at.stage,
        "step": at.step,
        "iteration": at.iteration,
    }


def response(job: Job, at: At, k: int, round_: int, sample: Sample) -> Response:
    """One sampled response."""
    return Response(
        **key_of(job, at),
        k=k,
        round=round_,
        update=sample.version,
        text=storable(sample.text),
        token_ids=list(sample.tokens),
        logprob_sum=sample.logprob,
        finish=sample.finish,
        seed=sample.seed,
    )


def iteration(job: Job, event: Iterated) -> list[Base]:
    """Return all rows of one iteration."""
    found: list[Base] = list(_responses(job, event))
    found.append(_ranking(job, event))
    if event.black is not None:
        found.append(_agreement(job, event))
    if event.demonstration is not None:
        found.append(_demonstration(job, event))
    return found


def _responses(job: Job, event: Iterated) -> list[Response]:
    found = [response(job, event.at, k, event.round, s) for k, s in enumerate(event.samples)]
    for candidate in event.candidates:
        found[candidate.k].belief = candidate.belief
    for k, into in event.merged.items():
        found[k].merged_into = into
    for k, score, why in judged(event.verdict, event.presented):
        found[k].score, found[k].why = score, why
    return found


def judged(
    verdict: Verdict | None, presented: tuple[int, ...]
) -> list[tuple[int, float, dict[str, Any] | None]]:
    """Place, score and reasons of each response that a scoring judge was shown."""
    if not isinstance(verdict, Ranked) or verdict.scores is None:
        return []
    reasons = verdict.why.get("points")
    whys = reasons if isinstance(reasons, list) else [None] * len(presented)
    return list(zip(presented, verdict.scores, whys, strict=True))


def _ranking(job: Job, event: Iterated) -> RankingRow:
    ranked = event.verdict if isinstance(event.verdict, Ranked) else None
    return RankingRow(
        **key_of(job, event.at),
        round=event.round,
        update=event.learned.version if event.learned else None,
        outcome=event.outcome.value,
        white_box=_groups(event.white),
        black_box=None if event.black is None else _groups(event.black),
        presented=list(event.presented),
        orders=_orders(event.orders) if len(event.orders) > 1 else None,
        fault=fault_of(event.verdict),
        raw_reply=raw_of(event.orders[0].verdict if event.orders else event.verdict),
        why=dict(ranked.why) if ranked and ranked.why else None,
        teacher=storable(ranked.teacher) if ranked and ranked.teacher else None,
        training=_training(event.training) if event.training else None,
        loss=_loss(event),
    )


def _orders(orders: Sequence[Order]) -> list[dict[str, Any]]:
    return [
        {
            "presented": list(one.presented),
            "black_box": None if one.black is None else _groups(one.black),
            "fault": fault_of(one.verdict),
            "raw_reply": raw_of(one.verdict),
        }
        for one in orders
    ]


def fault_of(verdict: Verdict | None) -> str | None:
    """Why a verdict could not be used; None if it could."""
    match verdict:
        case Malformed():
            return verdict.fault.value
        case Unanswered():
            return verdict.reason
        case _:
            return None


def raw_of(verdict: Verdict | None) -> str | None:
    """The reply as it came, where one came."""
    return storable(verdict.raw) if isinstance(verdict, Ranked | Malformed) else None


def _groups(ranking: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    return [list(group) for group in ranking]


def _training(training: TrainingRanking) -> dict[str, Any]:
    return {
        "texts": [storable(text) for text in training.texts],
        "groups": _groups(training.groups),
        "target": training.target,
    }


def _loss(event: Iterated) -> dict[str, Any] | None:
    if event.learned is None:
        return None
    learned = event.learned
    return {
        "total": finite(learned.loss),
        "rank": finite(learned.rank_loss),
        "sft": finite(learned.sft_loss),
        "sft_weight": learned.sft_weight,
        "scores": [finite(score) for score in learned.scores],
    }


def _agreement(job: Job, event: Iterated) -> AgreementRow:
    return AgreementRow(
        **key_of(job, event.at),
        round=event.round,
        update=event.learned.version if event.learned else job.update,
        agreement=list(event.agreement),
        length=len(event.agreement),
        candidates=len(event.candidates),
        complete=event.outcome is Outcome.AGREED,
        kendall_tau=kendall_tau(event.black, event.white) if event.black else None,
    )


def _demonstration(job: Job, event: Iterated) -> DemonstrationRow:
    made = event.demonstration
    if made is None:
        raise ValueError("the iteration made no demonstration")
    return DemonstrationRow(
        **key_of(job, event.at),
        round=event.round,
        origin=made.origin,
        messages=[{"role": m.role, "content": m.content} for m in made.messages],
        responses=[storable(text) for text in made.responses],
        answer=_groups(made.answer),
    )


def lessons(event: Taught) -> dict[str, float]:
    """Name what an update on a given ranking measured; losses in nats."""
    scores, groups = event.learned.scores, event.ranking.groups
    pairs = [
        (better, worse)
        for high, low in combinations(range(len(groups)), 2)
        for better in groups[high]
        for worse in groups[low]
    ]
    values = _learned(event.learned)
    if pairs:
        right = sum(scores[better] > scores[worse] for better, worse in pairs)
        values["ranking/accuracy"] = right / len(pairs)
    return values


def _learned(learned: Learned) -> dict[str, float]:
    return {
        "loss/total": learned.loss,
        "loss/rank": learned.rank_loss,
        "loss/sft": learned.sft_loss,
        "loss/sft_share": _share(learned.sft_weight * learned.sft_loss, learned.rank_loss),
        "gradient/norm": learned.grad_norm,
        "optimizer/lr": learned.lr,
    }


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else 0.0


def steadiness(event: Iterated) -> dict[str, float]:
    """Name how alike the judge ranked in several orders; empty where there is nothing to compare.

    It is told of skipped updates too: a judge that ranks by place alone ends in ties and skips.
    """
    found = position_consistency(event.orders)
    return {} if found is None else {"judge/position_consistency": found}


def measures(event: Iterated) -> dict[str, float]:
    """Name what one update measured; losses in nats, lengths in tokens."""
    learned = event.learned
    if learned is None:
        return {}
    lengths = [len(sample.tokens) for sample in event.samples]
    stopped = sum(sample.finish == "stop" for sample in event.samples)
    values = {
        **_learned(learned),
        "response/tokens": sum(lengths) / len(lengths),
        "response/stopped": stopped / len(lengths),
        "agreement/length": len(event.agreement),
        "agreement/share": len(event.agreement) / len(event.candidates),
    }
    if isinstance(event.verdict, Ranked) and event.verdict.scores:
        values["judge/score"] = sum(event.verdict.scores) / len(event.verdict.scores)
    return values
