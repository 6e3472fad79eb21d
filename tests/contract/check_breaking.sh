#!/usr/bin/env bash
# Checks that the contract breaks no user of the last release; before the first release, none of the main branch.
set -euo pipefail
cd "$(dirname "$0")/../.."

released() {
  git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null && return
  local branch
  for branch in origin/main main; do
    git rev-parse --verify --quiet "$branch^{commit}" >/dev/null && echo "$branch" && return
  done
}

if ! against=$(released); then
  echo 'buf breaking: skipped, there is neither a release tag nor a main branch to compare with'
elif ! git cat-file -e "$against:proto/buf.yaml" 2>/dev/null; then
  echo "buf breaking: skipped, $against has no contract"
else
  # From an archive, for buf cannot read a shallow clone.
  before=$(mktemp -d)
  trap 'rm -rf "$before"' EXIT
  git archive "$against" proto | tar -x -C "$before"
  "${BUF:-buf}" breaking proto --against "$before/proto"
  echo "buf breaking: no breaking change since $against"
fi
