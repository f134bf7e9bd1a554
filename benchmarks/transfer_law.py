"""How long the whole bootstrap takes, through effective data and law: 1,000 draws on a table of 302 runs.

python -m benchmarks.transfer_law
"""

from __future__ import annotations

import time

from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import SIZES, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit


def main() -> None:
    runs = check_runs(simulate_runs(sizes=SIZES | {"300k": 300_000, "400k": 400_000}))
    start = time.perf_counter()
    fitted = fit_runs(runs, Fit(d_f=(6_000, 60_000), draws=1000), "excerpt")
    middle = time.perf_counter()
    summarise(fitted)
    print(
        f"{len(runs)} runs, 1,000 draws: {middle - start:.1f} s; estimators, rival laws and predictions beside it:",
        end="",
    )
    print(f" {time.perf_counter() - middle:.1f} s")


if __name__ == "__main__":
    main()
