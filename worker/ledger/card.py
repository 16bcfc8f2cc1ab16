"""The model card: how a checkpoint was made, in words, from the job's own record."""

from typing import Any

from app.core.models import Job

CARD = """---
base_model: {base}
library_name: transformers
license: {license}
tags: [cyclealign, {objective}]
---

# {name}, after {updates} updates

Aligned by CycleAlign (arXiv 2310.16271): the model sampled responses, a judge ranked them, the
model's own probabilities ranked them too, and {objective} trained it on the judge's ranking.

| | |
| --- | --- |
| job | `{job}`, round {round} |
| base model | {base} |
| judge | {judge} ({judge_type}) |
| method | {objective}, lambda {lambda_}, at most {iterations} iterations a prompt, \
{candidates} candidates, {lanes} prompts in flight |
| tuning | {tuning} |
| optimizer | {optimizer}, learning rate {lr}, {schedule} schedule |
| prompts | {prompts} rows of `{dataset}` (sha256 `{sha256}`) |
| steps done | {steps} |
| mean iterations a prompt | {mean_iterations} |
| held-out score before, after | {before}, {after} |
| seed | {seed} |

The scores are the judge's own. They say how well the model pleases that judge, not more.

## Files

{files}
"""

FILES = {
    "adapter": "- `adapter/`: LoRA weights for the base model above (`peft`).",
    "merged": "- `merged/`: the whole model with the training merged in (`transformers`).",
}


def model_card(job: Job, *, updates: int, round_: int, forms: list[str]) -> str:
    """Write the card of a checkpoint in Markdown."""
    spec, done = job.resolved, job.progress
    method, held_out = spec["method"], done.get("held_out", {})
    return CARD.format(
        base=spec["model"]["name"],
        license=spec["model"].get("license") or "other",
        objective=method["objective"]["type"],
        name=job.name,
        updates=updates,
        job=job.id,
        round=round_,
        judge=spec["judge"]["name"],
        judge_type=spec["judge"].get("type", "unknown"),
        lambda_=method["objective"]["lambda"],
        iterations=method["iterations"],
        candidates=method["candidates"],
        lanes=method["concurrency"],
        tuning=_tuning(spec["model"]["tuning"]),
        optimizer=spec["optimizer"]["type"],
        lr=spec["optimizer"]["lr"],
        schedule=spec["optimizer"]["schedule"],
        prompts=job.steps_total,
        dataset=spec["prompts"]["dataset"],
        sha256=spec["prompts"].get("sha256"),
        steps=done.get("steps_done", 0),
        mean_iterations=_number(done.get("mean_iterations")),
        before=_number(held_out.get("before", {}).get("mean")),
        after=_number(held_out.get("after", {}).get("mean")),
        seed=job.seed,
        files="\n".join(FILES[form] for form in forms),
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _tuning(tuning: dict[str, Any]) -> str:
    if tuning["type"] == "full":
        return "all weights"
    return f"LoRA, rank {tuning['rank']}, alpha {tuning['alpha']}"
