#!/usr/bin/env bash
# A Slurm of one node on this machine, for `make test-slurm`. Debian or Ubuntu, as root.
#   tools/local_slurm.sh up      use a running Slurm; else install it if needed, start it, wait until it is ready
#   tools/local_slurm.sh down    stop what `up` started
set -euo pipefail

CONF=/etc/slurm/slurm.conf
MARK="# written by mammorisk's tools/local_slurm.sh"
STARTED=/run/mammorisk-local-slurm # while daemons of ours run

answers() { sinfo --noheader --states=idle,mixed,allocated --format=%t 2>/dev/null | grep -q .; }

fail() {
  echo "local_slurm.sh: $*" >&2
  exit 1
}

install() {
  command -v slurmctld >/dev/null && command -v munged >/dev/null && return
  command -v apt-get >/dev/null || fail "no Slurm here, and no apt-get to install it with (packages slurm-wlm, munge)."
  echo "Installing slurm-wlm and munge …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge >/dev/null
}

configure() {
  if [ -e "$CONF" ] && ! grep -qF "$MARK" "$CONF"; then
    [ -e "$STARTED" ] || fail "$CONF is there and not ours: start that Slurm, or move the file away."
  fi
  local host
  host=$(hostname -s)
  mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /var/log/slurm
  cat >"$CONF" <<C
$MARK
ClusterName=mammorisk
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=10
MailProg=/bin/true
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
$(slurmd -C | grep '^NodeName=') NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
C
}

start_munge() {
  munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return
  [ -e /etc/munge/munge.key ] || head -c 1024 /dev/urandom >/etc/munge/munge.key
  mkdir -p /run/munge
  chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
  chmod 400 /etc/munge/munge.key
  runuser -u munge -- "$(command -v munged)"
  echo munge >>"$STARTED"
}

up() {
  if answers; then
    echo "A Slurm answers already: $(sinfo --version)."
    return
  fi
  [ "$(id -u)" = 0 ] || fail "no Slurm answers here; only root can install and start one."
  install
  configure
  start_munge
  slurmctld
  slurmd
  echo slurm >>"$STARTED"
  for _ in $(seq 30); do
    if answers; then
      echo "Started $(sinfo --version) with one node of $(nproc) processors."
      return
    fi
    sleep 1
  done
  fail "Slurm does not come up; see /var/log/slurm."
}

stop() { # the daemon of a pid file
  [ ! -s "$1" ] || kill "$(cat "$1")" 2>/dev/null || true
}

down() {
  [ -e "$STARTED" ] || return 0
  if grep -q slurm "$STARTED"; then
    stop /run/slurmd.pid
    stop /run/slurmctld.pid
  fi
  if grep -q munge "$STARTED"; then stop /run/munge/munged.pid; fi
  rm -f "$STARTED" "$CONF"
}

case "${1:-}" in
up) up ;;
down) down ;;
*)
  sed -n '2,4s/^# *//p' "$0" >&2
  exit 2
  ;;
esac
