"""Examples of a run's rows, by the name of their schema."""

from typing import Any

JOB_ID = "job_06dyzv3n7s1x5k8m2p4q6r8t0w"
AT = {"stage": "align", "step": 14, "iteration": 1}
MADE = {"created_at": "2026-01-05T09:02:00Z"}
SHA256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
PROMPT = [{"role": "user", "content": "How do I fix a bike tyre?"}]
GOOD = "Take the wheel off, find the hole, patch it, and pump the tyre up."
POOR = "Bikes are nice."


def _response(k: int, text: str, belief: float, score: float) -> dict[str, Any]:
    return {
        **AT,
        "k": k,
        "round": 6,
        "update": 30,
        "text": text,
        "token_ids": [504, 6330, 2],
        "logprob_sum": belief * 3,
        "belief": belief,
        "finish": "stop",
        "seed": 7,
        "merged_into": None,
        "score": score,
        "why": None,
    }


RESPONSES = [_response(0, POOR, -1.25, 0.25), _response(1, GOOD, -1.5, 0.875)]

ORDERS = [
    {
        "presented": [1, 0],
        "black_box": [[1], [0]],
        "fault": None,
        "raw_reply": '{"ranking": [[0], [1]]}',
    },
    {
        "presented": [0, 1],
        "black_box": [[1], [0]],
        "fault": None,
        "raw_reply": '{"ranking": [[1], [0]]}',
    },
]

STAGE_USAGE: dict[str, Any] = {
    "stage": "align",
    "posts": {"done": 96, "timeout": 1},
    "reuses": 4,
    "extra_paid": 1,
    "faults": {"not_json": 2},
    "tokens_in": 48000,
    "cached_tokens_in": 21000,
    "tokens_out": 3900,
    "cost_micros": 9540,
    "currency": "USD",
}

RUN_EXAMPLES: dict[str, dict[str, Any]] = {
    "EventOut": {
        "seq": 1,
        "attempt": 0,
        "type": "created",
        "level": "info",
        "message": "The job was queued with 40 prompts.",
        "data": {},
        **MADE,
    },
    "ResponseOut": RESPONSES[1],
    "ListedResponseOut": RESPONSES[1] | {"prompt": PROMPT},
    "RankingOut": {
        **AT,
        "round": 6,
        "update": 31,
        "outcome": "updated",
        "prompt": PROMPT,
        "responses": RESPONSES,
        "white_box": [[0], [1]],
        "black_box": [[1], [0]],
        "presented": [1, 0],
        "orders": ORDERS,
        "fault": None,
        "raw_reply": '{"ranking": [[0], [1]]}',
        "why": None,
        "teacher": None,
        "training": {"texts": [GOOD, POOR], "groups": [[0], [1]], "target": 0},
        "loss": {"total": 1.31, "rank": 0.73, "sft": 0.58, "sft_weight": 1.0},
        **MADE,
    },
    "AgreementOut": {
        **AT,
        "round": 6,
        "update": 31,
        "agreement": [1],
        "length": 1,
        "candidates": 2,
        "chance_length": 1.5,
        "complete": False,
        "kendall_tau": -1.0,
        **MADE,
    },
    "DemonstrationOut": {
        **AT,
        "round": 6,
        "origin": "agreement",
        "messages": PROMPT,
        "responses": [POOR, GOOD],
        "answer": [[1], [0]],
        **MADE,
    },
    "StageUsageOut": STAGE_USAGE,
    "UsageOut": {"object": "usage", "job_id": JOB_ID, "data": [STAGE_USAGE]},
    "JudgeCallOut": {
        **AT,
        "try": 0,
        "attempt": 1,
        "kind": "post",
        "outcome": "done",
        "ambiguous": False,
        "seconds": 0.81,
        "key": SHA256,
        "repeat": 0,
        "question_sha256": SHA256,
        "judge": "rubric",
        "state": "done",
        "reply": '{"ranking": [[0], [1]]}',
        "finish": "stop",
        "reason": None,
        "detail": None,
        "model": "rubric-1",
        "fingerprint": None,
        "tokens_in": None,
        "cached_tokens_in": None,
        "tokens_out": None,
        "cost_micros": 0,
        "currency": None,
        "request": None,
        **MADE,
    },
}
