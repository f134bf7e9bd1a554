# What other values of the recipe's constants would have changed: training, verdict and figure. `snakemake sweeps`
# They need no law, so that a recipe can be judged before the grid is paid for; what the law adds comes with the report.


use rule scratch as swept_scratch with:
    output:
        manifest=f"{RESULTS}/training/sweeps/{{constant}}/{{value}}/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/sweeps/{{constant}}/{{value}}/scratch/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: longest_first("sweeps/{constant}/{value}/scratch/{unit}/{size}/seed{seed}/{cells}")
    resources:
        **takes("sweeps/{constant}/{value}/scratch/{unit}/{size}/seed{seed}/{cells}"),
    params:
        identity=identity_of("sweeps/{constant}/{value}/scratch/{unit}/{size}/seed{seed}/{cells}"),
        command=started,


use rule finetune as swept_finetune with:
    output:
        manifest=f"{RESULTS}/training/sweeps/{{constant}}/{{value}}/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.json",
    log:
        f"{RESULTS}/logs/training/sweeps/{{constant}}/{{value}}/finetune/{{source}}/{{unit}}/{{size}}/seed{{seed}}/{{cells}}.log",
    priority: longest_first("sweeps/{constant}/{value}/finetune/{source}/{unit}/{size}/seed{seed}/{cells}")
    resources:
        **takes("sweeps/{constant}/{value}/finetune/{source}/{unit}/{size}/seed{seed}/{cells}"),
    params:
        identity=identity_of("sweeps/{constant}/{value}/finetune/{source}/{unit}/{size}/seed{seed}/{cells}"),
        command=started,


rule judge_sweeps:
    input:
        swept_jobs,
    output:
        f"{RESULTS}/laws/sweeps.json",
    log:
        f"{RESULTS}/logs/laws/sweeps.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        experiment=EXPERIMENT.model_dump_json(),
        training=lambda wildcards, resources: f"{RESULTS}/training",
        code=code_hash("workflow_scripts.laws.sweeps"),
    shell:
        "python -m workflow_scripts.laws.sweeps --experiment {params.experiment:q} --training {params.training}"
        " --out {output} 2>&1 | tee {log} >&2"


rule draw_sweeps:
    input:
        f"{RESULTS}/laws/sweeps.json",
    output:
        svg=f"{RESULTS}/figures/sweeps.svg",
        png=f"{RESULTS}/figures/sweeps.png",
    log:
        f"{RESULTS}/logs/figures/sweeps.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        out=subpath(output.svg, strip_suffix=".svg"),
        code=code_hash("workflow_scripts.figures.sweeps"),
    shell:
        "python -m workflow_scripts.figures.sweeps --sweeps {input} --out {params.out} 2>&1 | tee {log} >&2"


rule sweeps:
    input:
        f"{RESULTS}/laws/sweeps.json",
        f"{RESULTS}/figures/sweeps.svg",


rule transfer_at_optima:
    input:
        sweeps=verdict_at_hand,
        cells=f"{RESULTS}/laws/effective_data.parquet",
        curves=f"{RESULTS}/laws/scratch_curves.parquet",
    output:
        f"{RESULTS}/laws/transfer_at_optima.json",
    log:
        f"{RESULTS}/logs/laws/transfer_at_optima.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=tries(1000),
        runtime=tries(10),
    params:
        laws=subpath(input.cells, parent=True),
        unit=EXPERIMENT.grids[0].unit,
        code=code_hash("workflow_scripts.laws.transfer_at_optima"),
    shell:
        "python -m workflow_scripts.laws.transfer_at_optima --sweeps {input.sweeps} --laws {params.laws}"
        " --unit {params.unit} --out {output} 2>&1 | tee {log} >&2"
