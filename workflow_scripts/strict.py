"""The base of every part of the configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and (unknown := sorted(set(values) - set(cls.model_fields))):
            raise ValueError(f"unknown key {', '.join(map(repr, unknown))}; known are {', '.join(cls.model_fields)}")
        return values
