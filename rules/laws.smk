# all runs -> one table -> effective data, the transfer law, the sanity of it all, the scaling laws around it.

LAW_TABLES = {
    "effective_data": "effective_data.parquet",
    "curves": "scratch_curves.parquet",
    "law": "transfer_law.json",
    "draws": "draws.parquet",
    "sanity": "sanity.json",
}


rule collect:
    input:
        [f"{RESULTS}/training/{job}.json" for job in JOBS],
    output:
        runs=f"{RESULTS}/laws/runs.parquet",
        curves=f"{RESULTS}/laws/learning_curves.parquet",
    log:
        f"{RESULTS}/logs/laws/collect.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(30),
    params:
        experiment=EXPERIMENT.model_dump_json(),
        training=lambda wildcards, resources: f"{RESULTS}/training",
        code=code_hash("workflow_scripts.laws.collect"),
    shell:
        "python -m workflow_scripts.laws.collect --experiment {params.experiment:q} --training {params.training}"
        " --out {output.runs} --curves {output.curves} 2>&1 | tee {log} >&2"


rule fit:
    input:
        f"{RESULTS}/laws/runs.parquet",
    output:
        **{name: f"{RESULTS}/laws/{file}" for name, file in LAW_TABLES.items()},
    log:
        f"{RESULTS}/logs/laws/fit.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(30),
    params:
        fit=EXPERIMENT.fit.model_dump_json(),
        unit=EXPERIMENT.grids[0].unit,
        folder=subpath(output.law, parent=True),
        code=code_hash("workflow_scripts.laws.fit"),
    shell:
        "python -m workflow_scripts.laws fit {input} --fit {params.fit:q} --unit {params.unit}"
        " --out {params.folder} --allow-no-law 2>&1 | tee {log} >&2"


rule scaling:
    input:
        runs=f"{RESULTS}/laws/runs.parquet",
        curves=f"{RESULTS}/laws/learning_curves.parquet",
    output:
        f"{RESULTS}/laws/scaling.json",
    log:
        f"{RESULTS}/logs/laws/scaling.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(30),
    params:
        unit=EXPERIMENT.grids[0].unit,
        code=code_hash("workflow_scripts.laws.scaling.command"),
    shell:
        "python -m workflow_scripts.laws scaling {input.runs} --curves {input.curves} --unit {params.unit}"
        " --out {output} 2>&1 | tee {log} >&2"


rule design:
    output:
        f"{RESULTS}/laws/design.csv",
    log:
        f"{RESULTS}/logs/laws/design.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=tries(2000),
        runtime=tries(60),
    params:
        experiment=EXPERIMENT.model_dump_json(),
        code=code_hash("workflow_scripts.laws.design"),
    shell:
        "python -m workflow_scripts.laws.design --experiment {params.experiment:q} --workers {threads} --out {output}"
        " 2>&1 | tee {log} >&2"
