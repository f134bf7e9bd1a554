#!/usr/bin/env bash
# Starts a real SLURM on this machine for tests: two nodes of 16 pretended CPUs and 8 pretended GPUs each, no systemd.
# SLURM_LAB_DIR is its folder. With SLURM_LAB_ACCOUNTING=1 it keeps accounts (slurmdbd) and kills jobs over their memory.
# As root. Ends with 3 where it cannot be had: no package, or another SLURM's files. One at a time: lab.py sees to that.
set -euo pipefail
DIR=$SLURM_LAB_DIR ACCOUNTING=${SLURM_LAB_ACCOUNTING:-0}
MARK='# written by tests/slurm/start.sh'
ETC=/etc/slurm # the plugin's job steps drop SLURM_CONF, so the files must stand here
SOCKET=$DIR/munge/munge.socket
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
unset SLURM_CONF
umask 022
impossible() { echo "$*" >&2; exit 3; }

mkdir -p "$DIR"/{munge,ctld,log,pid,gpu,spool-lab1,spool-lab2}
chmod 755 "$DIR" "$DIR/munge"
need=()
programs=(munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client)
[ "$ACCOUNTING" = 0 ] || programs+=(slurmdbd:slurmdbd mariadbd:mariadb-server)
for pair in "${programs[@]}"; do
    command -v "${pair%%:*}" >/dev/null || need+=("${pair##*:}")
done
if [ ${#need[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || impossible "no ${need[*]}, and no apt-get to install them"
    { apt-get update && apt-get install -y --no-install-recommends "${need[@]}"; } >"$DIR/log/apt.log" 2>&1 \
        || impossible "apt-get could not install ${need[*]}: $(tail -1 "$DIR/log/apt.log")"
fi
mkdir -p $ETC
for file in slurm.conf gres.conf slurmdbd.conf; do
    [ ! -e $ETC/$file ] || head -1 $ETC/$file | grep -qF "$MARK" || impossible "$ETC/$file belongs to another SLURM"
done
if [ -e $ETC/slurm.conf ]; then # a test run that was killed left it; nobody else is at work
    SLURM_LAB_DIR=$(sed -n 's/^StateSaveLocation=\(.*\)\/ctld$/\1/p' $ETC/slurm.conf) "$(dirname "$0")/stop.sh"
fi

head -c 1024 /dev/urandom >"$DIR/munge/munge.key"
chmod 600 "$DIR/munge/munge.key"
for gpu in {0..7}; do # SLURM counts device files, and sets CUDA_VISIBLE_DEVICES by their numbers
    mknod "$DIR/gpu/gpu$gpu" c 1 3 2>/dev/null || : >"$DIR/gpu/gpu$gpu"
done
accounting='AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none'
[ "$ACCOUNTING" = 0 ] || accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass=$SOCKET
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill"
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
AuthInfo=socket=$SOCKET,cred_expire=10
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$DIR/ctld
SlurmdSpoolDir=$DIR/spool-%n
SlurmctldPidFile=$DIR/pid/slurmctld.pid
SlurmdPidFile=$DIR/pid/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
$accounting
NodeName=lab[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[16821-16822] CPUs=16 RealMemory=64000 Gres=gpu:a100:8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
CONF
cat >$ETC/gres.conf <<CONF
$MARK
AutoDetect=off
Name=gpu Type=a100 File=$DIR/gpu/gpu[0-7]
CONF

until_true() { # until_true WHAT COMMAND...
    local what=$1 end=$((SECONDS + 60))
    shift
    until timeout 5 "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "$what did not come up: $(grep -hE 'fatal|error' "$DIR"/log/*.log | tail -3)" >&2; exit 1; }
        sleep 0.1
    done
}
munged --force --key-file="$DIR/munge/munge.key" --socket="$SOCKET" --pid-file="$DIR/pid/munged.pid" \
    --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/munged.seed" --num-threads=2 2>>"$DIR/log/munged.err"
until_true munged munge -n -S "$SOCKET"

if [ "$ACCOUNTING" != 0 ]; then
    sql=(mariadb --no-defaults --socket="$DIR/mariadb.socket" --user=root)
    mariadb-install-db --no-defaults --user=root --datadir="$DIR/mariadb" --skip-test-db \
        --auth-root-authentication-method=normal >"$DIR/log/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user=root --datadir="$DIR/mariadb" --socket="$DIR/mariadb.socket" \
        --pid-file="$DIR/pid/mariadbd.pid" --bind-address=127.0.0.1 --port=16806 --skip-name-resolve \
        --innodb-buffer-pool-size=64M --innodb-log-file-size=64M --innodb-lock-wait-timeout=900 \
        --performance-schema=OFF >"$DIR/log/mariadbd.log" 2>&1 </dev/null &
    until_true mariadbd "${sql[@]}" -e 'select 1'
    "${sql[@]}" -e "create database slurm_acct_db; create user 'slurm'@'127.0.0.1' identified by 'slurm';
        grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';"
    cat >$ETC/slurmdbd.conf <<CONF
$MARK
AuthType=auth/munge
AuthInfo=socket=$SOCKET
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
CommunicationParameters=NoInAddrAny
SlurmUser=root
LogFile=$DIR/log/slurmdbd.log
PidFile=$DIR/pid/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=16806
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
    chmod 600 $ETC/slurmdbd.conf
    slurmdbd
    until_true slurmdbd sacctmgr -n list cluster
    sacctmgr -i add cluster lab >/dev/null
fi
slurmctld
until_true slurmctld scontrol ping
slurmd -N lab1
slurmd -N lab2
until_true "a node" bash -c '[ "$(sinfo -h -N -p main -o %t | sort | uniq -c | xargs)" = "2 idle" ]'
