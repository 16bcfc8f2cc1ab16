"""The random models and their prompts have the sizes that they are named for."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.models import build, byte_tokenizer, parameters
from benchmarks.prompts import hh_prompt, prompts_for, read, synthetic, token_ids
from benchmarks.workload import Workload, default_prompts
from worker.cycle.types import Message
from worker.whitebox.chat import open_chat


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer(512)


@pytest.mark.parametrize(("name", "least", "most"), [("1m", 8e5, 1.2e6), ("13m", 12e6, 14e6)])
def test_a_model_has_its_size(name: str, least: float, most: float) -> None:
    model, tokenizer = build(name)
    assert least < parameters(model) < most
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert not model.training


def test_a_seed_makes_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (build("tiny", seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_large_model_is_not_made_on_a_cpu() -> None:
    with pytest.raises(ValueError, match="on a GPU only"):
        build("7b")
    with pytest.raises(ValueError, match="no model 'huge'"):
        build("huge")


def test_every_token_decodes_to_text_of_its_own(tokenizer: Any) -> None:
    texts = {tokenizer.decode([token]) for token in range(256, 509)}
    assert len(texts) == 253
    assert all(text.strip().isalpha() for text in texts)


def test_synthetic_prompts_have_exactly_the_length_asked_for(tokenizer: Any) -> None:
    prompts = synthetic(tokenizer, 20, 96, seed=3)
    chat = open_chat(tokenizer)
    assert {len(chat.prompt_ids(prompt.messages, 512)) for prompt in prompts} == {96}
    assert token_ids(tokenizer, prompts[0].messages) == chat.prompt_ids(prompts[0].messages, 512)
    assert len({prompt.messages for prompt in prompts}) == 20
    assert prompts == synthetic(tokenizer, 20, 96, seed=3)
    assert prompts != synthetic(tokenizer, 20, 96, seed=4)
    with pytest.raises(ValueError, match="the template alone"):
        synthetic(tokenizer, 1, 12)


def test_a_dialogue_ends_with_its_last_human_turn() -> None:
    text = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nd\n\nAssistant: e"
    turns = [("user", "a"), ("assistant", "b"), ("user", "c\n\nd")]
    assert hh_prompt(text) == tuple(Message(*turn) for turn in turns)
    assert hh_prompt("no turns") == ()


def test_prompts_come_from_a_packed_file_each_once(tokenizer: Any, tmp_path: Path) -> None:
    texts = ["one", "one", "two", "long " * 100, "three"]
    path = tmp_path / "hh.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        for text in texts:
            chosen = f"\n\nHuman: {text}\n\nAssistant: x"
            lines.write(json.dumps({"chosen": chosen, "rejected": ""}) + "\n")
    workload = Workload(model="tiny", prompts=3, prompts_file=str(path))
    prompts = prompts_for(workload, tokenizer)
    assert [(p.step, p.messages[0].content) for p in prompts] == [
        (0, "one"),
        (1, "two"),
        (2, "three"),
    ]
    with pytest.raises(ValueError, match="has 3 prompts of at most 96 tokens, and 4 are asked"):
        prompts_for(Workload(model="tiny", prompts=4, prompts_file=str(path)), tokenizer)


def test_the_repository_has_prompts_of_its_own() -> None:
    dialogues = list(read(default_prompts()))
    assert len(dialogues) == 96
    assert all(each[-1].role == "user" for each in dialogues)
