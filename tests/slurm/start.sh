#!/usr/bin/env bash
# Starts a real SLURM on this machine for tests: one node with 16 pretended CPUs and 8 pretended GPUs, no systemd.
# SLURM_LAB_DIR is its folder. Ends with 3 where it cannot be had: not root, no package, or another SLURM's files.
set -euo pipefail
DIR=$SLURM_LAB_DIR
MARK='# written by tests/slurm/start.sh'
ETC=/etc/slurm # the plugin's job steps drop SLURM_CONF, so the files must stand here
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
unset SLURM_CONF
umask 022
impossible() { echo "$*" >&2; exit 3; }

[ "$(id -u)" = 0 ] || impossible "a SLURM of its own needs root"
mkdir -p "$DIR"/{munge,ctld,log,pid,gpu,spool-lab1}
chmod 755 "$DIR" "$DIR/munge"
need=()
for pair in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client; do
    command -v "${pair%%:*}" >/dev/null || need+=("${pair##*:}")
done
if [ ${#need[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || impossible "no ${need[*]}, and no apt-get to install them"
    { apt-get update && apt-get install -y --no-install-recommends "${need[@]}"; } >"$DIR/log/apt.log" 2>&1 \
        || impossible "apt-get could not install ${need[*]}: $(tail -1 "$DIR/log/apt.log")"
fi
mkdir -p $ETC
for file in slurm.conf gres.conf; do
    [ ! -e $ETC/$file ] || head -1 $ETC/$file | grep -qF "$MARK" || impossible "$ETC/$file belongs to another SLURM"
done

head -c 1024 /dev/urandom >"$DIR/munge/munge.key"
chmod 600 "$DIR/munge/munge.key"
for gpu in {0..7}; do # SLURM counts device files, and sets CUDA_VISIBLE_DEVICES by their numbers
    mknod "$DIR/gpu/gpu$gpu" c 1 3 2>/dev/null || : >"$DIR/gpu/gpu$gpu"
done
host=$(hostname -s)
cat >$ETC/slurm.conf <<CONF
$MARK
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$DIR/munge/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$DIR/ctld
SlurmdSpoolDir=$DIR/spool-%n
SlurmctldPidFile=$DIR/pid/slurmctld.pid
SlurmdPidFile=$DIR/pid/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
KillWait=2
ReturnToService=2
MinJobAge=3600
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=lab1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16821 CPUs=16 RealMemory=64000 Gres=gpu:a100:8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
cat >$ETC/gres.conf <<CONF
$MARK
AutoDetect=off
Name=gpu Type=a100 File=$DIR/gpu/gpu[0-7]
CONF

until_true() { # until_true WHAT COMMAND...
    local what=$1 end=$((SECONDS + 30))
    shift
    until timeout 5 "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "$what did not come up: $(grep -hE 'fatal|error' "$DIR"/log/*.log | tail -3)" >&2; exit 1; }
        sleep 0.1
    done
}
munged --force --key-file="$DIR/munge/munge.key" --socket="$DIR/munge/munge.socket" --pid-file="$DIR/pid/munged.pid" \
    --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/munged.seed" --num-threads=2 2>>"$DIR/log/munged.err"
until_true munged munge -n -S "$DIR/munge/munge.socket"
slurmctld
until_true slurmctld scontrol ping
slurmd -N lab1
until_true "the node" bash -c '[ "$(sinfo -h -N -p main -o %t)" = idle ]'
