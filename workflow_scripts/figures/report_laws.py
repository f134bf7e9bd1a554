"""What the report says of the laws beyond the headline: estimators, rivals, D(N), the laws around, the plan."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workflow_scripts.experiment import Experiment
from workflow_scripts.figures.report_tables import Rows
from workflow_scripts.figures.tables import Laws, has_law
from workflow_scripts.figures.words import count, interval, number, title_of
from workflow_scripts.laws.claims import ALIKE, CLAIMS, PAPER, claims, overall
from workflow_scripts.laws.noise import SMALLEST_DEVIATION
from workflow_scripts.laws.plan import report_section
from workflow_scripts.laws.planning.forecast import PlanError
from workflow_scripts.laws.scaling import allocation
from workflow_scripts.laws.sources import sentences as across_sources

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}
TITLES = {
    "plane": "the plane",
    "fit_of_fits": "the fit of fits",
    "logit": "the fit of fractions",
    "robust": "the robust fit",
    "parametric": "the fit to parametric D_E",
}
LEFT_OUT = {
    "largest_n": "largest N",
    "largest_d_f": "largest D_F",
    "largest_p": "largest P",
    "each_cell": "each cell in turn",
}
NOISE = {
    "pretrain": "of a pre-trained model, shared by all runs that start from it",
    "prefix": "of a data set, shared by all runs on it in both arms",
    "scratch_run": "of a from-scratch run alone",
    "finetune_run": "of a fine-tuned run alone",
    "zero_shot": "of a pre-trained model before fine-tuning (zero-shot)",
}
MOVED = 0.005
"""A change of an exponent below this is not told."""


def greek(text: str) -> str:
    for name, letter in GREEK.items():
        text = text.replace(name, letter)
    return text.replace("<=", "≤")


def estimators(laws: Laws) -> list[str]:
    """Why the other estimators differ from the headline, a sentence each."""
    sentences = []
    for source, law in laws.transfer_law.items():
        for name, other in law["estimators"].items():
            title = TITLES[name]
            start = f"{title_of(source)}, {title}" if len(laws.transfer_law) > 1 else title[0].upper() + title[1:]
            sentences.append(f"{start}: {greek(other['why'])}{_steps(other['from_default'])}")
    return sentences


def _steps(steps: list[dict[str, Any]]) -> str:
    """What each change of the estimator does to the exponents."""
    told = [f"{step['change']} ({moved})" for step in steps if (moved := _moved(step))]
    return f" From the headline to it: {'; '.join(told)}." if told else ""


def _moved(step: dict[str, Any]) -> str:
    """`α −0.11, β +0.01`."""
    changes = {GREEK[name]: step[name] for name in ("alpha", "beta") if step[name] is not None}
    return ", ".join(f"{name} {value:+.2f}".replace("-", "−") for name, value in changes.items() if abs(value) >= MOVED)


def shared(laws: Laws) -> list[str]:
    """Whether sources share alpha and beta, in words."""
    return [greek(sentence) for sentence in across_sources(laws.across_sources)]


def mixed(laws: Laws, experiment: Experiment) -> list[dict[str, Any]]:
    """Each mixture beside each of its parts that is a source alone: the paper's claim, as a table and a sentence."""
    tables = []
    for mixture in experiment.used_mixtures:
        for plain in experiment.shares(mixture):
            if found := claims(laws.across_sources, mixture, plain):
                rows = [
                    [
                        "ln k" if claim.name == "ln_k" else GREEK[claim.name],
                        f"{number(claim.estimate)} ({interval(claim.low, claim.high)})",
                        number(PAPER[claim.name]),
                        "unknown" if claim.smallest_seen is None else number(claim.smallest_seen),
                        f"{CLAIMS[claim.name]}: {claim.verdict}",
                    ]
                    for claim in found
                ]
                title = f"{title_of(mixture)} beside {title_of(plain)}"
                tables.append({"title": title, "rows": rows, "sentence": _claimed(title, overall(found))})
    return tables


def _claimed(title: str, verdict: str) -> str:
    return (
        f"{title}: “same β, smaller α, larger k” is {verdict} here. A sign is decided by the 95 % interval of the "
        f"difference; β counts as the same if the whole interval lies within ±{number(ALIKE)}, the difference of the "
        "paper's two α. A difference smaller than the smallest that the runs had a chance of 80 % to see says nothing."
    )


def over_p(laws: Laws) -> list[str]:
    """The law over all lengths of pre-training of the sources that have several."""
    return [
        f"{title_of(source)}, {len(axis['pretrain_tokens'])} lengths of pre-training P: D_T grows as P^γ with γ ="
        f" {number(axis['gamma']['estimate'])} ({interval(axis['gamma']['low'], axis['gamma']['high'])}; the fit is"
        f" {axis['status']})."
        for source, law in laws.transfer_law.items()
        if (axis := law.get("axis_of_p"))
    ]


