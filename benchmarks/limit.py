"""Calibrates the physical limit on this machine: `python -m benchmarks.limit`.

Prints what the cost model rests on (peak products, decoding, prefill, training, the optimizer) and
the least time of one prompt-iteration, and writes both as JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import build, build_for
from benchmarks.workload import Workload
from worker.cycle.meter import pairs
from worker.whitebox.calibration import (
    DTYPES,
    bandwidth,
    best_seconds,
    decode_rate,
    model_shapes,
    optimizer_seconds,
    product_rates,
    weight_bytes,
)
from worker.whitebox.limit import Limit, Products, products
from worker.whitebox.precision import Precision, arithmetic
from worker.whitebox.tuning import FullTuning, LoraTuning, tune

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TOKENS = 1024
"""About as many tokens in a measured prefill or training pass."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate, print, and write the result."""
    options = _options(arguments)
    workload = _workload(options)
    torch.set_num_threads(workload.threads)
    found = calibrate(workload, seconds=options.seconds)
    limit = limit_of(found, options.lanes * workload.candidates)
    found["limit"] = {"lanes": options.lanes} | least_seconds(workload, limit)
    for line in report(found):
        print(line)
    out = options.out or RESULTS / _name(workload)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def calibrate(workload: Workload, *, seconds: float = 2.0) -> dict[str, Any]:
    """Measure all that the cost model needs for a workload's model, as plain numbers.

    Each kind of measurement takes about so many seconds.
    """
    decoding = _decode_rates(workload)
    model = _trained(workload)
    trained = [p for p in model.parameters() if p.requires_grad]
    device, dtype = next(model.parameters()).device, DTYPES[workload.precision]
    rates = product_rates(dtype, device, seconds=seconds, shapes=model_shapes(model, device))
    return {
        "machine": _machine(device),
        "workload": asdict(workload),
        "operations": asdict(products(model)),
        "product_flops": {"x".join(map(str, shape)): rate for shape, rate in rates.items()},
        "bytes_per_second": bandwidth(weight_bytes(products(model), dtype), device),
        "decode_tokens_per_second": decoding,
        **_passes(model, workload, seconds),
        "trained_weights": sum(p.numel() for p in trained),
        "optimizer_seconds": optimizer_seconds(trained),
    }


def limit_of(found: Mapping[str, Any], rows: int) -> Limit:
    """Return the limit of a calibration where at most so many responses are decoded at once."""
    rates = found["decode_tokens_per_second"]
    best = max(rate for batch, rate in rates.items() if int(batch) <= rows)
    return Limit(
        Products(**found["operations"]),
        max(found["product_flops"].values()),
        decode_seconds=1 / best,
        optimizer_seconds=found["optimizer_seconds"],
    )


def least_seconds(workload: Workload, limit: Limit) -> dict[str, float]:
    """Return the least seconds of one prompt-iteration with an update of its own, by part."""
    prompt, response, n = workload.prompt_tokens, workload.response_tokens, workload.candidates
    attended = pairs(prompt, [response] * n)
    parts = {
        "prefill": limit.seconds(prompt, 0, 0, 0, 0, prompt_pairs=pairs(prompt)),
        "decoding": limit.seconds(0, n * response, 0, 0, 0),
        "training": limit.seconds(0, 0, prompt, n * response, 0, trained_pairs=attended),
        "optimizer": limit.seconds(0, 0, 0, 0, 1),
    }
    return parts | {"total": sum(parts.values())}


