# retune: fine-tune a language model with make.
#
#   make                              build everything, then run the quickstart
#   make DATA=my.jsonl MODEL=folder   build everything, then tune your model on your data; everything made is in run/own
#   make DATA=my.jsonl                the quickstart with your data; likewise with your MODEL
#   make explain, make help           what would run and why; every target
#
# CARGO_TARGET_DIR says where things are built, as for cargo itself.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:

# Both given: a pipeline of your own. One or none: the quickstart, with that one in place of its own.
own := $(and $(strip $(DATA)),$(strip $(MODEL)))
.DEFAULT_GOAL := $(if $(own),tune,quickstart)
# The quickstart runs in its folder, so that a path typed here must not be relative; a hub name stays as it is.
whole    = $(if $(filter MODEL,$1),$(if $(wildcard $($1)),$(abspath $($1)),$($1)),$(abspath $($1)))
absolute = $(if $(strip $($1)),$1='$(whole)')
pipeline = $(if $(own),-f pipelines/common.mk $(if $(RUN),,RUN=run/own),\
             -C pipelines/quickstart $(foreach name,DATA MODEL TEST_DATA RUN,$(call absolute,$(name))))

# Make takes a blank for the end of a path. DATA and TEST_DATA may hold several, so that there only an existing file gives it away.
quote  = '$(subst ','\'',$1)'
spaced = $(if $(word 2,$($1)),$(if $2$(shell [ ! -e $(call quote,$(subst \ , ,$(strip $($1)))) ] || echo yes),$(error $1: the path \
  "$($1)" has a blank in it, which make cannot take: rename it, or link to it under another name with ln -s)))
$(foreach name,DATA TEST_DATA,$(call spaced,$(name),))$(foreach name,MODEL RUN CARGO_TARGET_DIR,$(call spaced,$(name),always))

CARGO    ?= cargo
build    := $(or $(CARGO_TARGET_DIR),target)/release
stages   := ingest tokenize train evaluate test export generate inspect
programs := $(stages:%=$(build)/retune-%)
# Everything that a program is built from.
sources  := Cargo.toml Cargo.lock $(shell find bins shared -type f -not -path '*/tests/*' -not -name '.*')

without_model = MODEL is not set: the small base of the quickstart is made and tuned on $(DATA), with the settings of the \
quickstart. make DATA=… MODEL=folder tunes a model of yours
without_data = DATA is not set: $(MODEL) is tuned on the letters of the quickstart, with its settings. make DATA=… MODEL=… \
takes data of yours
.PHONY: quickstart
quickstart: build ## pre-train a small base, tune, evaluate and test it, on data of our own (the default)
	$(if $(strip $(DATA)),@echo $(call quote,$(without_model)))
	$(if $(strip $(MODEL)),@echo $(call quote,$(without_data)))
	@$(MAKE) $(pipeline)

.PHONY: tune
tune: build ## tune your model on your data: make tune DATA=my.jsonl MODEL=folder (needs no target when both are given)
	@$(MAKE) -f pipelines/common.mk $(if $(RUN),,RUN=run/own)

.PHONY: explain
explain: ## why each stage of the quickstart, or of DATA and MODEL, would run
	@$(MAKE) $(pipeline) explain

.PHONY: build
build: $(programs) ## build the programs
# Cargo decides what to compile; make only asks it when a source is newer, which keeps a second `make` quick.
$(programs) &: $(sources)
	$(CARGO) build --release --locked --bins
	@touch -c $(programs)

.PHONY: test
test: ## run every test: with cargo-nextest if it is there, else with cargo test
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace --release --locked --no-fail-fast --status-level slow --final-status-level fail; \
	else \
	  $(CARGO) test --workspace --release --locked --no-fail-fast | tee /dev/stderr | \
	    awk '/^test result:/ { passed += $$4; failed += $$6 } END { print passed " tests passed, " failed " failed" }'; \
	fi

.PHONY: lint
# The second clippy run is for the programs and libraries alone: only tests write files on their own (clippy.toml).
lint: ## formatting, clippy, rustdoc, and cargo deny if it is there
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --release --locked --quiet -- -D warnings
	$(CARGO) clippy --workspace --release --locked --quiet -- -D warnings -D clippy::disallowed_methods
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --release --locked --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --all-features check; fi
	@echo "lint: nothing to complain about"

.PHONY: bench
bench: ## measure training and decoding on this machine: speed, share of its peak, memory; adds to benchmarks.jsonl
	$(CARGO) build --release --locked --quiet --workspace --examples
	@folder=$${CARGO_TARGET_DIR:-target}/release/examples; $$folder/bench benchmarks.jsonl $(WORK) && $$folder/decode benchmarks.jsonl $(WORK)

.PHONY: docs
docs: ## the libraries' documentation, as HTML
	$(CARGO) doc --workspace --no-deps --release --locked
	@echo "open $(or $(CARGO_TARGET_DIR),target)/doc/artifact/index.html"

.PHONY: clean
clean: ## remove what the pipelines made (cargo clean removes what was built)
	rm -rf run

.PHONY: help
help: ## this list
	@awk -F ' *## *' '/^[a-z]+:.*##/ { sub(/:.*/, "", $$1); printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; echo "Variables, as in make DATA=my.jsonl MODEL=folder LEARNING_RATE=1e-4; the quickstart has settings of its own, which"
	@echo "make -C pipelines/quickstart help lists"
	@$(MAKE) -f pipelines/common.mk variables $(if $(RUN),,RUN=run/own)
