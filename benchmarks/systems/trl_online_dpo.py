"""TRL's Online DPO on the benchmark's work: two candidates a prompt, and a reward that blocks."""

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

PAIR = 2
"""Candidates of a prompt, fixed by TRL."""


def run(workload: Workload, judge_url: str, prompts: str = "16", epochs: str = "1") -> Measured:
    """Train on every prompt `epochs` times, `prompts` to an optimizer step.

    Raises:
        UnavailableError: TRL is not installed.
    """
    require_trl()
    per_step = min(int(prompts), workload.prompts)
    setting = prepare(workload, judge_url)
    trainer = _trainer(setting, per_step, int(epochs))
    return timed("online_dpo", trainer, setting, ("two candidates a prompt",))


def _trainer(setting: Setting, per_step: int, epochs: int) -> Any:
    from trl.experimental.online_dpo import (  # noqa: PLC0415 - an extra
        OnlineDPOConfig,
        OnlineDPOTrainer,
    )

    workload = setting.workload
    config = OnlineDPOConfig(
        **arguments(workload),
        per_device_train_batch_size=per_step,
        max_new_tokens=workload.longest_response,
        max_length=workload.prompt_tokens + workload.longest_response,
        temperature=1.0,
        top_k=0,
    )
    return OnlineDPOTrainer(
        model=setting.model,
        reward_funcs=_reward(setting),
        args=config,
        train_dataset=rows(setting, per_step, epochs),
        processing_class=setting.tokenizer,
        peft_config=adapters(workload),
    )


def _reward(setting: Setting) -> Any:
    """Ask about every prompt's pair at once, in threads, and hold TRL up until all are answered.

    The first half of the rows are the first candidates, the second half the second ones.
    """

    def judged(
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        step: Sequence[int],
        **_others: Any,
    ) -> list[float]:
        since = time.perf_counter()
        half = len(step) // PAIR
        pending = [
            setting.judge.submit(setting.prompts[step[i]].messages, completions[i::half])
            for i in range(half)
        ]
        pairs = [rewards(each.result()) for each in pending]
        setting.count(step, completion_ids)
        setting.asked(half, since)
        return [pair[k] for k in range(PAIR) for pair in pairs]

    return judged
