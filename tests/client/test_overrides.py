"""New values of fields as they are written on the command line."""

import pytest

from cyclealign.errors import BadOverride
from cyclealign.overrides import read_overrides


def test_values_are_json_and_else_text_in_nested_objects() -> None:
    given = [
        "/optimizer/lr=1e-4",
        "/optimizer/schedule=cosine",
        '/method/objective={"type": "rrhf"}',
        "/held_out=null",
        "/name=a=b",
    ]
    assert read_overrides(given) == {
        "optimizer": {"lr": 1e-4, "schedule": "cosine"},
        "method": {"objective": {"type": "rrhf"}},
        "held_out": None,
        "name": "a=b",
    }


@pytest.mark.parametrize("wrong", ["lr=1", "/lr", "=1", "/=1", "/optimizer/=1", "//lr=1"])
def test_what_is_no_field_with_a_value_is_refused(wrong: str) -> None:
    with pytest.raises(BadOverride, match="such as /optimizer/lr=1e-4"):
        read_overrides([wrong])


def test_a_field_inside_of_a_value_is_refused() -> None:
    with pytest.raises(BadOverride, match="/preset/x lies in a field"):
        read_overrides(["/preset=paper", "/preset/x=1"])
