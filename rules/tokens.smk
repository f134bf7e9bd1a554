# documents -> one tokenizer; tokens, shard by shard -> a flat token file a corpus and split; mixtures of corpora.
OF_TOKENIZER = f"{EXPERIMENT.tokenizer.corpus}/"  # the shards it is trained on: none if it is not trained


rule tokenizer:
    input:
        documents=shard_files("corpora/documents", "parquet", OF_TOKENIZER),
        splits=shard_files("corpora/splits", "parquet", OF_TOKENIZER),
        files=[f"{files}/vocab.json", f"{files}/merges.txt"] if (files := EXPERIMENT.tokenizer.files) else [],
    output:
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
        manifest=f"{RESULTS}/tokens/tokenizer.manifest.json",
    log:
        f"{RESULTS}/logs/tokens/tokenizer.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(4000),
        runtime=tries(60),
    params:
        shards=[shard for shard in ALL_SHARDS if shard.startswith(OF_TOKENIZER)],
        origin=f"--files {shlex.quote(files)}" if files else f"--corpora {RESULTS}/corpora --shards @/dev/stdin",
        vocab_size=EXPERIMENT.tokenizer.vocab_size,
        code=code_hash("workflow_scripts.tokens.tokenizer"),
    shell:
        "printf '%s\\n' {params.shards} | python -m workflow_scripts.tokens.tokenizer {params.origin}"
        " --vocab-size {params.vocab_size} --out {output.tokenizer} --manifest {output.manifest} 2>&1 | tee {log} >&2"


rule encode:
    input:
        documents=f"{RESULTS}/corpora/documents/{{corpus}}/{{source}}/{{shard}}.parquet",
        splits=f"{RESULTS}/corpora/splits/{{corpus}}/{{source}}/{{shard}}.parquet",
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        f"{RESULTS}/tokens/encoded/{{corpus}}/{{source}}/{{shard}}.arrow",
    log:
        f"{RESULTS}/logs/tokens/encode/{{corpus}}/{{source}}/{{shard}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=tries(60),
    params:
        code=code_hash("workflow_scripts.tokens.encode"),
    shell:
        "python -m workflow_scripts.tokens.encode --documents {input.documents} --splits {input.splits}"
        " --tokenizer {input.tokenizer} --out {output} 2>&1 | tee {log} >&2"


rule join:
    input:
        shards=lambda wildcards: shard_files("tokens/encoded", "arrow", f"{wildcards.corpus}/"),
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        bins=[f"{RESULTS}/tokens/{{corpus}}/{split}.bin" for split in SPLITS],
        documents=f"{RESULTS}/tokens/{{corpus}}/documents.parquet",
        manifest=f"{RESULTS}/tokens/{{corpus}}/manifest.json",
        inputs=f"{RESULTS}/tokens/{{corpus}}/inputs.json",
    log:
        f"{RESULTS}/logs/tokens/{{corpus}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=tries(120),
    params:
        folder=subpath(output.manifest, parent=True),
        code=code_hash("workflow_scripts.tokens.join"),
    shell:
        "printf '%s\\n' {input.shards} | python -m workflow_scripts.tokens.join --shards @/dev/stdin"
        " --tokenizer {input.tokenizer} --out-dir {params.folder} 2>&1 | tee {log} >&2"


rule capacity:
    input:
        [f"{RESULTS}/tokens/{corpus}/manifest.json" for corpus in EXPERIMENT.used_corpora],
    output:
        f"{RESULTS}/tokens/capacity.json",
    log:
        f"{RESULTS}/logs/tokens/capacity.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        needs=canonical_json(EXPERIMENT.data_needs()),
        smallest=canonical_json(EXPERIMENT.smallest_set()),
        tokens=subpath(output[0], parent=True),
        code=code_hash("workflow_scripts.tokens.capacity"),
    shell:
        "python -m workflow_scripts.tokens.capacity --needs {params.needs:q} --smallest {params.smallest:q}"
        " --tokens {params.tokens} --out {output} 2>&1 | tee {log} >&2"


rule mix:
    input:
        parts=lambda wildcards: [
            f"{RESULTS}/tokens/{corpus}/manifest.json" for corpus in EXPERIMENT.shares(wildcards.source)
        ],
        capacity=f"{RESULTS}/tokens/capacity.json",
    output:
        bins=[f"{RESULTS}/tokens/{{source}}.seed{{seed}}/{split}.bin" for split in SPLITS],
        documents=f"{RESULTS}/tokens/{{source}}.seed{{seed}}/documents.parquet",
        manifest=f"{RESULTS}/tokens/{{source}}.seed{{seed}}/manifest.json",
        inputs=f"{RESULTS}/tokens/{{source}}.seed{{seed}}/inputs.json",
    log:
        f"{RESULTS}/logs/tokens/{{source}}.seed{{seed}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(2000),
        runtime=tries(60),
    params:
        tokens=subpath(input.capacity, parent=True),
        parts=lambda wildcards: [f"{corpus}={share!r}" for corpus, share in EXPERIMENT.shares(wildcards.source).items()],
        train_tokens=EXPERIMENT.pretrain.tokens,
        folder=subpath(output.manifest, parent=True),
        code=code_hash("workflow_scripts.tokens.mix"),
    shell:
        "python -m workflow_scripts.tokens.mix --tokens {params.tokens} --parts {params.parts}"
        " --train-tokens {params.train_tokens} --seed {wildcards.seed} --out-dir {params.folder} 2>&1 | tee {log} >&2"
