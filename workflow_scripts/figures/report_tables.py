"""The tables of the report: rows of texts, made from the files of all stages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.corpora.documents import SPLITS
from workflow_scripts.corpora.report import languages_of
from workflow_scripts.experiment import Experiment
from workflow_scripts.figures.tables import Laws, read_document
from workflow_scripts.figures.words import ARMS, LIMITS, count, interval, number, title_of

Rows = list[list[str]]

NARROW_SHARE = 0.25
"""From this share of a corpus on, a single source is named as narrowing it."""
REMARKS = {
    "gcide": "a dictionary, not running prose (data GPL-3 or later)",
    "news": "news articles; that they are free to use rests on the word of the package's author",
    "wikipedia_english": "introductions of Wikipedia articles (CC BY-SA 4.0)",
    "wikibooks_english": "Wikibooks (CC BY-SA 4.0)",
    "german_wiktionary": "a dictionary's glosses, not running prose (CC BY-SA 4.0)",
    "wikipedia_spanish": "introductions of Wikipedia articles (CC BY-SA 4.0)",
    "wikipedia_french": "introductions of Wikipedia articles (CC BY-SA 4.0)",
    "wikibooks_german": "Wikibooks (CC BY-SA 4.0)",
    "china_law": "statutes, a single register",
}
"""What a reader of results should know of a source, by the reader of its package."""


def arms(laws: Laws) -> Rows:
    """What was trained: a row an arm and sampling unit."""
    rows = []
    for (arm, unit), group in _with_units(laws.all_runs).groupby(["arm", "unit"], sort=False):
        sizes = group.sort_values("n_params")["size"].unique()
        rows.append(
            [
                ARMS[arm],
                unit,
                span(sizes),
                _data(arm, group),
                str(group["seed"].nunique()),
                str(len(group)),
                "–" if arm == "pretrain" else str(int(group["hit_budget"].sum())),
                count(group["best_tokens"].sum()),
                number(group["flops"].sum()),
                number(group["flops_with_head"].sum()),
                duration(group["train_seconds"].sum()),
            ]
        )
    return rows


def _data(arm: str, runs: pd.DataFrame) -> str:
    """Pre-training is asked for in tokens, all else in characters."""
    if arm == "pretrain":
        return span([f"{count(d)} tokens" for d in sorted(runs["d_tokens"].unique())])
    return span([count(d) for d in sorted(runs["d_chars"].unique())])


def _with_units(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with an empty unit where there is no sampling: pre-training and zero-shot."""
    return runs.assign(unit=runs["unit"].where(runs["arm"].isin(["finetune", "scratch"]), ""))


def span(names: Iterable[str]) -> str:
    """`6k to 197k (6)`."""
    names = list(names)
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)})"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def data(corpora: Path, tokens: Path, experiment: Experiment) -> dict[str, Any]:
    """Where the data came from: `documents`, `languages`, `splits` and `mixtures` (rows), `provenance` (sentences)."""
    return {
        "documents": documents(corpora, experiment),
        "languages": languages(corpora, experiment),
        "splits": splits(corpora, tokens, experiment),
        "mixtures": mixtures(tokens, experiment),
        "provenance": provenance(corpora, experiment),
    }


def documents(corpora: Path, experiment: Experiment) -> Rows:
    """What was read and kept of each enabled source, in documents and characters."""
    rows = []
    for corpus, name, counts, share in sources(corpora, experiment):
        lost = counts["dropped"] | counts.get("set_aside", {})
        reasons = sorted(lost.items(), key=lambda item: -item[1]["documents"])
        rows.append(
            [
                title_of(corpus),
                name,
                f"{counts['read']['documents']:,}",
                f"{counts['kept']['documents']:,}",
                count(counts["kept"]["characters"]),
                f"{share:.0%}",
                ", ".join(f"{reason.replace('_', ' ')} {_lost(some)}" for reason, some in reasons) or "none",
            ]
        )
    return rows


