#!/usr/bin/env bash
# Stops what tests/slurm/start.sh started, by the process numbers it wrote, and removes its files from /etc/slurm.
set -uo pipefail
DIR=$SLURM_LAB_DIR
for job in $(timeout 5 squeue -h -o %A 2>/dev/null | sort -u); do timeout 5 scancel "$job"; done # slurmd leaves jobs running
for _ in {1..100}; do [ -z "$(timeout 5 squeue -h -t R,CG 2>/dev/null)" ] && break; sleep 0.1; done
for file in slurmd-lab1 slurmd-lab2 slurmctld slurmdbd mariadbd munged; do
    name=${file%%-*} pid=$(cat "$DIR/pid/$file.pid" 2>/dev/null) || continue
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ] || continue
    kill -TERM "$pid"
    for _ in {1..150}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null
done
for file in slurm.conf gres.conf slurmdbd.conf; do
    head -1 "/etc/slurm/$file" 2>/dev/null | grep -q 'tests/slurm/start.sh' && rm -f "/etc/slurm/$file"
done
exit 0
