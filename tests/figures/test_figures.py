"""Each figure: drawn for normal and awkward tables, well-formed, repeatable, and true to the tables."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from workflow_scripts.figures import FIGURES, effective_data, pairs, transfer_law
from workflow_scripts.figures.style import SETTINGS
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import count
from workflow_scripts.laws.simulate import SIZES, Planted, simulate_runs

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ENDS = ["d_e_low", "d_e_high", "d_t_low", "d_t_high"]


def drawn(name: str, laws: Path, prefix: Path) -> tuple[bytes, bytes]:
    module = importlib.import_module(f"workflow_scripts.figures.{name}")
    module.main(["--laws", str(laws), "--target", "python", "--out", str(prefix)])
    return prefix.with_suffix(".svg").read_bytes(), prefix.with_suffix(".png").read_bytes()


def ossified(cells: pd.DataFrame) -> pd.DataFrame:
    """Every cell of one D_F has D_T < 0."""
    row = cells["d_f"] == 60_000
    values = {"d_e": 0.9, "d_e_low": 0.8, "d_e_high": 0.99}
    for name, factor in values.items():
        cells.loc[row, name] = factor * cells.loc[row, "d_f"]
        cells.loc[row, name.replace("d_e", "d_t")] = (factor - 1) * cells.loc[row, "d_f"]
    return cells


def all_censored(cells: pd.DataFrame) -> pd.DataFrame:
    cells[["d_e", "d_t", *ENDS]] = np.nan
    return cells.assign(censored=np.where(cells["d_f"] > 20_000, "above", "below"))


def without_intervals(cells: pd.DataFrame) -> pd.DataFrame:
    cells[ENDS] = np.nan
    return cells


def at_budget(cells: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned runs at their budget at one D_F, from-scratch runs at another, both at a third."""
    lower, upper = cells["d_f"].isin([10_000, 20_000]), cells["d_f"].isin([20_000, 35_000])
    cells.loc[lower, ["d_e_high", "d_t_high"]] = np.nan
    cells.loc[upper, ["d_e_low", "d_t_low"]] = np.nan
    return cells.assign(lower_bound=lower, upper_bound=upper)


def two_sources() -> pd.DataFrame:
    """English and a source that is worth less."""
    german = simulate_runs(source="german", planted=Planted(k=20.0))
    return pd.concat([simulate_runs(), german[german["arm"].isin(["zero_shot", "finetune"])]], ignore_index=True)


def half_open_intervals(cells: pd.DataFrame) -> pd.DataFrame:
    """Draws beyond the from-scratch curve leave an end of the interval unknown (0 below, null above)."""
    cells.loc[cells["d_f"] == 6_000, ["d_e_low", "d_t_low"]] = 0, -6_000
    cells.loc[cells["d_f"] == 60_000, ["d_e_high", "d_t_high"]] = np.nan
    return cells


