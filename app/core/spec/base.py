"""The strict base of every request: unknown fields, lax types and unprintable text are refused."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


class Spec(BaseModel):
    """A frozen, strict model; `1` is no string, `false` is no number, `NaN` is no value."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


def printable(text: str) -> str:
    """Return the text, or refuse what PostgreSQL and UTF-8 cannot hold: NUL and lone surrogates."""
    if "\x00" in text:
        raise PydanticCustomError("forbidden_character", "The text holds a NUL character.")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PydanticCustomError("invalid_unicode", "The text holds a lone surrogate.")
    return text


Text = Annotated[str, AfterValidator(printable)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(printable)]
MetadataKey = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(printable)
]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(printable)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
