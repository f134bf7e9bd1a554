"""What the sweeps say of the recipe: which value of a constant is best, and what the recipe loses against it."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from workflow_scripts.experiment import Experiment
from workflow_scripts.figures.report_tables import Rows
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import ARMS, count, number, title_of
from workflow_scripts.laws.sweeps import NEGLIGIBLE

HEAD = (
    *(
        "constant",
        "arm",
        "N",
        "D (characters)",
        "the recipe's",
        "best",
        "the recipe loses (nats per token)",
        "verdict",
    ),
    *("D_T at the optima, over D_T", "failed at"),
)
NOTE = (
    f"Negligible: at most {NEGLIGIBLE} nats per token, or two standard errors (±) where those are more. ≤, ≥: the best of "
    "the swept values is the smallest above 0 or the largest, so the optimum may lie beyond, and the recipe may lose more. The best of several swept values is somewhat flattered. D_T at the optima: with the best value in each arm; none where D_T is 0 or below, of which a "
    "ratio reads backwards."
)


def section(laws: Laws, experiment: Experiment) -> dict[str, Any]:
    """A table, what its columns mean, and why it is missing or of earlier runs (None if neither)."""
    return {"head": HEAD, "rows": _rows(laws), "note": NOTE, "caution": _caution(laws, experiment)}


def _caution(laws: Laws, experiment: Experiment) -> str | None:
    command = Markup("<code>snakemake sweeps</code>")
    if laws.sweeps is None:
        why = command + " does it" if experiment.sweeps else "the configuration names no sweeps"
        return "Not measured: " + why + "."
    if laws.at_optima is not None and laws.at_optima["same_runs"] is None:
        return "No swept cell is one of the law's: whether these verdicts are of the same recipe cannot be told."
    if laws.at_optima is not None and not laws.at_optima["same_runs"]:
        return "These verdicts are of other runs than the law: " + command + " makes them again."
    return None


def _rows(laws: Laws) -> Rows:
    """A row a cell that was swept; none if nothing was."""
    if laws.sweeps is None:
        return []
    moved = {_place(one): one["d_t_ratio"] for one in (laws.at_optima or {"transfer": []})["transfer"]}
    return [
        [
            _words(cell["constant"]),
            ARMS[cell["arm"]] + (f" from {title_of(cell['source'])}" if cell["source"] else ""),
            cell["size"],
            count(cell["d_chars"]),
            _value(cell["own"]),
            _optimum(cell),
            _loss(cell),
            cell["verdict"],
            "–" if cell["arm"] == "scratch" else _moved(moved, cell),
            ", ".join(map(_value, cell["failed"])) or "–",
        ]
        for cell in laws.sweeps["cells"]
    ]


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("constant", "source", "size", "d_chars"))


def _words(constant: str) -> str:
    return constant.replace("_", " ")


def _value(value: float) -> str:
    return number(value, 3)


def _moved(ratios: dict[tuple[Any, ...], float | None], cell: dict[str, Any]) -> str:
    """`none, D_T ≤ 0` where there is no ratio to it."""
    if (place := _place(cell)) not in ratios:
        return "unknown"
    return "none, D_T ≤ 0" if ratios[place] is None else number(ratios[place])


def _side(cell: dict[str, Any]) -> str:
    """`≤ ` or `≥ ` where the lowest loss is at an edge of the sweep."""
    lowest = min(cell["losses"], key=cell["losses"].__getitem__)
    return "" if cell["optimum_inside"] else "≤ " if lowest == next(iter(cell["losses"])) else "≥ "


def _optimum(cell: dict[str, Any]) -> str:
    return f"{_side(cell)}{_value(cell['best_value'])}"


def _loss(cell: dict[str, Any]) -> str:
    """`≥ 0.031 ± 0.004`."""
    if cell["left"] is None:
        return "unknown"
    error = "" if cell["left_error"] is None else f" ± {cell['left_error']:.3f}"
    return f"{'' if cell['optimum_inside'] else '≥ '}{max(cell['left'], 0):.3f}{error}"


def reservations(laws: Laws) -> list[str]:
    """Where the recipe is not known to be as good as others: a sentence a constant and reason."""
    cells = laws.sweeps["cells"] if laws.sweeps is not None else []
    told = []
    for constant in dict.fromkeys(cell["constant"] for cell in cells):
        mine = [cell for cell in cells if cell["constant"] == constant]
        words, of_all = _words(constant), f"of {len(mine)} cells of the sweep"
        if edge := sum(not cell["optimum_inside"] for cell in mine):
            told.append(f"In {edge} {of_all} the best {words} lies at its edge: the optimum may lie beyond.")
        if lost := sum(cell["verdict"] == "not negligible" for cell in mine):
            told.append(f"In {lost} {of_all} another {words} is better by more than {NEGLIGIBLE} nats per token.")
        if unknown := sum(cell["verdict"] == "unknown" for cell in mine):
            told.append(f"In {unknown} {of_all} runs at the recipe's own {words} failed: what it loses is unknown.")
    return told