def report(found: Mapping[str, Any]) -> Iterator[str]:
    """Say in lines what was found."""
    work = found["workload"]
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    yield f"{work['model']}, {work['tuning']}, {work['precision']}; {machine}"
    for shape, rate in found["product_flops"].items():
        yield f"  product {shape:<20} {rate / 1e9:10.1f} GFLOP/s"
    yield f"  {'reading weights':<28} {found['bytes_per_second'] / 1e9:10.1f} GB/s"
    for rows, rate in found["decode_tokens_per_second"].items():
        yield f"  decoding, batch {rows:<12} {rate:10.1f} tokens/s"
    for name in ("prefill", "training"):
        rate, flops = found[f"{name}_tokens_per_second"], found[f"{name}_flops"]
        yield f"  {name:<28} {rate:10.1f} tokens/s, {flops / 1e9:.1f} GFLOP/s"
    yield f"  {'AdamW step':<28} {1e3 * found['optimizer_seconds']:10.2f} ms"
    yield from _report_limit(work, found["limit"])


def _report_limit(work: Mapping[str, Any], limit: Mapping[str, float]) -> Iterator[str]:
    yield (
        f"Least time of one prompt-iteration of {work['candidates']} responses of "
        f"{work['response_tokens']} tokens to {work['prompt_tokens']}, {limit['lanes']} lanes:"
    )
    for part in ("prefill", "decoding", "training", "optimizer", "total"):
        yield f"  {part:<28} {1e3 * limit[part]:10.2f} ms"


def _decode_rates(workload: Workload) -> dict[int, float]:
    """Decoding without adapters, for they can be added into the weights."""
    model, _ = build(workload.model, workload.device, workload.precision)
    context = workload.prompt_tokens + workload.response_tokens // 2
    return {rows: decode_rate(model, rows, context=context) for rows in BATCHES}


def _passes(model: Any, workload: Workload, seconds: float) -> dict[str, float]:
    """Tokens and operations a second of a prefill and of a training pass over full sequences."""
    length = workload.prompt_tokens + workload.response_tokens
    rows = max(1, TOKENS // length)
    device = next(model.parameters()).device
    tokens = torch.arange(rows * length, device=device).view(rows, length) % 256
    count, counted, attended = tokens.numel(), products(model), rows * pairs(length)
    prefill = best_seconds(_forward(model, tokens, workload.precision), device, seconds)
    training = best_seconds(_forward_and_back(model, tokens, workload.precision), device, seconds)
    return {
        "prefill_tokens_per_second": count / prefill,
        "prefill_flops": counted.forward(count, rows, attended) / prefill,
        "training_tokens_per_second": count / training,
        "training_flops": counted.training(count, count, attended) / training,
    }


def _forward(model: Any, tokens: torch.Tensor, precision: Precision) -> Callable[[], object]:
    @torch.inference_mode()
    def run() -> None:
        with arithmetic(model, precision):
            model(tokens, use_cache=False, logits_to_keep=1)

    return run


def _forward_and_back(
    model: Any, tokens: torch.Tensor, precision: Precision
) -> Callable[[], object]:
    def run() -> None:
        with arithmetic(model, precision):
            loss = model(tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        model.zero_grad(set_to_none=True)

    return run


def _trained(workload: Workload) -> Any:
    """A frozen base is held in the precision that it computes in; trained weights need more."""
    if workload.tuning == "full":
        model, _ = build_for(workload)
        return tune(model, FullTuning())
    model, _ = build(workload.model, workload.device, workload.precision)
    return tune(model, LoraTuning(workload.lora_rank))


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def _name(workload: Workload) -> str:
    return f"limit-{workload.model}-{workload.tuning}-{workload.precision}.json"


def _workload(options: argparse.Namespace) -> Workload:
    return Workload(
        model=options.model,
        tuning=options.tuning,
        lora_rank=options.lora_rank,
        precision="bfloat16" if options.bf16 else "float32",
        device=options.device,
        threads=options.threads,
        prompt_tokens=options.prompt_tokens,
        response_tokens=options.response_tokens,
        candidates=options.candidates,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("--model", default="13m", help="a name that benchmarks.models knows")
    parser.add_argument("--tuning", choices=("lora", "full"), default="lora")
    parser.add_argument("--lora-rank", type=int, default=16)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 products")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--prompt-tokens", type=int, default=96)
    parser.add_argument("--response-tokens", type=int, default=48)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=16, help="prompts decoded at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each kind of measurement")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
