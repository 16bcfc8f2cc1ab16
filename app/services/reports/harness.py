"""How an experiment's harness differs from that of CycleAlign's paper, field by field."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One difference, in words for people."""

    what: str
    here: str
    paper: str


_WHITE_BOXES = "LLaMA-7B or Alpaca-7B"
_JUDGE = "gpt-3.5-turbo-0613 by API"
_PROMPTS = "1,000 of HH-RLHF's four subsets"
_HELD_OUT = "8,552: HH-RLHF's whole test sets"
_DECODING = "greedy, 128 tokens"
_SCORER = "oasst-rm-2-pythia-6.9b, which was trained on HH-RLHF too"


def harness_differences(resolved: dict[str, Any], experiment: dict[str, Any]) -> list[Difference]:
    """Compare a row's job and the experiment's evaluation with what the paper states."""
    method, tuning = resolved["method"], resolved["model"]["tuning"]
    found = [
        Difference("white box", resolved["model"]["name"], _WHITE_BOXES),
        Difference("judge", _judge(resolved), _JUDGE),
        Difference("training prompts", str(resolved["prompts"].get("rows")), _PROMPTS),
        Difference("candidates", str(method.get("candidates", "none")), "3"),
        Difference("iterations (N)", str(method.get("iterations", "none")), "5"),
        Difference("prompts in flight", str(method.get("concurrency")), "1"),
        Difference("learning rate", str(resolved["optimizer"]["lr"]), "5e-05"),
        Difference("tuning", tuning["type"], "not stated"),
        Difference("most tokens of a response", str(_tokens(resolved)), "512 with the prompt"),
        Difference("seeds of a row", str(len(experiment["seeds"])), "1, without intervals"),
        *_evaluation(experiment),
    ]
    return [one for one in found if one.here != one.paper]


def _judge(resolved: dict[str, Any]) -> str:
    judge = resolved.get("judge")
    return "none" if judge is None else f"{judge['name'] or judge['checkpoint']} ({judge['type']})"


def _tokens(resolved: dict[str, Any]) -> int:
    tokens: int = resolved["generation"]["max_new_tokens"]
    return tokens


def _evaluation(experiment: dict[str, Any]) -> list[Difference]:
    asked = experiment["evaluation"]
    if asked is None:
        return []
    scorers = ", ".join(one["name"] or one["checkpoint"] for one in asked["scorers"])
    sample = asked["prompts"]["sample"]
    rows = "all of a dataset" if sample is None else str(sample["n"])
    generation = asked["generation"]
    decoding = f"sampled at temperature {generation['temperature']}"
    return [
        Difference("held-out prompts", rows, _HELD_OUT),
        Difference("decoding", f"{decoding}, {generation['max_new_tokens']} tokens", _DECODING),
        Difference("scorers", scorers or "none", _SCORER),
    ]
