#!/usr/bin/env bash
# go_stubs.sh check|generate: clients/go/gen is, or becomes, what proto/ generates. Only with the generators that it was
# made with: the first lines of its files name them ("// 	protoc-gen-go v1.28.1").
set -euo pipefail
cd "$(dirname "$0")/../.."

stubs=clients/go/gen
version() { "$1" --version 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+'; }
wanted() { sed -nE "1,/^package/s/^\/\/ *\t$1 +v(.*)$/\1/p" "$stubs/tokenwire/v1/chat.pb.go"; }
generate() { # generate FOLDER
  local options=(--go_out="$1" --go_opt=module=tokenwire.dev/gen --go-grpc_out="$1" --go-grpc_opt=module=tokenwire.dev/gen)
  (cd proto && protoc -I . "${options[@]}" tokenwire/v1/*.proto)
}

for generator in protoc protoc-gen-go; do
  if [[ $(version "$generator") != "$(wanted "$generator")" ]]; then
    echo "$stubs: skipped, $generator $(wanted "$generator") is not installed"
    exit
  fi
done
if [[ $1 == generate ]]; then
  generate "$PWD/$stubs"
else
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  generate "$fresh"
  diff -rq "$fresh" "$stubs" || { echo "$stubs is not what proto/ generates: run make proto" && exit 1; }
  echo "$stubs is what proto/ generates"
fi
