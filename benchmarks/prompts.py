"""The prompts: synthetic ones of an exact length, or real ones from a file."""

import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.models import SHAPES
from benchmarks.workload import Workload, default_prompts
from worker.cycle.types import Dialogue, Message, Prompt

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prompts_for(workload: Workload, tokenizer: Any) -> list[Prompt]:
    """The workload's prompts; no two are alike.

    Raises:
        ValueError: the length leaves no room beside the template, or the file has too few.
    """
    if workload.prompts_file or workload.model not in SHAPES:
        return _real(workload, tokenizer)
    return synthetic(tokenizer, workload.prompts, workload.prompt_tokens, workload.seed)


def synthetic(tokenizer: Any, count: int, tokens: int, seed: int = 0) -> list[Prompt]:
    """Prompts of exactly `tokens` tokens, template included; for tokenizers that write bytes."""
    room = tokens - len(token_ids(tokenizer, (Message("user", ""),)))
    if room < 1:
        raise ValueError(f"the template alone has {tokens - room} tokens")
    draw = random.Random(seed)  # noqa: S311 - filler text
    texts = (_words(draw, room) for _ in range(count))
    return [Prompt(step, (Message("user", text),)) for step, text in enumerate(texts)]


def read(path: Path) -> Iterator[Dialogue]:
    """The dialogues of a file, up to the last turn of the user.

    Each line is a JSON object with `prompt`, a text, or `chosen`, a dialogue as HH-RLHF writes it.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            prompt = record.get("prompt")
            yield (Message("user", prompt),) if prompt else hh_prompt(record["chosen"])


def hh_prompt(text: str) -> Dialogue:
    """The turns of a text as HH-RLHF writes it, up to the user's last."""
    parts = _TURN.split(text)[1:]
    turns = [
        Message(_ROLES[role], content.strip())
        for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    while turns and turns[-1].role != "user":
        turns.pop()
    return tuple(turns)


def rendered(tokenizer: Any, messages: Dialogue) -> str:
    """The text after which the model answers."""
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def token_ids(tokenizer: Any, messages: Dialogue) -> tuple[int, ...]:
    """The tokens after which the model answers."""
    return tuple(tokenizer(rendered(tokenizer, messages), add_special_tokens=False).input_ids)


def _words(draw: random.Random, characters: int) -> str:
    """Random words of one to eight letters, one space apart, this long together."""
    text = ""
    while len(text) < characters:
        text += "".join(draw.choices(_LETTERS, k=draw.randint(1, 8))) + " "
    return text[: characters - 1] + draw.choice(_LETTERS)


def _real(workload: Workload, tokenizer: Any) -> list[Prompt]:
    path = Path(workload.prompts_file) if workload.prompts_file else default_prompts()
    fitting = list(_fitting(read(path), tokenizer, workload.prompt_tokens))
    if len(fitting) < workload.prompts:
        raise ValueError(
            f"{path.name} has {len(fitting)} prompts of at most {workload.prompt_tokens} tokens, "
            f"and {workload.prompts} are asked for"
        )
    return [Prompt(step, each) for step, each in enumerate(fitting[: workload.prompts])]


def _fitting(dialogues: Iterable[Dialogue], tokenizer: Any, tokens: int) -> Iterator[Dialogue]:
    """Different dialogues that need no cutting."""
    for each in dict.fromkeys(dialogues):
        if each and len(token_ids(tokenizer, each)) <= tokens:
            yield each
