"""Examples of every answer, by the name of its schema; they are one consistent little run."""

from typing import Any

from app.api.examples_evaluations import REPORT_EXAMPLES
from app.api.examples_experiments import EXPERIMENT_EXAMPLES
from app.api.examples_runs import JOB_ID, RUN_EXAMPLES

CHECKPOINT_ID = "ckpt_06dyzw9k2m4p6r8t0w1x3z5b7d"
DATASET_ID = "ds_06dyzt1b3d5f7h9k2m4p6r8t0w"
DEMONSTRATIONS_ID = "ds_06dyzt8w0x2z4b6d8f1h3k5m7p"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

SMALL_JOB: dict[str, Any] = {
    "name": "harmless-1",
    "model": {"name": "smollm2-135m-instruct"},
    "judge": {"name": "rubric"},
    "prompts": {"dataset": DATASET_ID, "sample": {"n": 40, "seed": 1}},
    "method": {"type": "cyclealign"},
}
FULL_JOB: dict[str, Any] = {
    **SMALL_JOB,
    "model": {
        "name": "smollm2-135m-instruct",
        "tuning": {"type": "lora", "rank": 16, "alpha": 32.0},
    },
    "held_out": {"dataset": DATASET_ID, "sample": {"n": 20, "seed": 2}, "samples_per_prompt": 2},
    "method": {
        "type": "cyclealign",
        "objective": {"type": "pro", "lambda": "auto"},
        "iterations": 5,
        "candidates": 4,
        "concurrency": 8,
    },
    "generation": {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 64},
    "optimizer": {"lr": 1e-4},
    "seed": 17,
    "metadata": {"team": "x"},
}
PAPER_JOB: dict[str, Any] = {**SMALL_JOB, "name": "as-in-the-paper", "preset": "paper"}

PREFERENCES_ID = "ds_06dyzt9v1x3z5b7d9f2h4k6m8q"
RANKING_JOB: dict[str, Any] = {
    "name": "dpo-on-pairs",
    "model": {"name": "smollm2-135m-instruct"},
    "prompts": {"dataset": PREFERENCES_ID},
    "method": {"type": "ranking", "objective": {"type": "dpo", "beta": 0.1}},
}
REWARD_JOB: dict[str, Any] = {
    "name": "reward-1",
    "model": {"name": "smollm2-135m-instruct"},
    "prompts": {"dataset": PREFERENCES_ID, "sample": {"n": 1000, "seed": 1}},
    "method": {"type": "reward_model", "validation_share": 0.2},
}

JOB_REQUESTS = {
    "small": {"summary": "What must be said, and nothing else", "value": SMALL_JOB},
    "full": {"summary": "Chosen values and held-out prompts", "value": FULL_JOB},
    "paper": {"summary": "Every value that the paper states", "value": PAPER_JOB},
    "ranking": {"summary": "A baseline on uploaded rankings", "value": RANKING_JOB},
    "reward_model": {"summary": "A reward model from the same", "value": REWARD_JOB},
}

CLONE_REQUESTS = {
    "changed": {
        "summary": "Another seed and learning rate",
        "value": {"overrides": {"seed": 18, "optimizer": {"lr": 5e-5}}},
    },
    "onwards": {
        "summary": "The same, from a checkpoint",
        "value": {"from": {"checkpoint": CHECKPOINT_ID}},
    },
}

