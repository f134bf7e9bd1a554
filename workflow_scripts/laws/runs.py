"""The table of runs: read, checked, completed.

A row is a run.  Needed are `arm`, `init`, `n_params`, `d_chars`, `seed` and `test_loss`; what else the laws use has a
stated default (`DEFAULTS`).  Everything wrong with a table ends with one message that names the row and the column.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

ARMS = ("pretrain", "zero_shot", "finetune", "scratch")
NEEDED = ("arm", "init", "n_params", "d_chars", "seed", "test_loss")
NAMES = ("init", "corpus", "run")
"""Columns of names that are anybody's choice, `NA` and `None` among them: in CSV, only an empty cell of theirs is null."""
OPTIONAL_NUMBERS = (
    *("n_params_total", "d_chars_used", "d_bytes", "d_tokens", "n_units", "test_bits_per_byte"),
    *("best_tokens", "best_epoch", "batch_tokens", "noise_scale_tokens", "flops", "flops_with_head"),
)
LARGEST = 1e18
"""Of counts: far beyond any run, within 64 bits."""
FLAGS = ("hit_budget", "unstable", "batch_above_noise_scale", "simulated")
SIMULATED = "SIMULATED: drawn from a planted law; nothing here was measured."
"""What stands above every result that rests on simulated runs."""
DEFAULTS = {"unit": "document", "status": "ok"} | dict.fromkeys(FLAGS, False)
"""Values of absent columns and cells: the paper's sampling unit; every run finished, and nothing is known against it."""
CELL = ["arm", "init", "pretrain_tokens", "unit", "n_params", "d_chars"]
"""What the seeds of a cell have in common."""


class RunsError(ValueError):
    """The table cannot be used; the message names the row or column and what is needed."""


