"""A run's place in an experiment: what it is called, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.files import read_json, sha256

FILES = ("run.json", "curve.parquet", "model.safetensors")
"""What stands in the folder of a run."""


def manifest_of(entry: Path) -> dict[str, Any]:
    """What a job's manifest says of a run, whose entry in the store this is."""
    status = read_json(entry / "run.json")["status"]
    return {"key": entry.name, "status": status, "weights": sha256(entry / "model.safetensors")}


@dataclass(frozen=True)
class Run:
    """A cell of the grid at one seed."""

    arm: Literal["pretrain", "zero_shot", "finetune", "scratch"]
    source: str | None
    """The corpus of pre-training; None for a run from scratch."""
    unit: Literal["excerpt", "document"]
    size: str
    characters: int | None
    """D; None for pre-training, which is counted in tokens."""
    seed: int
    sweep: str | None = None
    """The constant of the recipe that has another `value`; None in the grids."""
    value: float | None = None

    @property
    def siblings(self) -> str:
        """Folder of the runs that share everything but D."""
        sweep = f"sweeps/{self.sweep}/{self.value:g}/" if self.sweep else ""
        source = f"/{self.source}" if self.source else ""
        unit = "" if self.arm in ("pretrain", "zero_shot") else f"/{self.unit}"
        return f"{sweep}{self.arm}{source}{unit}/{self.size}/seed{self.seed}"

    @property
    def folder(self) -> str:
        """Where the run stands below `results/<experiment>/training/`."""
        return self.siblings if self.arm in ("pretrain", "zero_shot") else f"{self.siblings}/d{self.characters}"