def noise(laws: Laws) -> dict[str, Any]:
    """Where the scatter of the losses comes from: `rows`, and what it was seen by in `sentences`."""
    found = laws.noise
    rows = [[words, _nats(found["nats_per_token"].get(name))] for name, words in NOISE.items()]
    seen = "It is seen in the differences between the seeds of a cell, pooled over all cells."
    if not found["from_seeds"]:
        seen = "No cell has two seeds: the noise is the scatter of from-scratch losses about smooth curves."
    if all(nats == "unknown" for _, nats in rows):
        seen = "Neither seeds nor from-scratch runs tell the noise, so intervals are unknown."
    models = f"A cell rests on up to {found['pretrain_seeds']} pre-trained models."
    if found["pretrain_seeds"] is None:
        models = "How many pre-trained models a cell rests on, the table of runs does not say."
    elif found["pretrain_seeds"] < 2:
        models = "A cell rests on one pre-trained model: what another would have given is not seen."
    of_d = ""
    if found["d_exponent"] is not None:
        of_d = f" Stated at {number(found['at_characters'])} characters, it goes as D^{number(found['d_exponent'])}."
    return {"rows": rows, "sentences": f"{seen}{of_d} {models}"}


def _nats(deviation: float | None) -> str:
    """A part that the runs cannot tell is 0, or as small as keeps weights finite."""
    unknown = deviation is None or deviation <= SMALLEST_DEVIATION * (1 + 1e-9)
    return "unknown" if unknown else number(deviation)


def rivals(laws: Laws) -> list[dict[str, Any]]:
    """Other laws on the cells of each source, judged on cells left out: a title, a table and the noise beside it."""
    tables = []
    compared = [(title_of(source), law["alternatives"]) for source, law in laws.transfer_law.items()]
    compared += [
        (f"{title_of(source)}, all lengths of pre-training", axis["alternatives"])
        for source, law in laws.transfer_law.items()
        if (axis := law.get("axis_of_p"))
    ]
    for title, found in compared:
        if not found or not found["n_cells"]:
            continue
        folds = list(next(iter(found["laws"].values()))["held_out"])
        rows = [
            [
                greek(rival["equation"]),
                *(number(rival["held_out"][fold]["rms_nats"]) for fold in folds),
                rival["status"] + (f": {greek(', '.join(rival['on_bound']))}" if rival["on_bound"] else ""),
            ]
            for rival in found["laws"].values()
        ]
        noise = number(found["rms_of_seed_noise"])
        tables.append(
            {
                "title": title,
                "head": ["law", *(f"left out: {LEFT_OUT[fold]}" for fold in folds), "status"],
                "rows": rows,
                "note": f"The noise of the seeds alone is {noise} nats; {found['n_cells']} cells.",
            }
        )
    return tables


def enough_data(laws: Laws) -> Rows:
    """D(N) of each size, the data from which on a from-scratch model no longer gains."""
    cells = laws.fine_tuned
    rows = []
    for (source, _), of_size in cells[cells["unit"] == laws.main_unit].groupby(["source", "n_params"]):
        first = of_size.iloc[0]
        d_n, span = _sufficient(first)
        regimes = of_size["regime"].value_counts()
        rows.append(
            [
                title_of(source),
                first["size"],
                d_n,
                span,
                "unknown" if pd.isna(first["d_n_beyond"]) else f"{100 * first['d_n_beyond']:.3g} % of draws",
                ", ".join(f"{name} {n}" for name, n in regimes.items()),
            ]
        )
    return rows


def _sufficient(cell: pd.Series) -> tuple[str, str]:
    """D(N) in words, and its interval or why there is none."""
    if pd.notna(cell["d_n"]):
        return count(cell["d_n"]), interval(cell["d_n_low"], cell["d_n_high"], count)
    if pd.notna(cell["d_n_low"]):
        return f"≥ {count(cell['d_n_low'])}", "beyond the runs"
    if pd.notna(cell["d_n_high"]):
        return f"≤ {count(cell['d_n_high'])}", "below the runs"
    return "unknown", "no curve to read it from"


def readings(laws: Laws) -> list[str]:
    """How D_E was read otherwise: by power laws, in bits per byte, and without any fine-tuning."""
    return [
        sentence
        for source, law in laws.transfer_law.items()
        for sentence in (
            *_by_power_laws(title_of(source), law["effective_data"]["parametric_over_interpolated"]),
            *_in_bits(title_of(source), laws.effective_data[laws.effective_data["source"] == source]),
            *_zero_shot(title_of(source), law["effective_data"]["zero_shot"]),
        )
    ]


def _by_power_laws(source: str, ratio: dict[str, Any]) -> list[str]:
    if not ratio["n_cells"]:
        return []
    median, smallest, largest = (number(ratio[name], 3) for name in ("median", "smallest", "largest"))
    return [
        f"{source}: D_E from power laws through the from-scratch curves is {median} times D_E by interpolation in the"
        f" median of {ratio['n_cells']} cells ({smallest} to {largest})."
    ]


