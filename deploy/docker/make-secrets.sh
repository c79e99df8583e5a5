#!/bin/sh
# Makes the secrets that compose.yaml reads, in ./secrets. What is there already stays as it is: run it as often as you
# like. Copy the folder to a safe place: a database cannot be served without its encryption key.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# The folder keeps others on this machine out. The files themselves are readable: the processes in the containers, each
# with a user of its own, see them one by one, without the folder.
chmod 0700 secrets

keep() {
  name=$1
  shift
  [ ! -s "secrets/$name" ] || return 0
  "$@" >"secrets/$name"
  chmod 0444 "secrets/$name"
  echo "made secrets/$name"
}

keep postgres_password openssl rand -hex 24
keep database_url printf 'postgresql://mail_proxy:%s@postgres/mail_proxy\n' "$(cat secrets/postgres_password)"
keep encryption_key openssl rand -base64 32
keep api_token openssl rand -hex 24
keep metrics_token openssl rand -hex 24
keep grafana_password openssl rand -hex 16
