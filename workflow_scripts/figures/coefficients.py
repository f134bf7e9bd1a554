"""Paper A, Table 1: the coefficients of the law beside the paper's, every estimator in its own row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import Any

from workflow_scripts.figures.tables import COEFFICIENTS, Laws, TableError, parse
from workflow_scripts.figures.words import interval, number, title_of
from workflow_scripts.files import write_text

COLUMNS = (
    *("where", "simulated", "source", "target", "estimator", "headline", "n_cells", "status"),
    *(f"{name}{end}" for name in COEFFICIENTS for end in ("", "_low", "_high")),
)
PAPER = (
    {"source": "text", "k": 1.9e4, "alpha": 0.18, "beta": 0.38},
    {"source": "half text, half other code", "k": 2.1e5, "alpha": 0.096, "beta": 0.38},
)
"""Hernandez et al. 2021, Table 1; D in characters, N non-embedding; the paper gives no intervals."""
NOTE = (
    "Compare α and β, not k: k has the unit characters^(1 − α), so its value depends on α and β, and it carries the "
    "difference in tokenizers, corpora and sampling units. Intervals: 95 %."
)


def rows_of(laws: Laws, target: str) -> list[dict[str, Any]]:
    """A row an estimator, the headline of each source first, then the paper's two; keys `COLUMNS`."""
    rows = []
    for source, law in laws.transfer_law.items():
        for name, fit in ({law["estimator"]: law} | law["estimators"]).items():
            where = "this experiment, SIMULATED" if laws.simulated else "this experiment"
            known = {"where": where, "simulated": laws.simulated}
            known |= {"source": source, "target": target, "estimator": name}
            known |= {
                "headline": fit is law,
                "n_cells": fit.get("n_cells"),
                "status": _status(fit),
            }
            rows.append(known | _ends(fit))
    for paper in PAPER:
        known = {
            "where": "Hernandez et al. 2021",
            "simulated": False,
            "target": "python",
            "estimator": "fit_of_fits",
            "headline": False,
        }
        rows.append(dict.fromkeys(COLUMNS) | known | paper)
    return rows


def _status(fit: dict[str, Any]) -> str | None:
    """Why an estimator may lack a value, or an interval."""
    status, draws = fit.get("status"), fit.get("draws", {})
    if status in ("ok", None) and draws.get("undefined"):
        return f"undefined in {draws['undefined']} of {draws['number']} draws"
    return status


def _ends(fit: dict[str, Any]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for name in COEFFICIENTS:
        coefficient = fit.get(name) or {}
        result |= {name: coefficient.get("estimate")}
        result |= {f"{name}_low": coefficient.get("low"), f"{name}_high": coefficient.get("high")}
    return result


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Full precision; an empty field where there is no value."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_html(rows: Sequence[dict[str, Any]]) -> str:
    """A `<table>` for a reader: rounded, with the intervals; headline rows in bold."""
    head = "".join(f"<th>{name}</th>" for name in ("", "source → target", "estimator", "cells", "k", "α", "β"))
    body = "".join(_html_row(row) for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _html_row(row: dict[str, Any]) -> str:
    texts = [row["where"], f"{title_of(row['source'])} → {title_of(row['target'])}"]
    status = f" ({row['status']})" if row["status"] not in ("ok", None) else ""
    texts += [row["estimator"] + status, str(row["n_cells"] or "")]
    cells = [escape(text) for text in texts]
    for name in COEFFICIENTS:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        ends = f"<br><small>{interval(low, high)}</small>" if low is not None or high is not None else ""
        cells.append(f"{number(row[name])}{ends}")
    tag = "th" if row["headline"] else "td"
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>\n"


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table as an HTML document of its own."""
    style = (
        "body{font:15px/1.4 sans-serif;margin:1.5em}table{border-collapse:collapse}small{color:#555}"
        "th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc;vertical-align:top}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Coefficients of the transfer law</title>'
        f"<style>{style}</style></head>\n<body>\n{as_html(rows)}<p><small>{escape(NOTE)}</small></p>\n</body>\n</html>\n"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Writes PREFIX.csv and PREFIX.html."""
    arguments = parse("The coefficients of the law beside the paper's, as CSV and HTML.", argv)
    try:
        rows = rows_of(Laws(arguments.laws), arguments.target)
    except TableError as error:
        raise SystemExit(str(error)) from error
    write_text(arguments.out.with_name(arguments.out.name + ".csv"), as_csv(rows))
    write_text(arguments.out.with_name(arguments.out.name + ".html"), page(rows))


if __name__ == "__main__":
    main()