def read_runs(path: str | Path, rename: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Reads CSV or parquet (by suffix), renames columns (`rename`: name in the file -> name here; a column that already
    has that name gives way), checks.

    Returns the table of `check_runs`.  Raises RunsError.
    """
    names = dict(rename or {})
    frame = read_frame(path, names)
    if absent := [name for name in names if name not in frame.columns]:
        raise RunsError(f"{path}: cannot rename {', '.join(absent)}; the columns are {', '.join(frame.columns)}")
    try:
        return check_runs(renamed(frame, names))
    except RunsError as error:
        raise RunsError(f"{path}: {error}") from error


def read_frame(path: str | Path, names: Mapping[str, str]) -> pd.DataFrame:
    """CSV or parquet, by suffix, as it is; those that are or are renamed to one of `NAMES`, as text.  Raises RunsError."""
    path = Path(path)
    if not path.is_file():
        raise RunsError(
            f"{path}: {'is a folder, expected a file, .csv or .parquet' if path.is_dir() else 'no such file'}"
        )
    if path.suffix not in (".csv", ".parquet"):
        raise RunsError(f"{path}: found the suffix '{path.suffix}', expected .csv or .parquet")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        text = pd.read_csv(
            path, usecols=lambda name: names.get(name, name) in NAMES, dtype=str, keep_default_na=False, na_values=[""]
        )
        return pd.read_csv(path).assign(**text)
    except (ValueError, OSError) as error:
        raise RunsError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error


def renamed(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The columns that are found under their names here; one that already has such a name gives way."""
    found = {there: here for there, here in names.items() if there in frame.columns}
    frame = frame.drop(columns=[name for name in set(found.values()) - set(found) if name in frame.columns])
    return frame.rename(columns=found)


def add_rename(parser: argparse.ArgumentParser) -> None:
    """The option `--rename`, for a table whose columns have other names; see `renaming`."""
    parser.add_argument("--rename", nargs="+", default=[], metavar="NAME=COLUMN", help="e.g. n_params=params")


def renaming(pairs: list[str]) -> dict[str, str]:
    """`NAME=COLUMN` of the command line as name in the file -> name here.  Raises RunsError."""
    if bad := [pair for pair in pairs if pair.count("=") != 1]:
        raise RunsError(f"--rename {bad[0]}: expected NAME_HERE=NAME_IN_THE_TABLE, e.g. --rename n_params=params")
    return {there: here for here, there in (pair.split("=") for pair in pairs)}


def check_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """A checked copy, complete in its columns and in one fixed order, whatever the order of the rows was.

    Losses are nats per token, D is in characters.  Runs with a `status` other than `ok` stay, and need no loss.
    Raises RunsError.
    """
    require_once(frame)
    if missing := [name for name in NEEDED if name not in frame.columns]:
        raise RunsError(
            f"no column {', '.join(missing)} among {', '.join(map(str, frame.columns))};"
            f" the laws need {', '.join(NEEDED)} (--rename gives a column its name here)"
        )
    if frame.empty:
        raise RunsError("the table has no rows")
    runs = frame.reset_index(drop=True).copy()
    for column, default in DEFAULTS.items():
        values = runs[column] if column in runs.columns else pd.Series(default, index=runs.index)
        runs[column] = values.astype(object).where(values.notna(), default)
    for column in FLAGS:
        runs[column] = _booleans(runs, column)
    for column in ("arm", "init", "unit", "status"):
        require(runs, runs[column].notna(), column, "a name")
        runs[column] = runs[column].astype(str)
    require_arms(runs)
    for column in ("n_params", "d_chars", "seed"):
        runs[column] = integers(runs, column)
    if "corpus" in runs.columns:
        runs["corpus"] = as_text(runs.corpus)
    for column in (name for name in OPTIONAL_NUMBERS if name in runs.columns):
        runs[column] = _optional_numbers(runs, column)
    _check_pretrain_tokens(runs)
    runs["pretrain_tokens"] = _pretrain_tokens(runs)
    if "size" not in runs.columns:
        runs["size"] = runs.n_params.astype(str)
    runs["size"] = runs["size"].astype(str)
    _check_values(runs)
    _check_one_kind(runs)
    _check_duplicates(runs)
    return runs.sort_values([*CELL, "seed", "status"], kind="stable").reset_index(drop=True)


def finished(runs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The runs that laws rest on, and how many others there are of each `status`."""
    others = runs.status[runs.status != "ok"].value_counts()
    return runs[runs.status == "ok"], {str(status): int(n) for status, n in sorted(others.items())}


def set_aside_sentence(set_aside: Mapping[str, int]) -> str:
    counts = ", ".join(f"{n} {status}" for status, n in set_aside.items())
    return f"Runs set aside because their status is not ok: {counts}."


def longest_pretraining(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The rows that laws without an axis P rest on where a source was pre-trained on several P: those of the largest that
    all its sizes have, since the effect of P would pass for one of N; if they have none in common, of the largest of each
    size.  `by`: the column that tells the source, if there are several, and that of the size."""
    if "pretrain_tokens" not in rows.columns:
        return rows
    p = rows.pretrain_tokens.astype(float).fillna(0.0)
    *of_source, size = (rows[name] for name in by)
    source = of_source[0] if of_source else pd.Series("", rows.index)
    sizes_of_p, sizes = (size.groupby(keys).transform("nunique") for keys in ([source, p], source))
    of_all = p.where(sizes_of_p == sizes).groupby(source).transform("max")
    return rows[p == of_all.fillna(p.groupby([source, size]).transform("max"))]


def _check_values(runs: pd.DataFrame) -> None:
    zero_shot, tuned = runs.arm == "zero_shot", runs.arm.isin(["zero_shot", "finetune"])
    require(runs, runs.n_params > 0, "n_params", "a positive number of non-embedding parameters")
    require(runs, ~zero_shot | (runs.d_chars == 0), "d_chars", "0 for the arm zero_shot")
    require(runs, zero_shot | (runs.d_chars > 0), "d_chars", "a positive number of characters")
    require(runs, ~tuned | (runs.init != "scratch"), "init", "the name of the source that this run starts from")
    require(runs, (runs.arm != "scratch") | (runs.init == "scratch"), "init", "'scratch' for the arm scratch")
    loss = pd.to_numeric(runs.test_loss, errors="coerce")
    usable = (loss > 0) & np.isfinite(loss)
    require(runs, usable | (runs.status != "ok"), "test_loss", "a finite, positive loss in nats per token")
    runs["test_loss"] = loss.astype(float)


def _check_one_kind(runs: pd.DataFrame) -> None:
    if runs.simulated.nunique() > 1:
        drawn, measured = runs.index[runs.simulated][0], runs.index[~runs.simulated][0]
        raise RunsError(
            f"row {drawn + 1} is simulated ({_describe(runs.loc[drawn])}) and row {measured + 1} is measured"
            f" ({_describe(runs.loc[measured])}): the two are never mixed; expected a table of one kind"
        )


def is_simulated(runs: pd.DataFrame) -> bool:
    """Whether the runs of a table from `check_runs` are simulated, all of them."""
    return bool(runs.simulated.any())


def _check_duplicates(runs: pd.DataFrame) -> None:
    """Rows of `pretrain` are exempt: they carry no source, and two sources may have sets of one size.  So are runs that
    are set aside: a run that failed may stand beside the same run that went well."""
    cells = runs[(runs.arm != "pretrain") & (runs.status == "ok")]
    for _, rows in cells[cells.duplicated([*CELL, "seed"], keep=False)].groupby([*CELL, "seed"]):
        first, second = rows.index[:2]
        raise RunsError(
            f"rows {first + 1} and {second + 1} are the same run ({_describe(runs.loc[first])});"
            " expected one row for each arm, init, pretrain_tokens, unit, n_params, d_chars and seed"
        )


def _check_pretrain_tokens(runs: pd.DataFrame) -> None:
    """A source with P in some rows only would be taken for two, and its law for that of those rows."""
    if "pretrain_tokens" not in runs.columns:
        return
    tuned, told = runs.arm.isin(["zero_shot", "finetune"]), runs.pretrain_tokens.notna()
    some = runs.init.isin(runs.init[tuned & told])
    require(runs, ~tuned | told | ~some, "pretrain_tokens", "tokens of pre-training, as other runs of this source have")


def _pretrain_tokens(runs: pd.DataFrame) -> pd.Series:
    """P of the initial weights; 0 where a run has none or the table does not tell."""
    if "pretrain_tokens" not in runs.columns:
        return pd.Series(0, index=runs.index)
    told = runs.assign(pretrain_tokens=runs.pretrain_tokens.astype(object).where(runs.pretrain_tokens.notna(), 0))
    return integers(told, "pretrain_tokens").where(runs.arm.isin(["zero_shot", "finetune"]), 0)


def as_text(values: pd.Series) -> pd.Series:
    """Names that may be numbers as text; nulls as they are."""
    return values.astype(str).where(values.notna())


def require_once(table: pd.DataFrame) -> None:
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise RunsError(f"column {', '.join(map(str, twice))} stands in the table more than once")


def require_arms(table: pd.DataFrame) -> None:
    require(table, table.arm.isin(ARMS), "arm", f"one of {', '.join(ARMS)}")


def integers(table: pd.DataFrame, column: str) -> pd.Series:
    """Integers that may arrive as 20000.0 or '20000'."""
    values = pd.to_numeric(table[column], errors="coerce")
    size = values.astype(float).abs()
    require(table, np.isfinite(size) & (size == np.floor(size)), column, "a whole number")
    require(table, size < LARGEST, column, f"a whole number below {LARGEST:.0e}")
    return values.astype("int64")


def _optional_numbers(runs: pd.DataFrame, column: str) -> pd.Series:
    """Null where nothing is known; those of runs that are set aside are not looked at."""
    values = pd.to_numeric(runs[column], errors="coerce")
    known = values.astype(float)
    good = np.isfinite(known) & (known >= 0) | runs[column].isna() | (runs.status != "ok")
    require(runs, good, column, "a finite number, 0 or more, or an empty cell")
    return values


def _booleans(runs: pd.DataFrame, column: str) -> pd.Series:
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    values = runs[column].astype(str).str.lower().map(known)
    require(runs, values.notna(), column, "true or false")
    return values.astype(bool)


def require(table: pd.DataFrame, good: pd.Series, column: str, expected: str) -> None:
    """Raises RunsError with the first row that is not `good`."""
    if not good.all():
        row = int(np.flatnonzero(~good.to_numpy(dtype=bool))[0])
        others = int((~good).sum()) - 1
        more = f" ({others} more rows like it)" if others else ""
        raise RunsError(
            f"row {row + 1}, column {column}: found {table[column].iloc[row]}, expected {expected}"
            f" ({_describe(table.iloc[row])}){more}"
        )


def _describe(row: pd.Series) -> str:
    parts = {"init": " of ", "n_params": ", N=", "d_chars": ", D=", "seed": ", seed "}
    return str(row["arm"]) + "".join(f"{words}{row[name]}" for name, words in parts.items() if name in row)