def _in_bits(source: str, cells: pd.DataFrame) -> list[str]:
    if "d_e_in_bits" not in cells or (known := (cells["d_e_in_bits"] / cells["d_e"]).dropna()).empty:
        return []
    return [
        f"{source}: D_E read from bits per byte is {number(known.min(), 4)} to {number(known.max(), 4)} times D_E read from"
        f" nats per token ({len(known)} cells)."
    ]


def _zero_shot(source: str, cells: list[dict[str, Any]]) -> list[str]:
    """D_E(0) of each size, or the end of the curve beyond which it lies, with its interval."""
    told = []
    for cell in cells:
        known = cell["d_e"] is not None
        d_e = count(cell["d_e"]) if known else f"{cell['censored']} {count(cell['d_e_limit'])}"
        ends = interval(cell["d_e_low"], cell["d_e_high"], count)
        beyond = not known and ends == "no interval"
        told.append(f"{d_e}{'' if beyond else f' ({ends})'} at N = {cell['size']}")
    return [f"{source}, without fine-tuning (zero-shot), is worth D_E = {', '.join(told)}."] if told else []


def plan(laws: Laws) -> dict[str, Any]:
    """The planner's answers with a data size in the middle of the fit, or why it has none."""
    title = "Which corpus, how big a model, or more data?"
    if not any(has_law(law) for law in laws.transfer_law.values()):
        return {
            "title": title,
            "question": "No law was fitted, so nothing can be planned.",
            "sentences": [],
            "rows": [],
        }
    try:
        return report_section(laws.folder)
    except PlanError as error:
        return {"title": title, "question": f"Not answered: {error}.", "sentences": [], "rows": []}


def around(laws: Laws) -> Rows:
    """The scaling laws that the runs support, with their parameters and intervals, and what others found."""
    rows = []
    for law in laws.scaling["laws"]:
        parameters = ", ".join(f"{greek(name)} {_parameter(value)}" for name, value in law["parameters"].items())
        status = law["status"] + (f": {', '.join(law['on_bound'])}" if law["on_bound"] else "")
        status += f"; {law['note']}" if law["note"] else ""
        left_out = f", {law['n_at_budget_left_out']} at budget left out" if law["n_at_budget_left_out"] else ""
        points, published = f"{law['n_points']}{left_out}", _published(law["published"])
        search = [f"{law['starts']['agreed']} of {law['starts']['tried']}", _draws(law["draws"])]
        rows.append([law["of"], greek(law["equation"]), parameters, published, points, greek(status), *search])
    return rows


def _draws(draws: dict[str, int]) -> str:
    """`1,000: 3 not converged, 5 on a bound`; `1,000` where there is none of either."""
    unsure = {"not converged": draws["not_converged"], "on a bound": draws["on_a_bound"]}
    told = ", ".join(f"{n:,} {why}" for why, n in unsure.items() if n)
    return f"{draws['number']:,}" + (f": {told}" if told else "")


def compute_optimal(laws: Laws) -> Rows:
    """The best N and tokens for the compute of the largest run and ten times that, with the exponent of N in compute."""
    return [
        [
            one["of"],
            number(one["flops"]) + ("" if one["measured"] else ", beyond the runs"),
            *(_parameter(one[name]) for name in ("n", "d_tokens", "exponent")),
            _published(one["published"]),
        ]
        for one in laws.scaling["allocations"]
    ]


def approaches(laws: Laws) -> list[str]:
    """The best use of compute by the two approaches that are biased."""
    return allocation.approach_sentences(laws.scaling["approaches"])


def _published(exponents: list[dict[str, Any]]) -> str:
    """`α 0.076 (Kaplan), α 0.070 (Henighan)`."""
    return ", ".join(f"{greek(one['parameter'])} {number(one['value'])} ({one['by']})" for one in exponents) or "–"


def _parameter(value: dict[str, float | None]) -> str:
    return f"{number(value['estimate'], 3)} ({interval(value['low'], value['high'])})"


def absent(laws: Laws) -> list[str]:
    """The laws that the runs do not support, and what it would take."""
    return [f"{one['law']} ({one['of']}): {one['why']}." for one in laws.scaling["absent"]]


def crossings(laws: Laws) -> Rows:
    """From which compute on an arm is ahead, a row a source and D: with weights that exist, and with pre-training paid."""
    races = {
        (race["source"], race["d_chars"], race["with_pretraining"]): race["crossover"]
        for race in laws.scaling["frontiers"]
    }
    return [
        [title_of(source), count(d), *(_ahead(races.get((source, d, paid))) for paid in (False, True))]
        for source, d in dict.fromkeys((source, d) for source, d, _ in races)
    ]


def _ahead(cross: dict[str, Any] | None) -> str:
    if cross is None:
        return "–"
    if cross["ahead"] == "level":
        return "level"
    arm = {"scratch": "from scratch", "tuned": "fine-tuning"}[cross["ahead"]]
    return arm if cross["above"] is None else f"{arm}, from {number(cross['above'])} to {number(cross['by'])} FLOPs on"
