"""A table is read leniently where nothing is lost and refused, with the row and column, where it cannot be used."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.runs import NEEDED, OPTIONAL_NUMBERS, RunsError, check_runs, finished, read_runs
from workflow_scripts.laws.simulate import simulate_runs


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return simulate_runs()


def test_simulated_runs_pass(runs):
    assert len(check_runs(runs)) == len(runs)


def test_needed_columns_alone_suffice(runs):
    """A table from outside has no unit, budget or status: the documented defaults stand in."""
    bare = check_runs(runs[(runs.unit != "document")][list(NEEDED)])
    assert set(bare.unit) == {"document"}
    assert set(bare.status) == {"ok"}
    assert not bare.hit_budget.any()
    assert not bare.unstable.any()


@pytest.mark.parametrize("arm", ["finetune", "zero_shot"])
def test_a_source_with_its_pretraining_tokens_in_some_rows_only_is_refused(runs, arm):
    """The law rested on those rows alone, or the zero-shot runs were passed over, without a word."""
    lost = runs.index[runs.arm == arm][0]
    some = runs.assign(pretrain_tokens=runs.pretrain_tokens.astype(float).where(runs.index != lost))
    with pytest.raises(RunsError, match=rf"row {lost + 1}, column pretrain_tokens: found nan, expected tokens of pre-"):
        check_runs(some)
    assert len(check_runs(some.drop(columns="pretrain_tokens"))) == len(runs)


def test_integers_may_arrive_as_floats(runs, tmp_path):
    frame = runs[list(NEEDED)].astype({"n_params": float, "d_chars": float, "seed": float})
    frame[runs.unit != "document"].to_csv(tmp_path / "runs.csv", index=False)
    assert read_runs(tmp_path / "runs.csv").d_chars.dtype == np.int64


def test_csv_and_parquet_give_the_same_table(runs, tmp_path):
    runs.to_csv(tmp_path / "runs.csv", index=False)
    runs.to_parquet(tmp_path / "runs.parquet")
    columns = [*NEEDED, "unit", "size", "hit_budget", "status"]
    one, other = (read_runs(tmp_path / name)[columns] for name in ("runs.csv", "runs.parquet"))
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_renaming(runs, tmp_path):
    runs.rename(columns={"n_params": "parameters"}).to_csv(tmp_path / "runs.csv", index=False)
    assert "n_params" in read_runs(tmp_path / "runs.csv", {"parameters": "n_params"}).columns
    with pytest.raises(RunsError, match="cannot rename nothing"):
        read_runs(tmp_path / "runs.csv", {"nothing": "n_params"})


def test_a_renamed_column_takes_the_place_of_the_one_that_has_its_name(runs, tmp_path):
    """Another count for N: `--rename n_params=n_params_total` ended in a traceback."""
    runs.to_csv(tmp_path / "runs.csv", index=False)
    named = read_runs(tmp_path / "runs.csv", {"n_params_total": "n_params"})
    assert sorted(named.n_params) == sorted(runs.n_params_total)
    with pytest.raises(RunsError, match="column seed stands in the table more than once"):
        check_runs(pd.concat([runs, runs[["seed"]]], axis=1))


def test_failed_runs_need_no_loss(runs):
    frame = runs.copy()
    frame.loc[3, ["status", "test_loss"]] = ["failed", np.nan]
    assert (check_runs(frame).status == "failed").sum() == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("test_loss", -1.0, "row 6, column test_loss: found -1.0"),
        ("test_loss", np.nan, "row 6, column test_loss: found nan"),
        ("test_loss", np.inf, "row 6, column test_loss: found inf"),
        ("n_params", 0, "row 6, column n_params: found 0"),
        ("arm", "tuned", "row 6, column arm: found tuned, expected one of"),
        ("d_chars", -5, "row 6, column d_chars: found -5"),
    ],
)
def test_a_bad_value_is_named_with_its_row_and_column(runs, column, value, message):
    frame = runs.copy()
    frame.loc[5, column] = value
    with pytest.raises(RunsError, match=message):
        check_runs(frame)


def test_a_broken_integer_is_refused(runs):
    frame = runs.astype({"d_chars": float})
    frame.loc[5, "d_chars"] = 20000.5
    with pytest.raises(RunsError, match=r"row 6, column d_chars: found 20000\.5, expected a whole number"):
        check_runs(frame)


@pytest.mark.parametrize("value", [1e30, 2**63, 2**70, -1e19])
@pytest.mark.parametrize("column", ["n_params", "d_chars", "seed"])
def test_integers_that_no_64_bits_hold_are_refused(runs, column, value):
    """They ended in a traceback, or wrapped around."""
    frame = runs.astype({column: object})
    frame.loc[5, column] = value
    with pytest.raises(RunsError, match=f"row 6, column {column}: found .*, expected a whole number below 1e"):
        check_runs(frame)


def test_large_seeds_keep_their_last_digit(runs):
    """Through floating point, two seeds of 17 digits were one."""
    large = check_runs(runs.assign(seed=runs.seed + 2**56))
    assert set(large.seed - 2**56) == {0, 1}


def test_missing_columns_are_named(runs):
    with pytest.raises(RunsError, match="no column seed, test_loss among"):
        check_runs(runs.drop(columns=["seed", "test_loss"]))


def test_a_duplicated_run_names_both_rows(runs):
    frame = pd.concat([runs, runs.iloc[[40]]], ignore_index=True)
    with pytest.raises(RunsError, match=rf"rows 41 and {len(frame)} are the same run"):
        check_runs(frame)


def test_a_run_that_failed_and_then_went_well_is_one_run(runs):
    """The row of the failed attempt counted as the same run, and refused the table."""
    attempt = runs.iloc[[40]].assign(status="failed", test_loss=np.nan)
    both = check_runs(pd.concat([runs, attempt, attempt], ignore_index=True))
    assert (both.status == "failed").sum() == 2
    pd.testing.assert_frame_equal(finished(both)[0].reset_index(drop=True), check_runs(runs), check_dtype=False)


@pytest.mark.parametrize("column", sorted(OPTIONAL_NUMBERS))
def test_text_in_a_column_of_numbers_is_named_with_its_row_and_column(runs, column):
    """Columns that a law does not need were not looked at: text in them ended in a traceback, somewhere."""
    frame = runs.astype({column: object})
    frame.loc[5, column] = "4,000"
    with pytest.raises(RunsError, match=f"row 6, column {column}: found 4,000, expected a finite number"):
        check_runs(frame)
    frame.loc[5, "status"] = "failed"
    assert check_runs(frame)[column].isna().sum() == frame[column].isna().sum() + 1


@pytest.mark.parametrize("column", sorted(OPTIONAL_NUMBERS))
def test_a_column_of_numbers_may_have_nulls_and_arrive_as_text(runs, column):
    frame = runs.assign(**{column: runs[column].astype(str).where(runs.index != 5)})
    pd.testing.assert_series_equal(
        check_runs(frame)[column], check_runs(runs.assign(**{column: runs[column].where(runs.index != 5)}))[column]
    )


@pytest.mark.parametrize("name", ["NA", "None", "nan", "null"])
def test_a_source_of_any_name_is_a_source(runs, tmp_path, name):
    """In CSV, some names were read as null."""
    named = runs.rename(columns={"init": "source"}).replace({"source": {"english": name}})
    named.to_csv(tmp_path / "runs.csv", index=False)
    assert set(read_runs(tmp_path / "runs.csv", {"source": "init"}).init) == {name, "scratch"}
    named.assign(source=named.source.where(named.index != 5)).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(RunsError, match="row 6, column init: found nan, expected a name"):
        read_runs(tmp_path / "runs.csv", {"source": "init"})


def test_names_of_digits_are_names(runs, tmp_path):
    """`corpus` 7 in parquet was no name of the source 7."""
    numbered = runs.assign(corpus=7)
    assert set(check_runs(numbered).corpus) == {"7"}
    numbered.to_csv(tmp_path / "runs.csv", index=False)
    assert set(read_runs(tmp_path / "runs.csv").corpus) == {"7"}


def test_an_unknown_suffix_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(RunsError, match="no such file"):
        read_runs(tmp_path / "runs.csv")
    with pytest.raises(RunsError, match="is a folder, expected a file, .csv or .parquet"):
        read_runs(tmp_path)
    (tmp_path / "runs.txt").write_text("arm\n")
    with pytest.raises(RunsError, match=r"expected \.csv or \.parquet"):
        read_runs(tmp_path / "runs.txt")
