# tokens -> trained models and learning curves. One job a (arm, source, unit, size, seed), small cells together.


rule pretrain:
    input:
        lambda wildcards: trained_on(EXPERIMENT.tokens_of(wildcards.source, wildcards.seed)),
    output:
        manifest=f"{RESULTS}/training/pretrain/{{source}}/{{size}}/seed{{seed}}.json",
    log:
        f"{RESULTS}/logs/training/pretrain/{{source}}/{{size}}/seed{{seed}}.log",
    priority: longest_first("pretrain/{source}/{size}/seed{seed}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **takes("pretrain/{source}/{size}/seed{seed}"),
    params:
        identity=identity_of("pretrain/{source}/{size}/seed{seed}"),
        command=started,
    shell:
        "{params.command} {params.identity} --threads {threads} --out {output.manifest}"
        " 2>&1 | (trap '' TERM; exec tee {log}) >&2"


use rule pretrain as scratch with:
    input:
        trained_on(EXPERIMENT.target),
    output:
        manifest=f"{RESULTS}/training/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: longest_first("scratch/{unit}/{size}/seed{seed}/{cells}")
    resources:
        **takes("scratch/{unit}/{size}/seed{seed}/{cells}"),
    params:
        identity=identity_of("scratch/{unit}/{size}/seed{seed}/{cells}"),
        command=started,


rule finetune:
    input:
        trained_on(EXPERIMENT.target),
        initial=f"{RESULTS}/training/pretrain/{{source}}/{{size}}/seed{{seed}}.json",
    output:
        manifest=f"{RESULTS}/training/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: longest_first("finetune/{source}/{unit}/{size}/seed{seed}/{cells}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **takes("finetune/{source}/{unit}/{size}/seed{seed}/{cells}"),
    params:
        identity=identity_of("finetune/{source}/{unit}/{size}/seed{seed}/{cells}"),
        command=started,
    shell:
        "{params.command} {params.identity} --threads {threads} --initial {input.initial} --out {output.manifest}"
        " 2>&1 | (trap '' TERM; exec tee {log}) >&2"


rule export:
    input:
        manifest=lambda wildcards: f"{RESULTS}/training/{job_of(wildcards.run)}.json",
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        config=f"{RESULTS}/export/{{run}}/config.json",
        weights=f"{RESULTS}/export/{{run}}/model.safetensors",
        tokenizer=f"{RESULTS}/export/{{run}}/tokenizer.json",
        tokenizer_config=f"{RESULTS}/export/{{run}}/tokenizer_config.json",
    log:
        f"{RESULTS}/logs/export/{{run}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1500),
        runtime=tries(10),
    params:
        run=f"{RESULTS}/training/{{run}}",
        out=subpath(output.config, parent=True),
        code=code_hash("workflow_scripts.training.export"),
    shell:
        "python -m workflow_scripts.training.export --run {params.run} --tokenizer {input.tokenizer}"
        " --out {params.out} 2>&1 | tee {log} >&2"
