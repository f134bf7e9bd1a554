# Scaling laws for transfer: raw text -> corpora -> tokens -> training -> laws -> figures -> report.
from snakemake.utils import min_version

min_version("9.27")

if not workflow.overwrite_configfiles:  # a file given with --configfile stands alone

    configfile: "config/config.yaml"


report: "config/report/workflow.rst"


include: "rules/common.smk"
include: "rules/corpora.smk"
include: "rules/tokens.smk"
include: "rules/training.smk"
include: "rules/laws.smk"
include: "rules/figures.smk"
include: "rules/sweeps.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",


onstart:
    start_work()


onerror:
    tell_the_way_on()