AWKWARD = {
    "two sources": {"runs": two_sources()},
    "a row with D_T below 0": {"change": ossified},
    "every cell censored": {"change": all_censored},
    "runs at their budget": {"change": at_budget},
    "half-open intervals": {"change": half_open_intervals},
    "no intervals, one seed": {"change": without_intervals, "runs": simulate_runs(seeds=(0,))},
    "two sizes": {"runs": simulate_runs(sizes={name: SIZES[name] for name in ("6k", "98k")}, document_size=None)},
    "large transfer": {"runs": simulate_runs(planted=Planted(k=500.0))},
    "pre-training hurts": {"runs": simulate_runs(planted=Planted(k=-10.0))},
    "no law fitted": {"d_f": (6_000, 6_000)},
    "one sampling unit, nothing in the fit": {
        "change": lambda cells: cells[cells["unit"] == "excerpt"].assign(in_fit=False)
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_tables_give_the_same_bytes(name: str, laws_folder: Path, tmp_path: Path) -> None:
    """A figure made again is no change: no date, no random identifiers."""
    first, second = (drawn(name, laws_folder, tmp_path / text) for text in ("first", "second"))
    assert first == second
    ElementTree.fromstring(first[0])
    assert first[1].startswith(PNG_SIGNATURE)
    assert b"<text" not in first[0], "text drawn with the reader's fonts looks different everywhere"


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_tables_are_drawn(case: str, make_laws: Callable[..., Path]) -> None:
    """Ossified, censored, single-seed and unfitted experiments get their figures too."""
    laws = Laws(make_laws(**AWKWARD[case]))
    with mpl.rc_context(SETTINGS):
        for name in FIGURES:
            figure = importlib.import_module(f"workflow_scripts.figures.{name}").draw(laws, "python")
            figure.draw_without_rendering()


def test_the_vertical_axis_is_the_logit_of_the_fraction(laws_folder: Path) -> None:
    """Fig. 2: logit(D_T / (D_F + D_T)), on which eq. B.2 is straight lines of slope beta."""
    figure = transfer_law.draw(Laws(laws_folder), "python")
    axes = figure.axes[0]
    assert axes.get_yscale() == "logit"
    low, middle, high = (axes.transData.transform((1e4, fraction))[1] for fraction in (0.2, 0.5, 0.8))
    assert high - middle == pytest.approx(middle - low)
    lines = [line for line in axes.lines if len(line.get_xdata()) == 60]
    slopes = []
    for line in lines:
        fraction = line.get_ydata()
        slopes.append(np.ptp(np.log(fraction / (1 - fraction))) / np.ptp(np.log(line.get_xdata())))
    assert slopes == pytest.approx([Laws(laws_folder).transfer_law["english"]["beta"]["estimate"]] * 6)


def heights(axes: Axes) -> list[float]:
    """Of the markers."""
    return [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 1]


def test_every_fraction_drawn_stands_in_the_table(laws_folder: Path) -> None:
    laws = Laws(laws_folder)
    axes = transfer_law.draw(laws, "python").axes[0]
    cells = laws.cells("english")
    assert sorted(heights(axes)) == pytest.approx(sorted(cells["d_t"] / (cells["d_f"] + cells["d_t"])))


def test_cells_without_transfer_stand_on_the_lower_edge(make_laws: Callable[..., Path]) -> None:
    """D_T <= 0 has no logit; it is shown nevertheless, and the figure says what the triangles are."""
    figure = transfer_law.draw(Laws(make_laws(change=ossified)), "python")
    axes = figure.axes[0]
    bottom = axes.get_ylim()[0]
    assert heights(axes).count(bottom) == 6
    assert any("Triangles" in text.get_text() for text in figure.texts)


def test_censored_cells_are_drawn_at_the_end_of_the_scratch_curve(make_laws: Callable[..., Path]) -> None:
    """Beyond the from-scratch runs only a bound is known; it is drawn as a bound, not as a value."""
    laws = Laws(make_laws(change=all_censored))
    cells = laws.cells("english")
    above = cells[cells["censored"] == "above"]
    assert above["d_e_known"].to_numpy() == pytest.approx(600_000)
    assert cells[cells["censored"] == "below"]["d_e_known"].to_numpy() == pytest.approx(6_000)
    figure = transfer_law.draw(laws, "python")
    assert max(heights(figure.axes[0])) == pytest.approx((1 - above["d_f"] / 600_000).max())
    assert any("at least" in text.get_text() for text in figure.texts)


def test_runs_at_their_budget_give_limits(make_laws: Callable[..., Path]) -> None:
    """A loss that is too high is no estimate: the figures point to where the value lies, and say so."""
    laws = Laws(make_laws(change=at_budget))
    limits = {10_000: "at least", 20_000: "unknown", 35_000: "at most"}
    cells = laws.cells("english")
    assert (cells["limit"] == cells["d_f"].map(limits).fillna("none")).all()
    known = cells.set_index("d_f")
    assert known.loc[10_000, "bar_high"].tolist() == known.loc[10_000, "d_e"].tolist(), "a bar ends at a limit"
    assert known.loc[35_000, "bar_low"].tolist() == known.loc[35_000, "d_e"].tolist()
    axes = transfer_law.draw(laws, "python").axes[0]
    arrows = [text.xyann[1] for text in axes.texts if getattr(text, "arrow_patch", None)]
    assert (arrows.count(16), arrows.count(-16)) == (12, 12)
    laws = Laws(make_laws(change=lambda cells: cells.assign(lower_bound=True, d_e_high=np.nan, d_t_high=np.nan)))
    assert "≥ 6k" in effective_data.draw(laws, "python").axes[0].get_title()


def test_the_main_unit_is_that_of_the_law(make_laws: Callable[..., Path]) -> None:
    """Not that with most cells: a law of documents is drawn with documents."""
    laws = Laws(make_laws(change_law=lambda law: law.update(unit="document")))
    assert laws.main_unit == "document"


def test_a_bar_without_an_end_goes_to_the_end_of_the_scratch_curve(make_laws: Callable[..., Path]) -> None:
    cells = Laws(make_laws(change=half_open_intervals)).cells("english").groupby("d_f")
    assert cells.get_group(6_000)["bar_low"].to_numpy() == pytest.approx(6_000)
    assert cells.get_group(60_000)["bar_high"].to_numpy() == pytest.approx(600_000)


def test_a_cell_without_an_interval_has_no_bar(make_laws: Callable[..., Path]) -> None:
    cells = Laws(make_laws(change=without_intervals)).effective_data
    assert cells[["bar_low", "bar_high"]].isna().all(axis=None)


def test_the_marked_gap_is_the_smallest_cell_of_the_fit(laws_folder: Path) -> None:
    """Fig. 1 shows D_T of a cell chosen by rule, with the numbers of the table."""
    laws = Laws(laws_folder)
    cells = laws.cells("english")
    cell = effective_data.marked_cell(cells[cells["size"] == laws.middle_size])
    assert cell is not None
    assert cell["d_f"] == 6_000
    title = effective_data.draw(laws, "python").axes[0].get_title()
    assert f"= 6k + {count(cell['d_t'])} = {count(cell['d_e'])}" in title


def test_a_source_with_higher_losses_than_the_first_is_drawn_whole(make_laws: Callable[..., Path]) -> None:
    """Names at the ends of the first source's lines once fixed the limits that all share."""
    runs = two_sources()
    worse = (runs["init"] == "german") & (runs["arm"] == "zero_shot")
    runs.loc[worse, "test_loss"] += 3
    laws = Laws(make_laws(runs=runs))
    height = runs[worse & (runs["size"] == laws.middle_size)]["test_loss"].mean()
    for axes in effective_data.draw(laws, "python").axes:
        assert axes.get_ylim()[0] < height < axes.get_ylim()[1]


def test_a_missing_column_is_named(laws_folder: Path, tmp_path: Path) -> None:
    pd.read_parquet(laws_folder / "runs.parquet").drop(columns="test_loss").to_parquet(tmp_path / "runs.parquet")
    for name in ("effective_data.parquet", "scratch_curves.parquet", "transfer_law.json"):
        (tmp_path / name).write_bytes((laws_folder / name).read_bytes())
    with pytest.raises(SystemExit, match=r"runs\.parquet: no column \['test_loss'\]"):
        drawn("data_limited", tmp_path, tmp_path / "figure")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such table; make it with the laws stage"):
        drawn("effective_data", tmp_path, tmp_path / "figure")


@pytest.fixture
def pair_cells(tmp_path: Path) -> Path:
    rows = []
    for name, target, factor in [("a", "german", 3.0), ("b", "french", 2.0), ("b_own", "french", 1.5)]:
        for size, n_params in (("6k", 6_144), ("25k", 24_576), ("98k", 98_304)):
            for d in (6_000, 20_000, 60_000):
                value = 1 + factor * (6_000 / d) ** 0.5 * (n_params / 24_576) ** 0.1
                row = {
                    "experiment": name,
                    "simulated": False,
                    "source": "english",
                    "target": target,
                    "unit": "excerpt",
                    "size": size,
                }
                row |= {"n_params": n_params, "d_f_bytes": 1.1 * d, "censored": "none", "multiplier": value}
                rows.append(row | {"multiplier_low": 0.9 * value, "multiplier_high": 1.1 * value})
    cells = pd.DataFrame(rows)
    cells.loc[cells["d_f_bytes"] < 7_000, "multiplier_high"] = np.nan
    cells.loc[(cells["experiment"] == "a") & (cells["n_params"] == 24_576), "multiplier"] *= [np.nan, 1, 1]
    cells.to_csv(tmp_path / "cells.csv", index=False)
    return tmp_path / "cells.csv"


def test_pairs_are_drawn_at_their_middle_size_as_the_table_has_them(pair_cells: Path) -> None:
    """A cell beyond the curve is counted, not drawn; two experiments of one pair are told apart."""
    figure = pairs.draw(pairs.read_cells(pair_cells))
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) in (2, 3) and line.get_marker() in "os^"]
    table = pd.read_csv(pair_cells).query("n_params == 24576 and multiplier == multiplier")
    for line, (_, rows) in zip(lines, table.groupby("experiment"), strict=True):
        assert np.allclose(line.get_xdata(), rows["d_f_bytes"])
        assert np.allclose(line.get_ydata(), rows["multiplier"])
    words = [text.get_text() for text in [*axes.texts, *figure.texts]]
    assert {"English → German", "English → French\n(b)", "English → French\n(b_own)"} <= set(words)
    assert any("1 cells beyond" in text for text in words)


def test_two_sources_of_one_experiment_are_two_pairs(pair_cells: Path) -> None:
    """They were one line that went back and forth."""
    cells = pairs.read_cells(pair_cells).query("experiment == 'b'")
    both = pd.concat([cells, cells.assign(source="text_and_code", multiplier=4.0)])
    (axes,) = pairs.draw(both).axes
    words = {text.get_text() for text in axes.texts}
    assert {"English → French", "Text and code → French"} <= words


def test_pairs_are_the_same_bytes_for_the_same_table(pair_cells: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pairs.main(["--cells", str(pair_cells), "--out", str(tmp_path / name)])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").read_bytes().startswith(PNG_SIGNATURE)


def test_a_table_of_pairs_that_is_missing_or_lacks_a_column_is_named(pair_cells: Path) -> None:
    with pytest.raises(SystemExit, match=r"none.csv: no such file; write it with"):
        pairs.main(["--cells", str(pair_cells.with_name("none.csv")), "--out", "x"])
    pd.read_csv(pair_cells).drop(columns="d_f_bytes").to_csv(pair_cells, index=False)
    with pytest.raises(SystemExit, match=r"no column \['d_f_bytes'\]"):
        pairs.main(["--cells", str(pair_cells), "--out", "x"])
