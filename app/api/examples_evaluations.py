"""Examples of evaluations and of reports."""

from typing import Any

JOB_ID = "job_06dyzx1k3m5p7r9t0w2y4z6b8d"
PROMPTS_ID = "ds_06dyzt1b3d5f7h9k2m4p6r8t0w"
CHECKPOINT_ID = "ckpt_06dyzw9k2m4p6r8t0w1x3z5b7d"

SCORED: dict[str, Any] = {
    "name": "before-and-after",
    "prompts": {"dataset": PROMPTS_ID, "sample": {"n": 100, "seed": 3}},
    "contestants": [
        {"label": "start", "model": "smollm2-135m-instruct"},
        {"label": "aligned", "checkpoint": CHECKPOINT_ID},
    ],
    "scorers": [{"name": "rubric"}],
}
COMPARED: dict[str, Any] = {
    **SCORED,
    "name": "head-to-head",
    "pairwise": {"judge": {"name": "rubric"}, "baseline": "start"},
    "generation": {"temperature": 0.7, "max_new_tokens": 128},
}
EVALUATION_REQUESTS = {
    "scored": {"summary": "A model and what it became, scored", "value": SCORED},
    "compared": {"summary": "The same, and compared in both orders", "value": COMPARED},
}
VOTE_REQUESTS = {
    "vote": {
        "summary": "The first answer is better",
        "value": {"rater": "ann", "step": 3, "pair": 0, "verdict": "first"},
    }
}

_SURE = {"value": 0.62, "low": 0.55, "high": 0.69, "n": 200}
_SCORE = {"value": 71.4, "low": 69.0, "high": 73.7, "n": 100}
REWARD_REPORT: dict[str, Any] = {
    "object": "reward_model_report",
    "job_id": JOB_ID,
    "pairs": 200,
    "trained_rows": 800,
    "accuracy": _SURE,
    "untrained": {"value": 0.48, "low": 0.41, "high": 0.55, "n": 200},
    "length_only": {"value": 0.56, "low": 0.49, "high": 0.63, "n": 200},
    "length_prefers": "shorter",
    "above_length_only": {"value": 0.06, "low": -0.01, "high": 0.13, "n": 200},
    "by_length_gap": [{"low": 0, "high": 10, "accuracy": _SURE, "length_only": _SURE}],
    "calibration_error": 0.05,
    "calibration": [{"low": 0.5, "high": 0.55, "n": 90, "confidence": 0.52, "right": 0.55}],
}
_CONTESTANT = {
    "label": "start",
    "answers": 100,
    "missing": 0,
    "scores": [
        {"scorer": "rubric", "total": _SCORE, "subsets": {"harmless-base": _SCORE}, "missing": 0}
    ],
    "mean_characters": {"value": 210.0, "low": 190.0, "high": 231.0, "n": 100},
    "mean_tokens": {"value": 48.0, "low": 44.0, "high": 52.0, "n": 100},
    "ended": {"value": 0.4, "low": 0.31, "high": 0.5, "n": 100},
    "refused": {"value": 0.1, "low": 0.06, "high": 0.17, "n": 100},
    "distinct_1": 0.31,
    "distinct_2": 0.72,
    "given": None,
    "trained_on": 0,
}
EVALUATION_REPORT: dict[str, Any] = {
    "object": "evaluation_report",
    "job_id": JOB_ID,
    "complete": True,
    "prompts": 100,
    "contestants": [_CONTESTANT, {**_CONTESTANT, "label": "aligned"}],
    "comparisons": [
        {
            "left": "start",
            "right": "aligned",
            "winner": "aligned",
            "record": {
                "win": 21,
                "tie": 30,
                "lose": 49,
                "invalid": 0,
                "rate": {"value": 0.36, "low": 0.28, "high": 0.44, "n": 100},
                "gain": {"value": -0.28, "low": -0.44, "high": -0.12, "n": 100},
                "sign_test_p": 0.001,
                "length_controlled": {"value": 0.38, "low": 0.3, "high": 0.47, "n": 100},
                "position_consistency": 0.7,
                "why": "the interval excludes zero",
            },
            "rating_left": None,
            "rating_right": None,
            "people": None,
        }
    ],
    "judge": [],
    "consistency": None,
}
REPORT_EXAMPLES = {
    "BallotOut": {
        "object": "ballot",
        "step": 3,
        "pair": 0,
        "prompt": [{"role": "user", "content": "How do I fix a bike tyre?"}],
        "first": "Find the hole, patch it, and pump the tyre up.",
        "second": "Bikes are nice.",
        "left": 97,
    },
    "VoteOut": {
        "object": "vote",
        "step": 3,
        "pair": 0,
        "rater": "ann",
        "created_at": "2026-01-05T09:02:00Z",
    },
    "RewardReportOut": REWARD_REPORT,
    "EvaluationReportOut": EVALUATION_REPORT,
}
