"""ZeRO-2 and ZeRO-3: a model's gradients, moments and, in stage 3, weights cut over the ranks.

DeepSpeed does the cutting; its own checkpoints are pickles and are not used.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import deepspeed
import deepspeed.ops
import torch
from deepspeed.utils import logger as deepspeed_logger
from torch import Tensor

from worker.whitebox.blocks import use_plain_blocks
from worker.whitebox.decoder import use_plain_decoder
from worker.whitebox.leading import Tell
from worker.whitebox.learn import Learner
from worker.whitebox.lora import use_plain_products
from worker.whitebox.policy import WhiteBox
from worker.whitebox.ranks import Ranks, SharedSampler, SharedScorer, Zero
from worker.whitebox.score import Scorer, base_of
from worker.whitebox.stepper import optimizer_of
from worker.whitebox.zero_stepper import CUTS_WEIGHTS, ZeroStepper

MOST_IN_BUCKET = 50_000_000
"""Numbers reduced at once: 200 MB in float32."""


class Forward(torch.nn.Module):
    """A scorer's run as the module that DeepSpeed drives."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.model = scorer.model
        self._scorer = scorer

    def forward(
        self, inputs: dict[str, Tensor], rows: list[int], places: list[int], targets_N: Tensor
    ) -> Tensor:
        """Log-probabilities of the targets, (N,)."""
        return self._scorer.run(inputs, rows, places, targets_N)


@contextmanager
def cut(policy: WhiteBox, ranks: Ranks, zero: Zero, tell: Tell) -> Iterator[WhiteBox]:
    """The policy of one rank, cut over all; it must be the same on every rank before.

    The policy given is of no more use. `tell` is how rank 0 has the others follow it.
    """
    learner = policy.learner
    shapes = learner.stepper.shapes  # from before the cut
    engine = open_engine(learner, zero)
    stepper = ZeroStepper(engine, learner.parameters, shapes, tell)
    try:
        yield _shared(policy, ranks, engine, stepper)
    finally:
        engine.destroy()


def _shared(policy: WhiteBox, ranks: Ranks, engine: Any, stepper: ZeroStepper) -> WhiteBox:
    learner = policy.learner
    learner = Learner(
        SharedScorer(**vars(learner.scorer), engine=engine, ranks=ranks),
        learner.objective,
        learner.config,
        total_updates=learner.total_updates,
        stepper=stepper,
        start=learner.start,
    )
    sampler = SharedSampler(policy.speaker.sampler, ranks, stepper.whole)
    return WhiteBox(replace(policy.speaker, sampler=sampler), learner)


def open_engine(learner: Learner, zero: Zero) -> Any:
    """Cut the learner's model over the ranks of the default process group, in place.

    The engine is called as `Scorer.run` is.
    """
    _be_quiet()
    deepspeed.ops.__compatible_ops__ = {}  # else it looks for a compiler and builds kernels
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False, dist_backend=_backend())
    scorer = learner.scorer
    if zero.stage == CUTS_WEIGHTS:
        # ours read a frozen weight outside its layer's forward, where it is not gathered
        use_plain_decoder(base_of(scorer.model))
        use_plain_blocks(scorer.model)
        use_plain_products(scorer.model)
    engine, *_ = deepspeed.initialize(
        model=Forward(scorer),
        optimizer=optimizer_of(learner.parameters, learner.config),
        model_parameters=list(learner.parameters.values()),
        config=_config(learner, zero),
        dist_init_required=False,
    )
    if zero.stage == CUTS_WEIGHTS:
        # Its weight is read outside its own forward, so nothing else would gather it.
        head = base_of(scorer.model).get_output_embeddings()
        deepspeed.zero.register_external_parameter(engine.module, head.weight)
    engine.eval()
    return engine


def _backend() -> str:
    return "nccl" if torch.cuda.is_available() else "gloo"


def _be_quiet() -> None:
    """Standard output is where the runner says how it ended."""
    deepspeed_logger.setLevel(logging.ERROR)
    for handler in deepspeed_logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    old = r"`torch.distributed.(all_gather_into|reduce_scatter)_tensor` is deprecated"
    warnings.filterwarnings("ignore", old, FutureWarning)  # DeepSpeed's own calls


def _config(learner: Learner, zero: Zero) -> dict[str, Any]:
    bucket = min(MOST_IN_BUCKET, sum(p.numel() for p in learner.parameters.values()))
    cutting: dict[str, Any] = {
        "stage": zero.stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if zero.stage == CUTS_WEIGHTS:
        cutting["stage3_param_persistence_threshold"] = zero.kept_whole
    if zero.offload_optimizer:
        pinned = torch.cuda.is_available()
        cutting["offload_optimizer"] = {"device": "cpu", "pin_memory": pinned}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": learner.config.clip or 0.0,
        "steps_per_print": None,
        "managed_gradient_accumulation": False,  # we say when to step
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # that one must be compiled
        "zero_optimization": cutting,
    }
