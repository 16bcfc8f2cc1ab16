"""vLLM in this process as a sampler, on a GPU, beside the training weights.

It has not been run. With adapters the base is held twice, and each version of the adapters is
requested under an id of its own, to which vLLM ties its prefix cache; with full tuning the weights
are loaded over and the cache is reset. Draws are keyed by row, but logits depend in their last bits
on the batch: no run repeats bit by bit unless vLLM's batch-invariant mode is on.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from worker.whitebox.adapters import adapters_of, save_adapters
from worker.whitebox.chat import Chat
from worker.whitebox.errors import Interrupted, SamplerMissing
from worker.whitebox.sample import Drawn, Generation, Row, never
from worker.whitebox.score import base_of

MEMORY_SHARE = 0.4
"""Of the GPU's memory, for vLLM's weights and cache; the rest is for training."""


@dataclass(frozen=True)
class VllmSampler:
    """Samples rows with vLLM; it starts at the first sample.

    Raises:
        SamplerMissing: vLLM or a GPU is absent.
    """

    model: Any
    chat: Chat
    generation: Generation

    def __post_init__(self) -> None:
        if find_spec("vllm") is None:
            raise SamplerMissing("the sampler `vllm` needs vLLM, which is not installed here")
        if not torch.cuda.is_available():
            raise SamplerMissing("the sampler `vllm` needs a GPU, and this worker sees none")

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response as soon as it is complete.

        Raises:
            Interrupted: `interrupted` answered true; it is asked at every step of vLLM.
        """
        with TemporaryDirectory() as folder:
            adapter = self._sync(Path(folder), version)
            engine = self._vllm.llm_engine
            for i, row in enumerate(rows):
                prompt = {"prompt_token_ids": list(row.prompt)}
                engine.add_request(str(i), prompt, self._params(row), lora_request=adapter)
            try:
                yield from _finished(engine, interrupted)
            finally:
                engine.abort_request([str(i) for i in range(len(rows))])

    @cached_property
    def _vllm(self) -> Any:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over in memory
        base = base_of(self.model)
        adapters = adapters_of(base)
        rank = adapters.r if adapters else 1
        return import_module("vllm").LLM(
            model=base.name_or_path,
            dtype=self.generation.precision,
            max_model_len=self.generation.max_length,
            gpu_memory_utilization=MEMORY_SHARE,
            logprobs_mode="raw_logprobs",
            generation_config="vllm",  # none of the model's own penalties
            enable_lora=adapters is not None,
            max_lora_rank=max(8, 1 << (rank - 1).bit_length()),  # it has kernels for powers of two
        )

    def _sync(self, folder: Path, version: int) -> Any:
        """Bring vLLM to the current weights; the request for their adapters, if there are any."""
        base = base_of(self.model)
        if adapters_of(base) is None:
            self._vllm.apply_model(lambda model: model.load_weights(base.named_parameters()))
            self._vllm.reset_prefix_cache()
            return None
        save_adapters(base, folder)
        request = import_module("vllm.lora.request").LoRARequest
        return request(f"version {version}", version + 1, str(folder))  # ids begin at 1

    def _params(self, row: Row) -> Any:
        most = self.generation.max_new_tokens
        params = import_module("vllm.sampling_params")
        return params.SamplingParams(
            temperature=self.generation.temperature,
            top_p=self.generation.top_p,
            max_tokens=min(row.limit or most, most),
            seed=row.seed,
            logprobs=0,  # the chosen token's and no other's
            stop_token_ids=sorted(self.chat.stop_ids),
            stop=list(self.chat.stop_strings),
            output_kind=params.RequestOutputKind.FINAL_ONLY,
        )


def _finished(engine: Any, interrupted: Callable[[], bool]) -> Iterator[tuple[int, Drawn]]:
    while engine.has_unfinished_requests():
        if interrupted():
            raise Interrupted("sampling was interrupted")
        for reply in sorted(engine.step(), key=lambda reply: int(reply.request_id)):
            [output] = reply.outputs
            tokens = list(output.token_ids)
            logprobs = [some[t].logprob for t, some in zip(tokens, output.logprobs, strict=True)]
            yield int(reply.request_id), Drawn(tokens, logprobs, output.finish_reason == "stop")
