#!/bin/sh
# Makes the stubs: of the contract, and of google.rpc for the details of errors.
set -eu
cd "$(dirname "$0")/.."

rm -rf src/gen
mkdir -p src/gen
protoc -I../../proto -I../node/proto --plugin=node_modules/.bin/protoc-gen-es \
  --es_out=src/gen --es_opt=target=js,import_extension=js \
  ../../proto/tokenwire/v1/*.proto ../node/proto/google/rpc/*.proto
