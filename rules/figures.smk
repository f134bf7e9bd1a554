# tables -> figures and the report. One module a figure: workflow_scripts/figures/<figure>.py
from workflow_scripts.figures import FIGURES

LAWS = [f"{RESULTS}/laws/{file}" for file in ("runs.parquet", *LAW_TABLES.values())]


rule figure:
    input:
        LAWS,
    output:
        svg=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../config/report/figure.rst",
            category=f"{MARK}Figures",
            labels={"figure": "{figure}"},
        ),
        png=f"{RESULTS}/figures/{{figure}}.png",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        laws=subpath(input[0], parent=True),
        target=EXPERIMENT.target,
        caption=lambda wildcards: Path(f"config/report/{wildcards.figure}.rst").read_text(encoding="utf-8"),
        out=subpath(output.svg, strip_suffix=".svg"),
        code=lambda wildcards: code_hash(f"workflow_scripts.figures.{wildcards.figure}"),
    shell:
        "python -m workflow_scripts.figures.{wildcards.figure} --laws {params.laws} --target {params.target}"
        " --out {params.out} 2>&1 | tee {log} >&2"


rule coefficients:
    input:
        LAWS,
    output:
        csv=f"{RESULTS}/figures/coefficients.csv",
        html=report(
            f"{RESULTS}/figures/coefficients.html",
            caption="../config/report/coefficients.rst",
            category=f"{MARK}Figures",
            labels={"figure": "coefficients"},
        ),
    log:
        f"{RESULTS}/logs/figures/coefficients.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        laws=subpath(input[0], parent=True),
        target=EXPERIMENT.target,
        out=subpath(output.csv, strip_suffix=".csv"),
        code=code_hash("workflow_scripts.figures.coefficients"),
    shell:
        "python -m workflow_scripts.figures.coefficients --laws {params.laws} --target {params.target}"
        " --out {params.out} 2>&1 | tee {log} >&2"


rule report:
    input:
        "workflow_scripts/figures/report.html.j2",
        expand("config/report/{figure}.rst", figure=FIGURES),
        LAWS,
        rules.scaling.output,
        rules.coefficients.output,
        expand(f"{RESULTS}/figures/{{figure}}.{{suffix}}", figure=FIGURES, suffix=["svg", "png"]),
        of_sweeps,
        [] if EXPERIMENT.simulated else [rules.split.output.counts, rules.corpora_report.output],
        [f"{RESULTS}/corpora/{corpus}/{name}.json" for corpus, name in SHARDS],
        [f"{RESULTS}/tokens/{folder}/manifest.json" for folder in TOKENS],
    output:
        report(
            f"{RESULTS}/report.html",
            caption="../config/report/report.rst",
            category=f"{MARK}Report",
            labels={"figure": "report"},
        ),
    log:
        f"{RESULTS}/logs/figures/report.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        experiment=EXPERIMENT.model_dump_json(),
        results=subpath(output[0], parent=True),
        code=code_hash("workflow_scripts.figures.report"),
    shell:
        "python -m workflow_scripts.figures.report --experiment {params.experiment:q} --laws {params.results}/laws"
        " --figures {params.results}/figures --captions config/report --corpora {params.results}/corpora"
        " --tokens {params.results}/tokens --out {output} 2>&1 | tee {log} >&2"
