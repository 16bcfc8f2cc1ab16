"""The model card: how a checkpoint was made, in words, from the job's own record."""

from collections.abc import Iterator
from typing import Any

from app.core.models import Job

CARD = """---
base_model: {base}
library_name: transformers
license: {license}
tags: [cyclealign, {tag}]
---

# {name}, after {updates} updates

{about}

| | |
| --- | --- |
{rows}

{scores}

## Files

{files}
"""

ABOUT = {
    "cyclealign": "Aligned by CycleAlign (arXiv 2310.16271): the model sampled responses, a judge "
    "ranked them, the\nmodel's own probabilities ranked them too, and {objective} trained it on "
    "the judge's ranking.",
    "ranking": "Trained by {objective} on given responses that were ranked or scored before; it "
    "sampled none of them.",
    "sft": "Fine-tuned on given responses: the reply of every dialogue, or the best of every "
    "ranking.",
    "reward_model": "A reward model: its body reads a dialogue and a response, its head gives one "
    "score. It was trained\nwith the pairwise logistic loss on given rankings.",
}
OF_JUDGE = (
    "The scores are the judge's own. They say how well the model pleases that judge, not more."
)
OF_NONE = "Nothing here says whether it is better for people. Evaluate it before use."

FILES = {
    "adapter": "- `adapter/`: LoRA weights for the base model above (`peft`).",
    "merged": "- `merged/`: the whole model with the training merged in (`transformers`).",
}


def model_card(job: Job, *, updates: int, round_: int, forms: list[str]) -> str:
    """Write the card of a checkpoint in Markdown."""
    spec, method = job.resolved, job.resolved["method"]
    objective = method.get("objective", {}).get("type", method["type"])
    return CARD.format(
        base=spec["model"]["name"],
        license=spec["model"].get("license") or "other",
        tag=objective,
        name=job.name,
        updates=updates,
        about=ABOUT[method["type"]].format(objective=objective),
        rows="\n".join(f"| {name} | {value} |" for name, value in _rows(job, round_)),
        scores=OF_JUDGE if spec.get("judge") else OF_NONE,
        files="\n".join(FILES[form] for form in forms),
    )


def _rows(job: Job, round_: int) -> Iterator[tuple[str, Any]]:
    spec = job.resolved
    optimizer, prompts = spec["optimizer"], spec["prompts"]
    yield "job", f"`{job.id}`, round {round_}"
    yield "base model", spec["model"]["name"]
    if start := spec["model"].get("start"):
        checkpoint = spec["model"]["checkpoint"]
        yield "started from", f"`{checkpoint}`, round {start['round']} of `{start['job_id']}`"
    if spec.get("judge"):
        judge = spec["judge"]
        named = judge.get("name") or judge.get("checkpoint")
        yield "judge", f"{named} ({judge.get('type', 'unknown')})"
    yield "method", _method(spec["method"])
    yield "tuning", _tuning(spec["model"]["tuning"])
    how = f"{optimizer['type']}, learning rate {optimizer['lr']}, {optimizer['schedule']} schedule"
    yield "optimizer", how
    of = f"`{prompts['dataset']}` (sha256 `{prompts.get('sha256')}`)"
    yield "prompts", f"{job.steps_total} rows of {of}"
    yield from _results(job.progress)
    yield "seed", job.seed


def _method(method: dict[str, Any]) -> str:
    objective = method.get("objective", {})
    learnt = objective.get("type", method["type"])
    if objective.get("lambda") is not None:
        learnt += f", lambda {objective['lambda']}"
    if method["type"] == "cyclealign":
        return (
            f"{learnt}, at most {method['iterations']} iterations a prompt, "
            f"{method['candidates']} candidates, {method['concurrency']} prompts in flight"
        )
    return f"{learnt}, {method['epochs']} epochs"


def _results(done: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    held_out = done.get("held_out", {})
    yield "steps done", done.get("steps_done", 0)
    if "mean_iterations" in done:
        yield "mean iterations a prompt", _number(done["mean_iterations"])
    scores = (held_out.get(when, {}).get("mean") for when in ("before", "after"))
    yield "held-out score before, after", ", ".join(map(_number, scores))


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _tuning(tuning: dict[str, Any]) -> str:
    if tuning["type"] == "full":
        return "all weights"
    return f"LoRA, rank {tuning['rank']}, alpha {tuning['alpha']}"