JOB: dict[str, Any] = {
    "id": JOB_ID,
    "object": "job",
    "kind": "alignment",
    "parent_id": None,
    "cloned_from": None,
    "name": "harmless-1",
    "status": "running",
    "phase": "judging",
    "progress": {
        "fraction": 0.3,
        "steps_done": 12,
        "steps_total": 40,
        "step": 14,
        "iteration": 2,
        "iterations_max": 5,
        "iterations_done": 31,
        "agreed": 9,
        "agreement_mean": 0.71,
        "mean_iterations": 2.4,
        "skipped": {},
    },
    "eta_seconds": 180.5,
    "estimated_finish_at": "2026-01-05T09:06:10Z",
    "allowed_actions": ["cancel", "pause"],
    "spec": SMALL_JOB,
    "resolved": {
        **SMALL_JOB,
        "prompts": {**SMALL_JOB["prompts"], "sha256": SHA256, "rows": 40},
        "not_applicable": [
            {"field": "demonstrations", "reason": "The judge reads no demonstrations."}
        ],
        "service_version": "0.1.0",
    },
    "config_sha256": SHA256,
    "seed": 0,
    "usage": {"judge_posts": 31, "judge_reuses": 0, "generated_tokens": 5952},
    "budget": {
        "judge_cost": {"cap": "25", "spent": "0.4", "reserved": "0.02", "currency": "USD"},
        "judge_tokens": {"cap": None, "spent": 52000, "reserved": 2600},
        "judge_calls": {"cap": 1000, "spent": 31, "reserved": 1},
        "compute_seconds": {"cap": None, "spent": 0.0},
    },
    "deadline_at": None,
    "attempt": 1,
    "attempts": None,
    "round": 6,
    "update": 31,
    "error": None,
    "run_after": "2026-01-05T09:00:00Z",
    "result": {"checkpoint_id": None},
    "metadata": {"team": "x"},
    "created_at": "2026-01-05T09:00:00Z",
    "started_at": "2026-01-05T09:00:01Z",
    "finished_at": None,
    "cancel_requested_at": None,
}
JOB_CHANGES: dict[str, Any] = {
    "budget": {
        "summary": "More money, and a limit in time",
        "value": {"budget": {"max_judge_cost": "50.00", "max_compute_seconds": 86400}},
    },
    "name": {"summary": "Another name", "value": {"name": "harmless-1b"}},
}
CHECKPOINT: dict[str, Any] = {
    "id": CHECKPOINT_ID,
    "object": "checkpoint",
    "job_id": JOB_ID,
    "round": 20,
    "update": 96,
    "steps_done": 40,
    "attempt": 1,
    "state": "ready",
    "final": True,
    "best": False,
    "bytes": 9216,
    "manifest_sha256": SHA256,
    "metrics": {
        "progress": {"agreed": 31},
        "score": {"name": "agreement/share", "mean": 0.71, "n": 48},
    },
    "created_at": "2026-01-05T09:06:00Z",
}
MANIFEST: dict[str, Any] = {
    "checkpoint_id": CHECKPOINT_ID,
    "job_id": JOB_ID,
    "round": 20,
    "update": 96,
    "base_model": "smollm2-135m-instruct",
    "files": [
        {
            "name": "adapter/adapter_model.safetensors",
            "bytes": 9216,
            "sha256": SHA256,
            "role": "weights",
            "form": "adapter",
        }
    ],
}
PROBLEM: dict[str, Any] = {
    "type": "urn:cyclealign:problem:unknown_field",
    "title": "Unknown field",
    "status": 422,
    "detail": "/method/itertions: unknown field 'itertions'; did you mean 'iterations'?",
    "instance": "/v1/jobs",
    "code": "unknown_field",
    "request_id": "req_06dyzv3n7s1x5k8m2p4q6r8t0w",
    "errors": [
        {
            "pointer": "/method/itertions",
            "code": "unknown_field",
            "message": "unknown field 'itertions'; did you mean 'iterations'?",
        }
    ],
    "error": {
        "message": "/method/itertions: unknown field 'itertions'; did you mean 'iterations'?",
        "type": "invalid_request_error",
        "code": "unknown_field",
        "param": "method.itertions",
    },
}
CAPABILITIES: dict[str, Any] = {
    "object": "capabilities",
    "service_version": "0.1.0",
    "methods": ["cyclealign", "ranking", "sft", "reward_model"],
    "objectives": ["pro", "rrhf", "dpo", "sft", "pairwise_logistic"],
    "tunings": ["lora", "full"],
    "presets": {"paper": {"method.candidates": 3}},
    "dataset_kinds": ["prompts", "demonstrations", "preferences", "dialogues"],
    "checkpoint_forms": ["adapter", "merged"],
    "ranges": {"method": {"iterations": {"default": 5, "minimum": 1, "maximum": 50}}},
    "limits": {"max_json_bytes": 1048576},
    "states": {"queued": ["cancel", "pause"], "succeeded": []},
    "transitions": [{"from": "queued", "action": "cancel", "to": "cancelled"}],
    "job_schema": {"type": "object"},
}

EXAMPLES: dict[str, dict[str, Any]] = {
    **REPORT_EXAMPLES,
    **EXPERIMENT_EXAMPLES,
    "JobOut": JOB,
    "CheckpointOut": CHECKPOINT,
    "CheckpointDetail": {**CHECKPOINT, "manifest": MANIFEST},
    "ProblemOut": PROBLEM,
    "Health": {"status": "ok"},
    "Readiness": {
        "status": "ready",
        "checks": {
            "database": {"ok": True, "seconds": 0.0011, "needed": True},
            "broker": {"ok": True, "seconds": 0.0008, "needed": False},
        },
    },
    "ModelOut": {
        "id": "smollm2-135m-instruct",
        "object": "model",
        "source": "package",
        "revision": None,
        "weights": "gguf",
        "license": "Apache-2.0",
        "description": "A 135M LLaMA with a chat template.",
        "chat": "auto",
        "entry_sha256": SHA256,
    },
    "JudgeOut": {
        "id": "rubric",
        "object": "judge",
        "type": "rubric",
        "model": None,
        "traits": {
            "reads_demonstrations": False,
            "writes_response": False,
            "gives_ties": True,
            "gives_scores": True,
        },
        "price": None,
        "description": "Deterministic and free. It is no language model.",
        "entry_sha256": SHA256,
    },
    "CapabilitiesOut": CAPABILITIES,
    "MetricsOut": {
        "object": "metrics",
        "job_id": JOB_ID,
        "data": [
            {
                "name": "loss/total",
                "unit": "nats",
                "better": "down",
                "points": {
                    "update": [1, 2],
                    "t": ["2026-01-05T09:00:08Z", "2026-01-05T09:00:13Z"],
                    "value": [1.52, 1.31],
                },
                "total_points": 2,
                "non_finite": 0,
                "downsampled": "none",
            }
        ],
    },
    **RUN_EXAMPLES,
}
