"""What the cells of a law have in common before fine-tuning: the length of pre-training P, and the pre-trained models."""

from collections.abc import Iterable

import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import fit_runs
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
