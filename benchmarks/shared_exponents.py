"""How often does the test of shared exponents reject what is shared?  Simulated experiments of two sources.

    python -m benchmarks.shared_exponents [--experiments 200] [--workers 1]

Both sources have one alpha and one beta (k differs), and are fine-tuned on the same prefixes and read from the same
from-scratch runs, as in an experiment.  A calibrated p-value is below 0.05 in 5 % of the experiments, below 0.5 in half.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.coverage import SETTINGS, Setting
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.sources import EXPONENTS, shared_exponent
from workflow_scripts.sections import Fit

SETTING = SETTINGS["quickstart"]
RICHER = 2.5
"""Times the k of the first source that the second has."""
OTHER_SEED = 10**6
LEVELS = (0.05, 0.25, 0.5)


def two_sources(seed: int, setting: Setting = SETTING) -> pd.DataFrame:
    """The second source has pre-trained models and runs of its own, and the prefixes of the first: their noise is what
    a simulation with nothing else adds to one without any."""
    richer, noise = setting.planted.model_copy(update={"k": RICHER * setting.planted.k}), setting.noise

    def runs(planted: Planted, noise: Noise, seed: int, source: str) -> pd.DataFrame:
        return simulate_runs(
            planted=planted, noise=noise, random_seed=seed, source=source, document_size=None, **setting.grid
        )

    first = runs(setting.planted, noise, seed, "english")
    second = runs(richer, replace(noise, prefix=0.0), seed + OTHER_SEED, "code")
    prefix, nothing = (runs(richer, Noise(0, p, 0), seed, "code") for p in (noise.prefix, 0.0))
    second["test_loss"] += prefix.test_loss - nothing.test_loss
    both = pd.concat([first, second[second.init == "code"]], ignore_index=True)
    return both.drop(columns="test_bits_per_byte")


def p_values(seed: int) -> dict[str, float]:
    d_f = SETTING.grid["finetune"]
    fitted = fit_runs(check_runs(two_sources(seed)), Fit(d_f=(d_f[0], d_f[-1])))
    return {name: shared_exponent(fitted, name)["p_value_of_shared"] for name in EXPONENTS}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_exponents", description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args(argv)
    with ProcessPoolExecutor(arguments.workers) as pool:
        found = pd.DataFrame(pool.map(p_values, range(arguments.experiments)))
    print("| exponent, the same for both sources |" + "".join(f" p below {level:g} |" for level in LEVELS))
    print("|---" * (1 + len(LEVELS)) + "|")
    for name in EXPONENTS:
        print(f"| {name} |" + "".join(f" {np.mean(found[name] < level):.1%} |" for level in LEVELS))


if __name__ == "__main__":
    main()
