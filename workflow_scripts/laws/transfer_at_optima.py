"""Step `transfer_at_optima`: what D_T would be if each arm had its own optimum of a constant of the recipe.

python -m workflow_scripts.laws.transfer_at_optima --sweeps E/laws/sweeps.json --laws E/laws --unit excerpt
    --out E/laws/transfer_at_optima.json

The sweeps and the law are made without each other, so it is asked first whether they are of the same runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.files import read_json, write_json
from workflow_scripts.laws.sweeps import effect_on_transfer


def of_the_same_runs(
    cells: Sequence[Mapping[str, Any]], effective: pd.DataFrame, curves: pd.DataFrame, unit: str
) -> bool | None:
    """Whether the law and the sweeps have the same losses (nats a token) at the recipe's own value, wherever both were seen;
    None if nowhere."""
    tuned, scratch = effective[effective.unit == unit], curves[curves.unit == unit]
    in_law = dict(zip(zip(tuned.source, tuned.n_params, tuned.d_f, strict=True), tuned.test_loss, strict=True))
    in_law |= {(None, n, d): loss for n, d, loss in zip(scratch.n_params, scratch.d, scratch.loss, strict=True)}
    own = {
        (cell["source"], cell["n_params"], cell["d_chars"]): cell["losses"].get(f"{cell['own']:g}") for cell in cells
    }
    pairs = [(loss, in_law[place]) for place, loss in own.items() if loss is not None and place in in_law]
    return all(np.isclose(swept, seen, rtol=1e-9, atol=0) for swept, seen in pairs) if pairs else None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", required=True, type=Path)
    parser.add_argument("--laws", required=True, type=Path)
    parser.add_argument("--unit", required=True, help="sampling unit of the sweeps")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    sweeps = read_json(arguments.sweeps)
    tables = [pd.read_parquet(arguments.laws / f"{name}.parquet") for name in ("effective_data", "scratch_curves")]
    same = of_the_same_runs(sweeps["cells"], *tables, arguments.unit)
    transfer = effect_on_transfer(sweeps["cells"], *tables, arguments.unit) if same else []
    write_json(arguments.out, {"simulated": sweeps["simulated"], "same_runs": same, "transfer": transfer})


if __name__ == "__main__":
    main()