def _lost(some: dict[str, int]) -> str:
    """`49 (5,375 characters)`; of what is set aside or left out, characters are not known."""
    characters = f" ({count(some['characters'])} characters)" if some.get("characters") else ""
    return f"{some['documents']:,}{characters}"


def languages(corpora: Path, experiment: Experiment) -> Rows:
    """Of each source of text: the languages of its kept documents, and the Python in them."""
    return [
        [
            title_of(corpus),
            name,
            languages_of(counts),
            f"{counts['python']['documents']:,}",
            f"{counts['python']['characters'] / max(counts['kept']['characters'], 1):.2%}",
        ]
        for corpus, name, counts, _ in sources(corpora, experiment)
        if "languages" in counts
    ]


def sources(corpora: Path, experiment: Experiment) -> list[tuple[str, str, dict[str, Any], float]]:
    """(corpus, source, counts, share of the corpus's kept characters) of each enabled source."""
    result = []
    for corpus in experiment.used_corpora:
        names = experiment.enabled_sources(corpus)
        counts = {name: read_document(corpora / corpus / f"{name}.json") for name in names}
        total = sum(some["kept"]["characters"] for some in counts.values()) or 1
        result += [(corpus, name, some, some["kept"]["characters"] / total) for name, some in counts.items()]
    return result


def splits(corpora: Path, tokens: Path, experiment: Experiment) -> Rows:
    """Documents, characters and tokens by corpus and split."""
    parts = read_document(corpora / "splits.json")["corpora"]
    rows = []
    for corpus in experiment.used_corpora:
        encoded = read_document(tokens / corpus / "manifest.json")["splits"]
        for split in SPLITS:
            part, some = parts[corpus][split], encoded.get(split)
            size = [count(some["tokens"]), number(some["characters"] / some["tokens"], 3)] if some else ["–", "–"]
            rows.append([title_of(corpus), split, f"{part['documents']:,}", count(part["characters"]), *size])
    return rows


def mixtures(tokens: Path, experiment: Experiment) -> Rows:
    """What each mixture is made of, a row a seed and part of its training text."""
    rows = []
    for mixture in experiment.used_mixtures:
        for seed in experiment.seeds:
            parts = read_document(tokens / experiment.tokens_of(mixture, seed) / "manifest.json")["parts"]
            for part, some in parts.items():
                counts = some["splits"]["train"]
                sizes = [count(counts[unit]) for unit in ("documents", "characters", "bytes", "tokens")]
                rows.append([title_of(mixture), str(seed), title_of(part), f"{some['share']:.0%}", *sizes])
    return rows


def provenance(corpora: Path, experiment: Experiment) -> list[str]:
    """Duplicates and leaks removed, and what is narrow about the corpora, in sentences."""
    found = read_document(corpora / "splits.json")
    sentences = []
    for corpus, parts in found["corpora"].items():
        dropped = {reason: some for reason, some in parts["dropped"].items() if some["documents"]}
        words = ", ".join(f"{some['documents']:,} as {reason.replace('_', '-')}" for reason, some in dropped.items())
        sentences.append(
            f"{title_of(corpus)}: {parts['read']['documents']:,} clean documents; dropped: {words or 'none'}."
        )
    removed, target = found["leak"]["documents_removed"], title_of(experiment.target)
    sentences.append(
        f"{removed:,} documents of other corpora were removed because they overlap {target} held-out text."
    )
    for corpus, name, _, share in sources(corpora, experiment):
        remark = REMARKS.get(getattr(experiment.corpora[corpus][name], "reader", ""))
        if remark or NARROW_SHARE <= share < 1:
            sentences.append(
                f"{share:.0%} of {title_of(corpus)} is the source {name}{': ' + remark if remark else ''}."
            )
    return sentences


