"""What the cells of a law have in common before fine-tuning: the length of pre-training P, and the pre-trained models."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.effective_data import collect_cells
from workflow_scripts.laws.noise import of_models
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import SIZES, Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=100)
QUIET = Noise(0.002, 0.002, 0.003)
SHORT, LONG = 1_000_000, 16_000_000
OF_BETA = "so beta holds its effect"
OF_K = "so the differences of k hold its effect"


def pretrained_on(p: int, size: str) -> pd.DataFrame:
    """Runs of one size where D_T grows as P^0.4; k is 40 at 4,000,000 tokens."""
    return simulate_runs(
        planted=Planted(k=40.0 * (p / 4e6) ** 0.4),
        sizes={size: SIZES[size]},
        pretrain_tokens=p,
        noise=QUIET,
        document_size=None,
        random_seed=SIZES[size] % 100,
    )


def with_lengths(lengths: dict[str, Iterable[int]]) -> pd.DataFrame:
    """Both arms, where each size was pre-trained on several P."""
    parts = [pretrained_on(p, size) for size, several in lengths.items() for p in several]
    runs = pd.concat(parts, ignore_index=True)
    return check_runs(runs[(runs.arm != "scratch") | ~runs.duplicated(["arm", "n_params", "d_chars", "seed"])])


def fitted_law(runs: pd.DataFrame) -> dict:
    return summarise(fit_runs(runs, RULE))["sources"]["english"]


def test_a_size_that_was_pretrained_longer_does_not_bend_beta():
    """The largest P of each size was taken: beta was that of N and P together, 0.6 where 0.3 was planted."""
    same = fitted_law(with_lengths(dict.fromkeys(SIZES, (SHORT,))))
    fitted = fit_runs(with_lengths(dict.fromkeys(SIZES, (SHORT,)) | {"197k": (SHORT, LONG)}), RULE)
    assert set(fitted.in_fit("english").pretrain_tokens) == {SHORT}
    law = summarise(fitted)["sources"]["english"]
    assert law["beta"]["estimate"] == pytest.approx(same["beta"]["estimate"], abs=0.02)
    assert law["beta"]["low"] < 0.3 < law["beta"]["high"]
    assert not any(OF_BETA in words for words in law["warnings"])


def test_the_law_is_that_of_the_largest_p_that_all_sizes_have():
    fitted = fit_runs(with_lengths(dict.fromkeys(SIZES, (SHORT, LONG)) | {"6k": (SHORT, LONG, 4 * LONG)}), RULE)
    assert set(fitted.in_fit("english").pretrain_tokens) == {LONG}


def test_sizes_that_have_no_p_in_common_are_told():
    lengths = {size: (SHORT if n < 50_000 else LONG,) for size, n in SIZES.items()}
    fitted = fit_runs(with_lengths(lengths), RULE)
    assert len(fitted.in_fit("english")) == 30, "the cells of all sizes stay"
    (told,) = [words for words in summarise(fitted)["sources"]["english"]["warnings"] if OF_BETA in words]
    assert "1,000,000 at N = 6,144, 13,824, 24,576; 16,000,000 at N = 55,296, 98,304, 196,608" in told


@pytest.mark.parametrize(("p", "told"), [(4_000_000, False), (LONG, True)])
def test_sources_that_were_pretrained_on_different_p_are_told(p, told):
    """ln k differed by P alone, without a word."""
    english = simulate_runs(noise=QUIET, document_size=None)
    code = simulate_runs(noise=QUIET, document_size=None, source="code", pretrain_tokens=p, random_seed=4)
    laws = summarise(fit_runs(check_runs(pd.concat([english, code[code["init"] == "code"]])), RULE))["sources"]
    for law in laws.values():
        about = [words for words in law["warnings"] if OF_K in words]
        assert len(about) == told
        assert all("16,000,000 for code, 4,000,000 for english" in words for words in about)


def two_sources(german_models: int) -> pd.DataFrame:
    """English has a pre-trained model for each of two seeds, German one for both or two."""
    english = simulate_runs(document_size=None)
    german = simulate_runs(document_size=None, source="german", planted=Planted(k=90.0), random_seed=3)
    german = german[(german.arm != "scratch") & ((german.arm == "finetune") | (german.seed < german_models))]
    named = [
        runs.assign(corpus=np.where(runs.arm == "pretrain", source, "target"))
        for runs, source in ((english, "english"), (german, "german"))
    ]
    return check_runs(pd.concat(named, ignore_index=True))


@pytest.mark.parametrize("models", [1, 2])
def test_a_source_with_one_model_is_told_beside_one_that_has_two(models):
    """What was decided over all sources together: German had no warning, and its seeds counted as two models."""
    fitted = fit_runs(two_sources(models), RULE)
    laws = summarise(fitted)["sources"]
    told = {name: [w for w in law["warnings"] if "One pre-training seed" in w] for name, law in laws.items()}
    assert {name: len(words) for name, words in told.items()} == {"english": 0, "german": 2 - models}
    assert all("taken from the other sources" in words for words in told["german"])
    runs = fitted.cells["excerpt"].noise.runs
    german = (runs.init == "german").to_numpy()
    shares = of_models(runs)
    assert (shares[german].sum(axis=0) > 0).sum() == models * len(SIZES)
    assert (shares[~german].sum(axis=0) > 0).sum() == 2 * len(SIZES)


def test_one_model_for_all_seeds_widens_what_is_read_from_its_source():
    """The noise of one model does not average out over the seeds that start from it."""
    one, two = (collect_cells(two_sources(models), "excerpt") for models in (1, 2))
    german = np.flatnonzero((one.tuned.source == "german") & (one.tuned.d_f == 20_000)) + len(one.scratch)
    deviations = [np.sqrt(np.diag(cells.noise.covariance()))[german] for cells in (one, two)]
    assert (deviations[0] > 1.1 * deviations[1]).all()
