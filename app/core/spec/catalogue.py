"""The operator's catalogue: the models and judges that jobs may name, from one TOML file."""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, HttpUrl

from app.core.spec.base import Spec
from app.core.spec.job import CheckpointId, EntryName, JudgeSpec

HOW_FAST = frozenset({"concurrency", "requests_per_minute", "tokens_per_minute"})
"""Fields that change nothing in what is asked or answered."""


class HubSource(Spec):
    """A model of the hub, pinned to a commit and loaded offline from the local cache."""

    type: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")


class FolderSource(Spec):
    """A folder with safetensors, configuration and tokenizer."""

    type: Literal["folder"]
    path: str


class PackageSource(Spec):
    """A GGUF file inside an installed Python package, found without importing the package."""

    type: Literal["package"]
    package: str = Field(pattern=r"^[a-z_][a-z0-9_]*$")
    file: str = Field(pattern=r"^[\w.-]+\.gguf$")


class ModelEntry(Spec):
    """A white box, or a local black box."""

    source: Annotated[HubSource | FolderSource | PackageSource, Field(discriminator="type")]
    license: str | None = None
    description: str = ""
    chat: Literal["auto", "template", "plain"] = Field(
        default="auto",
        description="`template` uses the model's own chat template, `plain` writes "
        "Human/Assistant turns for base models, `auto` prefers the template.",
    )


class Price(Spec):
    """Micro-units of the currency for a million tokens."""

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    input: int = Field(ge=0)
    cached_input: int | None = Field(default=None, ge=0)
    output: int = Field(ge=0)


class OpenAiJudge(Spec):
    """Any OpenAI-compatible chat endpoint."""

    type: Literal["openai"]
    base_url: HttpUrl = Field(strict=False)
    model: str
    credential_env: str | None = Field(
        default=None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="The worker's environment variable that holds the key.",
    )
    structured: bool = Field(
        default=True, description="Ask for a JSON schema; the strict parser applies either way."
    )
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=16, le=32_768)
    timeout_seconds: float = Field(default=120.0, gt=0, le=600)
    tries: int = Field(default=6, ge=1, le=20)
    concurrency: int = Field(
        default=16, ge=1, le=256, description="Most calls in flight at once for one job."
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Of all workers together that use this credential."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="As `requests_per_minute`; prompts and replies together."
    )
    price: Price | None = None
    description: str = ""


class LocalLmJudge(Spec):
    """A model of this catalogue as black box, prompted like any other."""

    type: Literal["local_lm"]
    model: EntryName
    max_tokens: int = Field(default=256, ge=16, le=8192)
    replies: Literal["written", "likeliest"] = Field(
        default="written",
        description="Whether it writes its rankings, or the likeliest of all well-formed ones is "
        "taken: for small models, which mostly miss the form, and at most 5 candidates.",
    )
    description: str = ""


class RubricJudge(Spec):
    """The built-in, deterministic and free rubric; no language model."""

    type: Literal["rubric"]
    description: str = ""


class RewardModelJudge(Spec):
    """A reward model: of this catalogue, or a checkpoint of a `reward_model` job."""

    type: Literal["reward_model"]
    model: EntryName | None = None
    checkpoint: CheckpointId | None = None
    max_length: int = Field(
        default=1024, ge=32, le=131_072, description="Tokens of prompt and response together."
    )
    response_tokens: int = Field(
        default=256, ge=8, le=65_536, description="Tokens that a prompt always leaves a response."
    )
    description: str = ""


class RecordedJudge(Spec):
    """Replays the answers of a stored ledger (JSON Lines, as `/judge-calls` exports it)."""

    type: Literal["recorded"]
    path: str
    description: str = ""


JudgeEntry = Annotated[
    OpenAiJudge | LocalLmJudge | RewardModelJudge | RubricJudge | RecordedJudge,
    Field(discriminator="type"),
]


class Catalogue(Spec):
    """All entries, by name."""

    models: dict[EntryName, ModelEntry]
    judges: dict[EntryName, JudgeEntry]


def load_catalogue(path: Path) -> Catalogue:
    """Read the TOML file; raises `ValidationError` or `TOMLDecodeError`, with the place."""
    return Catalogue.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def entry_hash(entry: ModelEntry | JudgeEntry) -> str:
    """Identify an entry's content, so that a run never goes on under a changed one.

    How fast a judge is asked is left out: an operator may slow down the jobs that run.
    """
    content = entry.model_dump_json(exclude=set(HOW_FAST))
    return hashlib.sha256(content.encode()).hexdigest()


def judge_entry(spec: JudgeSpec, catalogue: Catalogue) -> JudgeEntry | None:
    """Return what a job's judge is; None where the catalogue has no such name."""
    if spec.checkpoint is not None:
        return RewardModelJudge(type="reward_model", checkpoint=spec.checkpoint)
    return catalogue.judges.get(spec.name or "")
