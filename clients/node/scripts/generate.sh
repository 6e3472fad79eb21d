#!/bin/sh
# Makes the stubs: of the contract and of google.rpc for the client, of the conformance protocol for its driver.
set -eu
cd "$(dirname "$0")/.."

options=esModuleInterop=true,importSuffix=.js,outputServices=grpc-js,forceLong=bigint,removeEnumPrefix=true
options=$options,unrecognizedEnum=false,useExactTypes=false,exportCommonSymbols=false,useDate=false
driver=../../tests/clients/driver

generate() {
  folder=$1
  shift
  rm -rf "$folder"
  mkdir -p "$folder"
  protoc -I../../proto -Iproto -I"$driver" --plugin=node_modules/.bin/protoc-gen-ts_proto \
    --ts_proto_out="$folder" --ts_proto_opt="$options" "$@"
}

generate src/gen ../../proto/tokenwire/v1/*.proto proto/google/rpc/*.proto
generate test/gen \
  --ts_proto_opt=Mtokenwire/v1/chat.proto=@tokenwire/client \
  --ts_proto_opt=Mtokenwire/v1/models.proto=@tokenwire/client \
  "$driver"/tokenwire/conformance/*.proto
