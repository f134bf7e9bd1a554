"""Step `report`: one offline HTML file that a person understands without the code."""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.figures import (
    FIGURES,
    coefficients,
    report_harm,
    report_laws,
    report_sweeps,
    report_tables,
    sentences,
)
from workflow_scripts.figures.tables import COEFFICIENTS, Laws, TableError, has_law, read_table
from workflow_scripts.figures.words import count, number, title_of
from workflow_scripts.files import write_text
from workflow_scripts.laws.runs import SIMULATED

TEMPLATE = Path(__file__).with_name("report.html.j2")
RUNS = (
    "d_bytes",
    "d_tokens",
    "n_units",
    "test_bits_per_byte",
    "best_tokens",
    "flops",
    "flops_with_head",
    "train_seconds",
    "evaluation_seconds",
)
"""What the report needs of a run beside what the figures need."""


def render(experiment: Experiment, laws: Laws, figures: Path, captions: Path, corpora: Path, tokens: Path) -> str:
    """The report as HTML.  Raises TableError if an input is missing, or not of the experiment's kind.

    A simulated experiment has no corpora and tokens; those folders are not read.
    """
    if laws.simulated != (experiment.simulated is not None):
        found, expected = ("simulated", "measured") if laws.simulated else ("measured", "simulated")
        raise TableError(
            f"{laws.folder}: the tables are {found}, the experiment is {expected}; the two are never mixed"
        )
    read_table(laws.folder / "runs.parquet", RUNS)
    cells = laws.fine_tuned
    target = experiment.target
    warnings = [sentence for law in laws.transfer_law.values() for sentence in law["warnings"]]
    reservations = sentences.reservations(cells[cells["unit"] == laws.main_unit], len(experiment.seeds))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["typeset"] = typeset
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        experiment=experiment,
        simulated=SIMULATED if laws.simulated else None,
        target=title_of(target),
        sources=" or ".join(title_of(source) for source in laws.sources),
        figures={name: picture(name, figures, captions) for name in FIGURES},
        findings=[finding(laws, source, target) for source in laws.sources],
        harm=report_harm.section(laws),
        coefficients=Markup(coefficients.as_html(coefficients.rows_of(laws, target))),
        coefficients_note=coefficients.NOTE,
        estimators=report_laws.estimators(laws),
        shared=report_laws.shared(laws) + report_laws.over_p(laws),
        mixed=report_laws.mixed(laws, experiment),
        rivals=report_laws.rivals(laws),
        enough=report_laws.enough_data(laws),
        plan=report_laws.plan(laws),
        noise=report_laws.noise(laws),
        readings=report_laws.readings(laws),
        around=report_laws.around(laws),
        compute_optimal=report_laws.compute_optimal(laws),
        approaches=report_laws.approaches(laws),
        absent=report_laws.absent(laws),
        crossings=report_laws.crossings(laws),
        checks=[sentences.check(found) for found in laws.sanity["checks"]],
        reservations=list(dict.fromkeys(warnings + reservations + report_sweeps.reservations(laws))),
        units=sampling_units(experiment, laws),
        unit_contrast=sentences.unit_contrast(cells, target),
        training=training(experiment, laws),
        arms=report_tables.arms(laws),
        sweeps=report_sweeps.section(laws, experiment),
        data=None if laws.simulated else report_tables.data(corpora, tokens, experiment),
        scale=report_tables.scale(laws, tokens, experiment),
        effective_data=report_tables.effective_data(laws),
        losses=report_tables.losses(laws),
    )


def typeset(text: str) -> Markup:
    """Plain text as HTML with its symbols set: D_T, D_F^α, N^-β, characters^(1 − α)."""
    html = re.sub(r"\^\(([^)]*)\)", r"<sup>\1</sup>", str(escape(text)))
    html = re.sub(r"\^(-?\w+)", lambda found: f"<sup>{found[1].replace('-', '−')}</sup>", html)
    return Markup(re.sub(r"\b([A-Zaαβ])_(\w+)\b", r"\1<sub>\2</sub>", html))


def picture(name: str, figures: Path, captions: Path) -> dict[str, str]:
    """A figure as a data URI, with its caption (`captions`/<name>.rst, one paragraph without markup)."""
    path, caption = figures / f"{name}.svg", captions / f"{name}.rst"
    for needed in (path, caption):
        if not needed.is_file():
            raise TableError(f"{needed}: no such file; the report needs it for the figure {name}")
    data = base64.b64encode(path.read_bytes()).decode()
    return {"data": f"data:image/svg+xml;base64,{data}", "caption": caption.read_text(encoding="utf-8").strip()}


