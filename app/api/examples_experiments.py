"""Examples of experiments."""

from typing import Any

from app.api.examples_evaluations import JOB_ID, PROMPTS_ID

HELD_OUT_ID = "ds_06dyzt1b3d5f7h9k2m4p6r8t1x"

OBJECTIVES: dict[str, Any] = {
    "name": "objectives",
    "base": {
        "model": {"name": "smollm2-135m-instruct"},
        "judge": {"name": "rubric"},
        "prompts": {"dataset": PROMPTS_ID, "sample": {"n": 48, "seed": 1}},
        "method": {"type": "cyclealign", "candidates": 4},
    },
    "axes": [
        {
            "name": "objective",
            "values": [
                {"label": "PRO"},
                {"label": "RRHF", "set": {"/method/objective": {"type": "rrhf"}}},
            ],
        },
        {
            "name": "N",
            "values": [
                {"label": "5"},
                {"label": "1 (w/o Cycle)", "set": {"/method/iterations": 1}},
            ],
        },
    ],
    "seeds": [1, 2, 3],
    "evaluation": {"prompts": {"dataset": HELD_OUT_ID}, "scorers": [{"name": "rubric"}]},
}
EXPERIMENT_REQUESTS = {
    "objectives": {
        "summary": "Two objectives by two lengths, three seeds each",
        "value": OBJECTIVES,
    }
}

_TOTAL = {"value": 71.4, "low": 69.0, "high": 73.7, "n": 192}
EXPERIMENT_EXAMPLES: dict[str, Any] = {
    "ExperimentReportOut": {
        "object": "experiment_report",
        "job_id": JOB_ID,
        "name": "objectives",
        "complete": True,
        "prompts": 64,
        "seeds": [1, 2, 3],
        "scorers": ["rubric"],
        "rows": [
            {
                "label": "PRO / 5",
                "values": {"objective": "PRO", "N": "5"},
                "config": {"method": {"type": "cyclealign", "iterations": 5}},
                "runs": [
                    {
                        "seed": 1,
                        "job_id": JOB_ID,
                        "config_sha256": "9f86d081884c7d65",
                        "status": "succeeded",
                        "reused": False,
                        "seconds": 141.2,
                        "updates": 117,
                        "judge_calls": 117,
                        "cost_micros": 0,
                        "agreement": [],
                        "judge": [],
                    }
                ],
                "seconds": 141.2,
                "scores": [
                    {
                        "scorer": "rubric",
                        "total": _TOTAL,
                        "subsets": {"harmless-base": _TOTAL},
                        "by_seed": [70.9, 71.2, 72.1],
                        "missing": 0,
                        "gain": {"value": 6.1, "low": 3.2, "high": 9.4, "n": 192},
                        "gain_at_equal_length": {"value": 4.9, "low": 1.9, "high": 8.0, "n": 192},
                        "decided": "better",
                    }
                ],
                "verdicts": None,
                "given": None,
                "texts": None,
            }
        ],
        "differences": [
            {
                "what": "white box",
                "here": "smollm2-135m-instruct",
                "paper": "LLaMA-7B or Alpaca-7B",
            }
        ],
    }
}

CSV_EXAMPLE = "row,scorer,runs,total,low,high\nPRO / 5,rubric,3,71.4,69.0,73.7\n"
HTML_EXAMPLE = "<!doctype html>"
