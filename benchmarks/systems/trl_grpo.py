"""TRL's GRPO on the benchmark's work: the judge as a coroutine reward, `prompts` a step."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.systems.trl_parts import (
    Setting,
    adapters,
    arguments,
    prepare,
    require_trl,
    rewards,
    rows,
    timed,
)
from benchmarks.workload import Measured, Workload


def run(
    workload: Workload, judge_url: str, prompts: str = "16", epochs: str = "1", micro: str = "1"
) -> Measured:
    """Train on every prompt `epochs` times, `prompts` to an optimizer step.

    `micro` prompts share one forward pass; TRL pads all rows of a step to its longest response
    either way.

    Raises:
        UnavailableError: TRL is not installed.
    """
    require_trl()
    per_step = min(int(prompts), workload.prompts)
    setting = prepare(workload, judge_url)
    trainer = _trainer(setting, per_step, int(epochs), min(int(micro), per_step))
    left = workload.prompts * int(epochs) % per_step
    notes = (f"TRL drops a step that is not full: {left} prompts left out",) if left else ()
    return timed("grpo", trainer, setting, notes)


def _trainer(setting: Setting, per_step: int, epochs: int, micro: int) -> Any:
    from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415 - an extra

    workload = setting.workload
    config = GRPOConfig(
        **arguments(workload),
        num_generations=workload.candidates,
        per_device_train_batch_size=micro * workload.candidates,
        gradient_accumulation_steps=per_step // micro,
        max_completion_length=workload.longest_response,
        beta=0.0,
        temperature=1.0,
        shuffle_dataset=False,
    )
    return GRPOTrainer(
        model=setting.model,
        reward_funcs=_reward(setting),
        args=config,
        train_dataset=rows(setting, per_step, epochs),
        processing_class=setting.tokenizer,
        peft_config=adapters(workload),
    )


def _reward(setting: Setting) -> Any:
    """Ask about every prompt's candidates at once; TRL waits for all of them."""
    n = setting.workload.candidates

    async def judged(
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        step: Sequence[int],
        **_others: Any,
    ) -> list[float]:
        since = time.perf_counter()
        groups = range(0, len(step), n)
        calls = (
            setting.judge.ask_async(setting.prompts[step[at]].messages, completions[at : at + n])
            for at in groups
        )
        rankings = await asyncio.gather(*calls)
        setting.count(step, completion_ids)
        setting.asked(len(groups), since)
        return [reward for ranking in rankings for reward in rewards(ranking)]

    return judged
