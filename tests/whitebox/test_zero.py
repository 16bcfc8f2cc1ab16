"""Ranks under ZeRO-2 and ZeRO-3 compute what one process does, and exchange states with it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.whitebox.conftest import ask, sampled
from tests.whitebox.zero_job import ASKED, first_round, next_step, opened, save
from worker.cycle.ports import Answers
from worker.whitebox.checkpoint import load_training_state
from worker.whitebox.ranks import Ranks, own_rows, own_texts
from worker.whitebox.sample import Row
from worker.whitebox.strips import Texts

# peft asks transformers by an attribute's former name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

STATE = "training_state"
CASES = [
    ("lora", {"ranks": 2, "zero": 2}),
    ("lora", {"ranks": 2, "zero": 3, "offload_optimizer": True}),
    ("full", {"ranks": 2, "zero": 3, "batch_tokens": 90}),
    ("full", {"ranks": 1, "zero": 2, "offload_optimizer": True}),
]


@dataclass(frozen=True)
class Alone:
    """What one process without ZeRO found, and the checkpoint that it saved."""

    found: dict[str, Any]
    next: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def alone(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Alone]:
    made: dict[str, Alone] = {}

    def of(tuning: str) -> Alone:
        if tuning not in made:
            folder = tmp_path_factory.mktemp(tuning)
            with opened(chat_model, tuning, {}) as policy:
                found = first_round(policy)
                save(policy, folder)
                made[tuning] = Alone(found, next_step(policy), folder)
        return made[tuning]

    return of


def on_ranks(**wish: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.whitebox.zero_job", json.dumps(wish, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((wish["out"] / "found.json").read_text())
    return found


@pytest.mark.parametrize(("tuning", "engine"), CASES)
def test_ranks_do_what_one_process_does_and_go_on_from_its_state(
    tuning: str,
    engine: dict[str, Any],
    alone: Callable[[str], Alone],
    chat_model: Path,
    tmp_path: Path,
) -> None:
    one = alone(tuning)
    many = on_ranks(model=chat_model, tuning=tuning, engine=engine, out=tmp_path, state=one.folder)
    assert many["tokens"] == one.found["tokens"]
    assert many["logprobs"] == pytest.approx(one.found["logprobs"], abs=1e-4)
    assert many["scores"] == pytest.approx(one.found["scores"], abs=1e-4)
    for ours, theirs in zip(many["learned"], one.found["learned"], strict=True):
        check_step(ours, theirs)
    check_step(many["resumed"], one.next)
    assert many["no_loss"] == "the loss is nan"
    assert many["no_gradient"] == ("the norm of the gradient is inf" if tuning == "lora" else None)
    check_state(tmp_path, one.folder)
    check_state_in_one_process(tmp_path, many["next"], chat_model, tuning)
    check_files(tmp_path, tuning, chat_model)


@pytest.mark.parametrize(("tuning", "form"), [("lora", "adapter"), ("full", "merged")])
def test_ranks_begin_with_the_weights_of_a_checkpoint(
    tuning: str, form: str, alone: Callable[[str], Alone], chat_model: Path, tmp_path: Path
) -> None:
    one = alone(tuning)
    start = one.folder / form
    engine = {"ranks": 2, "zero": 3}
    wish = {"model": chat_model, "tuning": tuning, "engine": engine, "start": start}
    many = on_ranks(**wish, out=tmp_path, state=one.folder)
    with opened(chat_model, tuning, {}, start) as policy:
        wanted = first_round(policy)
    assert many["tokens"] == wanted["tokens"]
    assert many["scores"] == pytest.approx(wanted["scores"], abs=1e-4)
    assert many["scores"] != pytest.approx(one.found["scores"], abs=1e-2)
    for ours, theirs in zip(many["learned"], wanted["learned"], strict=True):
        check_step(ours, theirs)


def check_step(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours["scores"] == pytest.approx(theirs["scores"], abs=1e-4)
    for name in ("version", "lr", "loss", "rank_loss", "sft_loss", "sft_weight", "grad_norm"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name


def check_state(ours: Path, theirs: Path) -> None:
    """Adam magnifies the rounding of gradients near zero, so moments tell more than weights."""
    for file, within in (("optimizer", 1e-5), ("weights", 1e-3)):
        found, wanted = (load_file(f / STATE / f"{file}.safetensors") for f in (ours, theirs))
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name].dtype == value.dtype
            assert torch.allclose(found[name], value, rtol=1e-3, atol=within), name
    assert (ours / STATE / "state.json").read_text() == (theirs / STATE / "state.json").read_text()


def check_state_in_one_process(
    folder: Path, following: dict[str, Any], model: Path, tuning: str
) -> None:
    with opened(model, tuning, {}) as policy:
        load_training_state(policy, folder)
        check_step(next_step(policy), following)


def check_files(folder: Path, tuning: str, model: Path) -> None:
    """The written models give the log-probabilities of a policy that loads the state."""
    with opened(model, tuning, {}) as policy:
        load_training_state(policy, folder)
        (samples,) = sampled(policy, ASKED[0])
        (wanted,) = policy.score([Answers(ASKED[0].prompt, tuple(samples))])
        prompt = policy.speaker.prompt_ids(ask("Name a colour.").messages)
    models = [AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32)]
    if tuning == "lora":
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        models.append(PeftModel.from_pretrained(base, str(folder / "adapter")))
    for plain in models:
        got = [mean_logprob(plain, prompt, sample.tokens) for sample in samples]
        assert got == pytest.approx(wanted, abs=1e-4)


@torch.no_grad()
def mean_logprob(model: Any, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> float:
    logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])
    return float(chosen.mean())


def test_every_row_is_one_ranks_and_prompts_stay_together() -> None:
    rows = [Row((prompt,), seed) for prompt in range(3) for seed in range(2)]
    assert [own_rows(rows, Ranks(k, 2)) for k in range(2)] == [[0, 1, 4, 5], [2, 3]]
    assert [own_rows(rows[:2], Ranks(k, 2)) for k in range(2)] == [[0], [1]]
    assert own_rows(rows[:1], Ranks(1, 2)) == []


def test_every_response_is_one_ranks_whatever_order_they_came_in() -> None:
    texts = [Texts((1,), ((5, 5), (6,), (7, 7, 7))), Texts((2,), ((8,),))]
    shares = [own_texts(texts, Ranks(k, 2)) for k in range(2)]
    assert shares[0] == ([Texts((1,), ((6,), (7, 7, 7)))], [1, 2])
    assert shares[1] == ([Texts((1,), ((5, 5),)), Texts((2,), ((8,),))], [0, 3])
    turned = [Texts((1,), texts[0].responses[::-1]), texts[1]]
    assert own_texts(turned, Ranks(0, 2))[0] == shares[0][0]
