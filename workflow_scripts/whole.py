"""Counts, however YAML reads them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _whole(value: Any) -> Any:
    """`2e9` is a text in YAML 1.1 and a float in YAML 1.2; both are the number."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return int(number) if isinstance(number, float) and number.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
"""Of characters or tokens."""