def finding(laws: Laws, source: str, target: str) -> dict[str, Any]:
    """The answer for one source: two cells of the middle size, the law and what its exponents mean."""
    cells = laws.cells(source)
    cells = cells[cells["size"] == laws.middle_size]
    fitted = cells[cells["in_fit"]] if cells["in_fit"].any() else cells
    answers = [sentences.answer(fitted.iloc[row], source, target) for row in sorted({0, len(fitted) - 1})]
    law = laws.transfer_law[source]
    found = {
        "title": title_of(source),
        "answers": answers,
        "status": law["status"],
    }
    if not has_law(law):
        without = sentences.without_law(law, source)
        quality = sentences.quality(law) if "starts" in law else [without]
        return found | {"meaning": [], "without": without, "quality": quality}
    k, alpha, beta = (law[name]["estimate"] for name in COEFFICIENTS)
    formula = Markup("D<sub>T</sub> = {} · D<sub>F</sub><sup>{}</sup> · N<sup>{}</sup>").format(
        number(k), number(alpha), number(beta)
    )
    return found | {
        "law": formula,
        "meaning": [*sentences.meaning(law, source, target), sentences.multiplier(law, target)],
        "quality": sentences.quality(law),
    }


def sampling_units(experiment: Experiment, laws: Laws) -> str:
    """How the data sets were drawn, and how many independent units the smallest holds."""
    runs = laws.all_runs
    runs = runs[(runs["arm"] == "finetune") & (runs["unit"] == laws.main_unit)]
    smallest = runs[runs["d_chars"] == runs["d_chars"].min()]
    unit = laws.main_unit
    length = f" of {experiment.excerpt_tokens} tokens" if unit == "excerpt" else ""
    return (
        f"A data set is a prefix of one shuffle of {unit}s{length} of all {title_of(experiment.target)} documents; "
        f"both arms and all sizes of a seed see the same prefix. The smallest set of the fit's grid "
        f"({count(smallest['d_chars'].min())} characters) holds {smallest['n_units'].min():.0f} {unit}s or more."
    )


def training(experiment: Experiment, laws: Laws) -> str:
    """The models and the protocol, in words."""
    runs, sizes = laws.all_runs, laws.sizes
    return (
        f"{len(runs)} runs of GPT-2's architecture at {len(sizes)} sizes, N = {sizes['size'].iloc[0]} to "
        f"{sizes['size'].iloc[-1]}, context {experiment.model.n_ctx} tokens, vocabulary "
        f"{experiment.tokenizer.vocab_size:,}, {len(experiment.seeds)} seeds. Every size was pre-trained once a seed "
        f"on {count(experiment.pretrain.tokens)} tokens in one pass; fine-tuned and from-scratch runs differ in the "
        f"initial weights only, run to their best validation loss, and are judged on test text at those weights. "
        f"{frozen(experiment)}"
        f"Together they took {effort(runs)}; up to the best points they came to "
        f"{number(runs['flops'].sum())} FLOPs, {number(runs['flops_with_head'].sum())} with the head."
    )


def effort(runs: pd.DataFrame) -> str:
    """`38 min, 9 % of it for evaluations`."""
    seconds, evaluations = runs["train_seconds"].sum(), runs["evaluation_seconds"].sum()
    share = f", {evaluations / seconds:.0%} of it for evaluations" if seconds else ""
    return report_tables.duration(seconds) + share


def frozen(experiment: Experiment) -> str:
    """What fine-tuning left as pre-trained."""
    kind, _, blocks = experiment.trainable.partition(":")
    trained = {
        "all": "",
        "norms_and_embeddings": "norms and embeddings",
        "last_blocks": f"the last {'block' if blocks == '1' else f'{blocks} blocks'} and the final norm",
    }[kind]
    return f"Fine-tuning changed {trained} only; all other weights stayed as pre-trained. " if trained else ""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="configuration, as JSON")
    parser.add_argument("--laws", type=Path, required=True, help="results/<experiment>/laws")
    parser.add_argument("--figures", type=Path, required=True, help="results/<experiment>/figures")
    parser.add_argument("--captions", type=Path, required=True, help="config/report")
    parser.add_argument("--corpora", type=Path, required=True, help="results/<experiment>/corpora")
    parser.add_argument("--tokens", type=Path, required=True, help="results/<experiment>/tokens")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file")
    given = parser.parse_args(argv)
    try:
        experiment = Experiment.parse(json.loads(given.experiment), "--experiment")
        html = render(experiment, Laws(given.laws), given.figures, given.captions, given.corpora, given.tokens)
    except (TableError, ConfigurationError) as error:
        raise SystemExit(str(error)) from error
    write_text(given.out, html)


if __name__ == "__main__":
    main()
