# tokens -> trained models and learning curves. One job a (arm, source, unit, size, seed), small cells together.


rule pretrain:
    input:
        lambda wildcards: trained_on(EXPERIMENT.tokens_of(wildcards.source, wildcards.seed)),
    output:
        manifest=f"{RESULTS}/training/pretrain/{{source}}/{{size}}/seed{{seed}}.json",
    log:
        f"{RESULTS}/logs/training/pretrain/{{source}}/{{size}}/seed{{seed}}.log",
    priority: 2
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **TAKES,
    params:
        runs=specifications_of("pretrain/{source}/{size}/seed{seed}"),
        command=started,
        code=TRAINER_CODE,
    shell:
        "{params.command} --threads {threads} --runs {params.runs:q} --out {output.manifest} 2>&1 | tee {log} >&2"


use rule pretrain as scratch with:
    input:
        trained_on(EXPERIMENT.target),
    output:
        manifest=f"{RESULTS}/training/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: 1
    params:
        runs=specifications_of("scratch/{unit}/{size}/seed{seed}/{cells}"),
        command=started,
        code=TRAINER_CODE,


rule finetune:
    input:
        trained_on(EXPERIMENT.target),
        initial=f"{RESULTS}/training/pretrain/{{source}}/{{size}}/seed{{seed}}.json",
    output:
        manifest=f"{RESULTS}/training/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: 0  # the shortest jobs come last, so that no long one is left alone at the end
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **TAKES,
    params:
        runs=specifications_of("finetune/{source}/{unit}/{size}/seed{seed}/{cells}"),
        command=started,
        code=TRAINER_CODE,
    shell:
        "{params.command} --threads {threads} --runs {params.runs:q} --initial {input.initial} --out {output.manifest}"
        " 2>&1 | tee {log} >&2"


rule export:
    input:
        manifest=lambda wildcards: f"{RESULTS}/training/{job_of(wildcards.run)}.json",
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        config=f"{RESULTS}/export/{{run}}/config.json",
        weights=f"{RESULTS}/export/{{run}}/model.safetensors",
        tokenizer=f"{RESULTS}/export/{{run}}/tokenizer.json",
    log:
        f"{RESULTS}/logs/export/{{run}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        run=f"{RESULTS}/training/{{run}}",
        out=subpath(output.config, parent=True),
        code=code_hash("workflow_scripts.training.export"),
    shell:
        "python -m workflow_scripts.training.export --run {params.run} --tokenizer {input.tokenizer}"
        " --out {params.out} 2>&1 | tee {log} >&2"
