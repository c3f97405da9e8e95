#!/usr/bin/env bash
# A real SLURM of one node on loopback, to try sweeps on: local-cluster.sh start | stop | status
# (configuration prints what start would write)
#
# Needs Debian's slurm-wlm and munge (start installs them where they are missing and this is root)
# and root, as slurmd starts jobs. State and logs lie in /var/lib/spa-slurm and go with stop.
# Partitions: cpu and gpu (which has none: it is there to try presets on).
set -euo pipefail

STATE=/var/lib/spa-slurm
CONF=$STATE/slurm.conf
HOST=$(hostname -s)

say() { echo "local-cluster: $*" >&2; }

die() {
    say "error: $*"
    exit 1
}

alive() { # no zombies, which a container without an init process keeps
    pgrep --exact --runstates R,S,D "$1" > /dev/null
}

install_missing() {
    if command -v slurmctld > /dev/null && command -v munged > /dev/null; then
        return
    fi
    say "installing slurm-wlm and munge"
    apt-get update -q > /dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge > /dev/null
}

start_munge() {
    if alive munged; then
        return
    fi
    if [ ! -s /etc/munge/munge.key ]; then
        mungekey --create --force
        chown munge:munge /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
    fi
    mkdir -p /run/munge /var/log/munge
    chown munge:munge /run/munge /var/log/munge
    runuser -u munge -- munged
    mkdir -p "$STATE"
    touch "$STATE/started-munged"
}

configuration() {
    local cpus memory
    # nproc would take what programs are told to use for what there is.
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
    # task/none and linuxproc: no cgroups, which containers seldom have.
    cat << EOF
ClusterName=spa-local
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/d
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=1
ReturnToService=2
KillWait=15
MessageTimeout=60
MpiDefault=none
JobRequeue=1
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=cpu Nodes=$HOST Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=gpu Nodes=$HOST MaxTime=INFINITE State=UP
EOF
}

write_configuration() {
    mkdir -p "$STATE/ctld" "$STATE/d" /etc/slurm
    configuration > "$CONF"
    if [ -e /etc/slurm/slurm.conf ] && [ "$(readlink -f /etc/slurm/slurm.conf)" != "$CONF" ]; then
        die "/etc/slurm/slurm.conf is another cluster's"
    fi
    ln -sf "$CONF" /etc/slurm/slurm.conf
}

ready() {
    [ "$(timeout 5 sinfo -h -p cpu -o %T 2> /dev/null | head -1)" = idle ]
}

start() {
    [ "$(id -u)" = 0 ] || die "slurmd needs root"
    if [ -e "$CONF" ] && ready; then
        say "is up already"
        return
    fi
    install_missing
    start_munge
    write_configuration
    alive slurmctld || slurmctld
    alive slurmd || slurmd
    for _ in $(seq 60); do
        if ready; then
            say "up: $(sinfo -h -p cpu -o '%D node, %c processors')"
            return
        fi
        timeout 5 scontrol update nodename="$HOST" state=resume 2> /dev/null || true
        sleep 0.5
    done
    tail -5 "$STATE"/*.log >&2
    die "did not come up in 30 s"
}

stop() {
    if [ -e "$CONF" ]; then
        local ours=no
        [ ! -e "$STATE/started-munged" ] || ours=yes
        timeout 10 scancel --user="$(id -un)" 2> /dev/null || true
        pkill -x slurmd || true
        pkill -x slurmctld || true
        for try in $(seq 80); do
            if ! alive slurmd && ! alive slurmctld; then
                break
            fi
            if [ "$try" = 60 ]; then
                pkill -KILL -x slurmd || true
                pkill -KILL -x slurmctld || true
            fi
            sleep 0.25
        done
        rm -rf "$STATE"
        rm -f /etc/slurm/slurm.conf
        [ $ours = no ] || pkill -x munged || true
    fi
    say "stopped"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) sinfo && squeue ;;
    configuration) configuration ;;
    *) die "usage: $0 start | stop | status | configuration" ;;
esac
