"""The operator's catalogue as users see it: models, judges and what each judge can do."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.core.errors import Invalid
from app.core.spec.catalogue import (
    Catalogue,
    JudgeEntry,
    LocalLmJudge,
    ModelEntry,
    OpenAiJudge,
    PackageSource,
    RewardModelJudge,
    entry_hash,
    load_catalogue,
)


@dataclass(frozen=True)
class Traits:
    """What a judge of a type can do; the worker's judges say the same of themselves."""

    reads_demonstrations: bool
    writes_response: bool
    gives_ties: bool
    gives_scores: bool


_SCORES = Traits(
    reads_demonstrations=False, writes_response=False, gives_ties=True, gives_scores=True
)
_PROMPTED = Traits(
    reads_demonstrations=True, writes_response=True, gives_ties=True, gives_scores=False
)
CHOOSING = Traits(
    reads_demonstrations=True, writes_response=False, gives_ties=False, gives_scores=False
)
"""Of a local model whose likeliest ranking is taken."""
TRAITS = {
    "openai": _PROMPTED,
    "local_lm": _PROMPTED,
    "recorded": _PROMPTED,
    "rubric": _SCORES,
    "reward_model": _SCORES,
}


def open_catalogue(path: Path) -> Catalogue:
    """Load the catalogue; raises `Invalid` if a local judge names a model that is not in it."""
    catalogue = load_catalogue(path)
    for name, judge in catalogue.judges.items():
        if isinstance(judge, RewardModelJudge) and (judge.model is None) == (
            judge.checkpoint is None
        ):
            raise Invalid(f"CATALOGUE: judge {name!r} needs either a model or a checkpoint.")
        model = _local_model(judge)
        if model is not None and model not in catalogue.models:
            raise Invalid(f"CATALOGUE: judge {name!r} names the unknown model {model!r}.")
    return catalogue


def _local_model(judge: JudgeEntry) -> str | None:
    return judge.model if isinstance(judge, LocalLmJudge | RewardModelJudge) else None


def traits_of(judge: JudgeEntry) -> Traits:
    """Return what the judge can do."""
    return CHOOSING if chooses(judge) else TRAITS[judge.type]


def chooses(judge: JudgeEntry) -> bool:
    """Whether the judge is a local model whose likeliest ranking is taken."""
    return isinstance(judge, LocalLmJudge) and judge.replies == "likeliest"


def models(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Describe every model, without the operator's paths."""
    for name, entry in sorted(catalogue.models.items()):
        yield {
            "id": name,
            "source": entry.source.type,
            "revision": getattr(entry.source, "revision", None),
            "weights": "gguf" if isinstance(entry.source, PackageSource) else "safetensors",
            "license": entry.license,
            "description": entry.description,
            "chat": entry.chat,
            "entry_sha256": entry_hash(entry),
        }


def judges(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Describe every judge, without addresses and credentials."""
    for name, entry in sorted(catalogue.judges.items()):
        yield {
            "id": name,
            "type": entry.type,
            "model": _asked_model(entry),
            "traits": traits_of(entry),
            "price": entry.price.model_dump()
            if isinstance(entry, OpenAiJudge) and entry.price
            else None,
            "description": entry.description,
            "entry_sha256": entry_hash(entry),
        }


def _asked_model(entry: JudgeEntry) -> str | None:
    return entry.model if isinstance(entry, OpenAiJudge) else _local_model(entry)


def resolved_model(entry: ModelEntry) -> dict[str, Any]:
    """What a job records of its model's entry."""
    return {"license": entry.license, "entry_sha256": entry_hash(entry)}


def resolved_judge(entry: JudgeEntry) -> dict[str, Any]:
    """What a job records of its judge's entry."""
    return {
        "type": entry.type,
        "traits": asdict(traits_of(entry)),
        "entry_sha256": entry_hash(entry),
    }