def effective_data(laws: Laws) -> Rows:
    """Every cell; D_F = 0 is the pre-trained model before fine-tuning.  D_F in bytes and the loss in bits per byte, at the
    end, are what compares with experiments in other languages."""
    rows, tuned_runs = [], laws.all_runs[laws.all_runs["arm"] == "finetune"]
    in_bytes = tuned_runs.groupby(["unit", "d_chars"])["d_bytes"].mean()
    for cell in laws.effective_data.sort_values(["source", "unit", "n_params", "d_f"]).itertuples():
        sign, d_e, tuned = LIMITS[cell.limit], cell.d_e_known, cell.d_f > 0
        rows.append(
            [
                title_of(cell.source),
                cell.unit,
                cell.size,
                count(cell.d_f),
                f"{sign}{count(d_e)}",
                _ends(cell.d_e_low, cell.d_e_high),
                f"{sign}{count(d_e - cell.d_f)}",
                _ends(cell.d_t_low, cell.d_t_high),
                f"{sign}{number(d_e / cell.d_f, 3)}" if tuned else "–",
                f"{sign}{number(1 - cell.d_f / d_e)}" if tuned else "–",
                cell.regime,
                "yes" if cell.in_fit else "no",
                count(in_bytes[cell.unit, cell.d_f]) if tuned else "0",
                number(cell.test_bits_per_byte, 4),
            ]
        )
    return rows


def _ends(low: float, high: float) -> str:
    return interval(low, high, count) if np.isfinite(low) or np.isfinite(high) else "–"


def losses(laws: Laws) -> dict[str, dict[str, Any]]:
    """Mean test losses by D and N, one table an arm and sampling unit: {title: {"head", "rows"}}."""
    tables = {}
    runs = _with_units(laws.runs[laws.runs["arm"] != "pretrain"])
    for (arm, init, unit), group in runs.groupby(["arm", "init", "unit"], sort=False):
        start = "" if arm == "scratch" else f" from {title_of(init)}"
        title = f"{ARMS[arm].capitalize()}{start}{f', {unit}s' if unit else ''}"
        sizes = group[["n_params", "size"]].drop_duplicates().sort_values("n_params")
        cells = group.groupby(["d_chars", "n_params"]).agg(loss=("test_loss", "mean"), bounded=("hit_budget", "any"))
        head = ["D (characters)", *(f"N = {size}" for size in sizes["size"])]
        rows = [
            [count(d), *(_loss(cells, (d, n_params)) for n_params in sizes["n_params"])]
            for d in sorted(group["d_chars"].unique())
        ]
        tables[title] = {"head": head, "rows": rows}
    return tables


def _loss(cells: pd.DataFrame, key: tuple[int, int]) -> str:
    if key not in cells.index:
        return "–"
    cell = cells.loc[key]
    return f"{cell['loss']:.3f}{'*' if cell['bounded'] else ''}"


def scale(laws: Laws, tokens: Path, experiment: Experiment) -> Rows:
    """This experiment beside the paper (Hernandez et al. 2021)."""
    held = "none"
    if not laws.simulated:
        train = read_document(tokens / experiment.target / "manifest.json")["splits"]["train"]
        held = f"{count(train['characters'])} characters"
    pretrain = laws.all_runs[laws.all_runs["arm"] == "pretrain"]
    cells = laws.fine_tuned
    sizes = laws.sizes["size"]
    given = cells["d_f"].min(), cells["d_f"].max()
    return [
        ["N (non-embedding)", span(sizes), "four decades; 1M and 40M are named"],
        ["pre-training", f"{count(experiment.pretrain.tokens)} tokens, {count(pretrain['d_chars'].max())} characters",
         "24G characters of text (and 240G of code)"],
        ["target text to train on", held, "22G characters of Python"],
        ["D_F", f"{count(given[0])} to {count(given[1])} characters", "three decades and more, from 300k characters"],
        ["sampling unit", ", ".join(sorted(cells["unit"].unique())), "document"],
        ["context", f"{experiment.model.n_ctx} tokens", "2,048 tokens"],
        ["vocabulary", f"{experiment.tokenizer.vocab_size:,}", "50,257"],
        ["seeds", str(len(experiment.seeds)), "not stated"],
        ["intervals", "95 % on the law and every cell", "not given"],
    ]  # fmt: skip
