# common.mk: from raw data to a tested model, each stage run only when something it depends on has changed.
#
# A pipeline is a folder with a Makefile of a few variables and this file:
#
#     DATA  := questions.jsonl
#     MODEL := org/name
#     include ../common.mk
#
# `make` runs what is needed, `make explain` says what and why, `make help` lists targets and variables. A variable can be
# set for one call, as in `make LEARNING_RATE=1e-4`. A pipeline that needs another one's model runs that one first, by a
# make of its own: see quickstart/Makefile.
#
# How it decides. fingerprint.sh keeps for each stage what it last succeeded with: its variables, the content of each file that
# it reads and the version of the programs (release and contract, not the build). A stage runs where that differs, where a
# file that it made is missing, or where it did not finish. The stages after it are looked at again when their turn comes and
# run if what they read has new content; times of files decide nothing. A rule makes manifest.json, which a stage writes
# last; the files beside it follow from it without a recipe. Nothing is written while make reads this file, except remembered
# hashes, and under -n not even those.

ifeq ($(filter grouped-target,$(.FEATURES)),)
  $(error this is make $(MAKE_VERSION): pipelines need GNU make 4.3 or newer, on macOS `brew install make` and `gmake`)
endif
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

engine := $(dir $(lastword $(MAKEFILE_LIST)))

# What goes in and where it goes.
DATA            ?=           ## files, globs or folders to learn from
MODEL           ?=           ## base model: a Hugging Face folder or a hub name, org/name@revision
RUN             ?= run       ## folder of everything that is made
STAGES          ?= ingest tokenize train evaluate test  ## stages to run, in this order
TEST_DATA       ?=           ## files to test on; empty: the test share of DATA
SEED            ?= 42        ## seeds every random choice

# ingest: raw data to examples.
FORMAT          ?= auto      ## alpaca, sharegpt, messages, prompt-completion, text, preference
MAP             ?=           ## columns by name: prompt=question,completion=answer
SPLIT           ?= train=0.9,validation=0.05,test=0.05  ## share of each split
DEDUP           ?= exact     ## off, exact, near
INGEST_FLAGS    ?=           ## more flags of retune-ingest

# tokenize: examples to tokens.
MAX_LENGTH      ?=           ## tokens in a row; empty: as many as the model takes
OVERFLOW        ?= error     ## what to do with longer ones: error, truncate, split, drop
PACK            ?= best-fit  ## off, best-fit
TRAIN_ON        ?=           ## what is learnt: completion, assistant, last, all; empty: by the kind of example
NEW_TOKENIZER   ?=           ## train a tokenizer on the data: bpe:SIZE
TOKENIZE_FLAGS  ?=           ## more flags of retune-tokenize

# train: tokens to a model.
OBJECTIVE       ?=           ## sft, or from preference pairs dpo, orpo; empty: sft
BETA            ?=           ## of dpo and orpo; empty: 0.1
METHOD          ?= $(if $(call given,INIT_CONFIG),full,lora)  ## lora, full, qlora, dora
INIT_CONFIG     ?=           ## a config.json: start from random weights instead of MODEL
LEARNING_RATE   ?=           ## peak learning rate; empty: 2e-4 for adapters, less for a whole model
EPOCHS          ?= 3         ## passes over the data
MAX_STEPS       ?=           ## stop after so many steps instead
BATCH_SIZE      ?= 8         ## rows in a step
LORA_R          ?=           ## rank of the adapter; empty: 16
LORA_ALPHA      ?=           ## its alpha: the adapters are scaled by alpha / LORA_R; empty: 32
TRAIN_FLAGS     ?=           ## more flags of retune-train

# evaluate and test: the tuned model beside the base.
BASELINE        ?= yes       ## whether the base is measured and tested too: yes, no
EVALUATE_FLAGS  ?=           ## more flags of retune-evaluate
METRICS         ?= exact_match,f1,rouge  ## what test measures
GATE            ?=           ## what must hold, in words such as exact_match>=0.8
MAX_NEW_TOKENS  ?= 128       ## longest answer
TEST_FLAGS      ?=           ## more flags of retune-test

# Where the programs are.
built := $(if $(filter /%,$(CARGO_TARGET_DIR)),,$(engine)../)$(or $(CARGO_TARGET_DIR),target)/release
BIN             ?= $(built)  ## folder of the programs

# Values as they are used: blanks around them, which a comment behind a value leaves, do not count.
run    := $(or $(strip $(RUN)),run)
bin    := $(strip $(BIN))
state  := $(run)/.make
quote   = '$(subst ','\'',$1)'
given   = $(strip $($1))
lora   := $(filter-out full,$(call given,METHOD))

# Which variable becomes which flag of which stage. A stage's fingerprint is made of the same table.
ingest_options   := --format=FORMAT --map=MAP --split=SPLIT --dedup=DEDUP --seed=SEED
holdout_options  := --format=FORMAT --map=MAP --dedup=DEDUP --seed=SEED
tokenize_options := $(if $(call given,NEW_TOKENIZER),--new-tokenizer=NEW_TOKENIZER,--model=MODEL) \
                    --max-length=MAX_LENGTH --overflow=OVERFLOW --pack=PACK --train-on=TRAIN_ON
train_options    := $(if $(call given,INIT_CONFIG),--init-config=INIT_CONFIG,--model=MODEL) --objective=OBJECTIVE --beta=BETA \
                    --method=METHOD --learning-rate=LEARNING_RATE $(if $(call given,MAX_STEPS),--max-steps=MAX_STEPS,--epochs=EPOCHS) \
                    --batch-size=BATCH_SIZE $(if $(lora),--lora-r=LORA_R --lora-alpha=LORA_ALPHA) --seed=SEED
evaluate_options := $(if $(lora),--model=MODEL)
test_options     := $(evaluate_options) --metrics=METRICS --max-new-tokens=MAX_NEW_TOKENS --seed=SEED

# What a program's messages say of flags they say of variables too, from this table in their environment.
said := retune-ingest $(ingest_options) *=INGEST_FLAGS \
        retune-tokenize $(tokenize_options) --model=MODEL --new-tokenizer=NEW_TOKENIZER *=TOKENIZE_FLAGS \
        retune-train $(train_options) --model=MODEL --init-config=INIT_CONFIG --epochs=EPOCHS --max-steps=MAX_STEPS \
        --lora-r=LORA_R --lora-alpha=LORA_ALPHA *=TRAIN_FLAGS \
        retune-evaluate $(evaluate_options) --model=MODEL --baseline=BASELINE *=EVALUATE_FLAGS \
        retune-test $(test_options) --model=MODEL --baseline=BASELINE --gate=GATE *=TEST_FLAGS

variables = $(foreach pair,$($1_options),$(lastword $(subst =, ,$(pair)))) $2
flag      = $(if $(call given,$(lastword $1)),$(firstword $1) $(call quote,$(call given,$(lastword $1))))
flags     = $(foreach pair,$($1_options),$(call flag,$(subst =, ,$(pair))))

# Where each stage puts what it makes, and what it reads of what the stages before it made.
ingest_folder   := $(run)/data
holdout_folder  := $(run)/held-out
tokenize_folder := $(run)/tokens
train_folder    := $(run)/model
evaluate_folder := $(run)/eval
test_folder     := $(run)/test
tested          := $(if $(call given,TEST_DATA),$(holdout_folder),$(ingest_folder))/test.parquet
model_reads     := $(addprefix $(train_folder)/,*.json *.jinja *.safetensors metrics.parquet example_losses.parquet)
tokenize_reads  := $(addprefix $(ingest_folder)/,train.parquet validation.parquet test.parquet)
train_reads     := $(addprefix $(tokenize_folder)/,train.parquet validation.parquet *.json *.jinja)
evaluate_reads  := $(addprefix $(tokenize_folder)/,train.parquet validation.parquet test.parquet rejects.parquet) $(model_reads) \
                   $(addprefix $(ingest_folder)/,validation.parquet rejects.parquet)
test_reads      := $(tested) $(ingest_folder)/train.parquet $(model_reads)

# Which stages the goals of this call need.
chain_ingest   := ingest
chain_tokenize := $(chain_ingest) tokenize
chain_train    := $(chain_tokenize) train
chain_evaluate := $(chain_train) evaluate
chain_test     := $(chain_train) $(if $(call given,TEST_DATA),holdout) test
every_stage    := ingest tokenize train evaluate holdout test
chain_all      := $(foreach stage,$(STAGES),$(chain_$(stage)))
goals  := $(filter-out help variables clean,$(or $(MAKECMDGOALS),$(.DEFAULT_GOAL)))
wanted := $(filter $(foreach goal,$(goals),$(or $(chain_$(goal)),$(chain_all))),$(every_stage))

ifneq ($(filter-out $(every_stage),$(STAGES)),)
  $(error STAGES: $(firstword $(filter-out $(every_stage),$(STAGES))) is not a stage: ingest tokenize train evaluate test are)
endif
ifneq ($(filter ingest,$(wanted)),)
  ifeq ($(call given,DATA),)
    $(error DATA is not set: name the files to learn from, as in `make DATA=questions.jsonl MODEL=org/name`)
  endif
endif
ifneq ($(filter tokenize train,$(wanted)),)
  ifeq ($(call given,MODEL)$(and $(call given,NEW_TOKENIZER),$(call given,INIT_CONFIG)),)
    $(error MODEL is not set: name a Hugging Face folder or a hub name, as in `make DATA=questions.jsonl MODEL=org/name`)
  endif
endif
# Make takes a blank for the end of a path, here and in the rules it reads.
unescaped = $(subst \ , ,$(call given,$1))
spaced = $(if $(word 2,$(call given,$1)),$(if $2$(shell [ ! -e $(call quote,$(unescaped)) ] || echo yes),\
  $(error $1: the path "$(unescaped)" has a blank in it, which make cannot take: rename it, or link to it under another name, \
  as in `ln -s $(call quote,$(unescaped)) $(lastword $(subst /, ,$(subst $() ,-,$(unescaped))))`)))
$(call spaced,DATA,)
$(call spaced,TEST_DATA,)
$(call spaced,MODEL,always)
$(call spaced,RUN,always)
$(call spaced,INIT_CONFIG,always)
$(call spaced,BIN,always)
# A misspelt variable on the command line would otherwise do nothing.
typed := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq ($(typed),)
  unknown := $(filter-out MAKE% CARGO% $(shell grep -ohE '[A-Za-z_][A-Za-z0-9_]*' $(MAKEFILE_LIST) | sort -u),$(typed))
  ifneq ($(unknown),)
    $(error $(firstword $(unknown)) is not a variable of this pipeline: `make help` lists them)
  endif
endif

# What fingerprint.sh is asked about each stage: $(call about,STAGE,VARIABLES).
each  = $(foreach word,$2,$(call quote,$1:$(word)))
about = stage:$1 $(call quote,version:$(version)) $(foreach name,$2,$(call quote,set:$(name)=$(call given,$(name)))) \
        $(call each,makes,$($1_folder)) $(call each,reads,$($1_reads))
about_ingest   = $(call about,ingest,$(call variables,ingest,DATA INGEST_FLAGS)) $(call each,data,$(DATA)) \
                 $(call each,option,$(INGEST_FLAGS))
about_tokenize = $(call about,tokenize,$(call variables,tokenize,TOKENIZE_FLAGS)) after:ingest \
                 $(call each,tokenizer,$(MODEL)) $(call each,option,$(TOKENIZE_FLAGS))
about_train    = $(call about,train,$(call variables,train,TRAIN_FLAGS)) after:tokenize \
                 $(if $(call given,INIT_CONFIG),,$(call each,model,$(MODEL))) $(call each,option,$(INIT_CONFIG) $(TRAIN_FLAGS))
about_evaluate = $(call about,evaluate,$(call variables,evaluate,BASELINE EVALUATE_FLAGS)) after:tokenize after:train \
                 $(call each,model,$(MODEL)) $(call each,option,$(EVALUATE_FLAGS))
about_holdout  = $(call about,holdout,$(call variables,holdout,TEST_DATA INGEST_FLAGS)) $(call each,data,$(TEST_DATA)) \
                 $(call each,option,$(INGEST_FLAGS))
about_test     = $(call about,test,$(call variables,test,BASELINE GATE TEST_FLAGS)) after:train \
                 $(if $(call given,TEST_DATA),after:holdout,after:ingest) \
                 $(call each,model,$(MODEL)) $(call each,option,$(TEST_FLAGS))
request     = $(foreach stage,$(wanted),$(about_$(stage)))
fingerprint = $(engine)fingerprint.sh

# The stages to look at, because something they depend on changed or may change in this call. Under -n and -q nothing is
# written, and the commands are shown without what surrounds them.
short_flags := $(filter-out --%,$(firstword -$(MAKEFLAGS)))
dry := $(findstring n,$(short_flags))$(findstring q,$(short_flags))
ifneq ($(wanted),)
  version := $(shell $(bin)/retune-ingest --version 2>/dev/null)
  planned := $(shell $(fingerprint) $(if $(dry)$(filter explain,$(goals)),preview,plan) $(state) $(request))
  ifneq ($(.SHELLSTATUS),0)
    $(error $(planned))
  endif
endif
forced = $(if $(filter $1,$(planned)),FORCE)

# The recipe of a stage: $(call stage,NAME,COMMAND).
define stage
$(if $(dry),$2,@if ! $(fingerprint) settled $(state) $1 $(about_$1); then \
  echo $(call quote,$2); export RETUNE_MAKE_VARIABLES=$(call quote,$(said)); $2; $(fingerprint) finish $(state) $1 $($1_folder); fi)
endef

.PHONY: all ingest tokenize train evaluate holdout test explain help variables clean FORCE
all: $(STAGES) ## run every stage that is not up to date
	$(if $(dry),,@echo "$(run) is up to date")
ingest: $(ingest_folder)/manifest.json ## raw data to examples
tokenize: $(tokenize_folder)/manifest.json ## examples to tokens
train: $(train_folder)/manifest.json ## tokens to a model
evaluate: $(evaluate_folder)/manifest.json ## loss of the tuned model beside the base
holdout: $(holdout_folder)/manifest.json ## TEST_DATA to examples
ingest tokenize train evaluate holdout:
	$(if $(dry),,@:)
test: $(test_folder)/manifest.json ## answers on held-out rows; fails where a gate is missed
	$(if $(dry),,@! grep -qE '"held": *false' $(test_folder)/scorecard.json || \
	  { echo "a gate was missed: see $(test_folder)/report.html" >&2; exit 3; })

# The files beside a manifest come with it: one grouped rule for each stage, and the next stage lists all of them.
$(foreach stage,$(every_stage),$(eval $(stage)_files := $(filter-out %/manifest.json,$(wildcard $($(stage)_folder)/*.*))))
$(foreach stage,$(every_stage),$(if $($(stage)_files),$(eval $($(stage)_files) &: $($(stage)_folder)/manifest.json ;)))

$(ingest_folder)/manifest.json: $(call forced,ingest) | $(ingest_folder)/ $(bin)/retune-ingest
	$(call stage,ingest,$(bin)/retune-ingest $(foreach data,$(DATA),$(call quote,$(data))) --out $(ingest_folder) \
	  $(call flags,ingest) $(INGEST_FLAGS))

$(holdout_folder)/manifest.json: $(call forced,holdout) | $(holdout_folder)/ $(bin)/retune-ingest
	$(call stage,holdout,$(bin)/retune-ingest $(foreach data,$(TEST_DATA),$(call quote,$(data))) --as test \
	  --out $(holdout_folder) $(call flags,holdout) $(INGEST_FLAGS))

$(tokenize_folder)/manifest.json: $(call forced,tokenize) \
    | $(ingest_folder)/manifest.json $(ingest_files) $(tokenize_folder)/ $(bin)/retune-tokenize
	$(call stage,tokenize,$(bin)/retune-tokenize $(ingest_folder) --out $(tokenize_folder) $(call flags,tokenize) \
	  $(TOKENIZE_FLAGS))

# A training that was interrupted goes on from its last checkpoint, provided that nothing it depends on changed since;
# otherwise it starts over.
resume = $(shell $(fingerprint) resume $(state) train $(about_train))
$(train_folder)/manifest.json: $(call forced,train) \
    | $(tokenize_folder)/manifest.json $(tokenize_files) $(train_folder)/ $(bin)/retune-train
	$(call stage,train,$(bin)/retune-train $(tokenize_folder) --out $(train_folder) $(call flags,train) $(TRAIN_FLAGS) \
	  $(resume))

# An adapter's base is loaded with it; a whole model's base is named, and random weights are no base.
base  := $(if $(call given,INIT_CONFIG),,$(call given,MODEL))
tuned := $(if $(lora),--adapter,--model) $(train_folder) \
         $(if $(filter yes,$(call given,BASELINE)),$(if $(lora),--baseline,$(if $(base),--baseline=$(base))))
$(evaluate_folder)/manifest.json: $(call forced,evaluate) \
    | $(train_folder)/manifest.json $(train_files) $(evaluate_folder)/ $(bin)/retune-evaluate
	$(call stage,evaluate,$(bin)/retune-evaluate $(tokenize_folder) $(tuned) --out $(evaluate_folder) \
	  --data $(ingest_folder) $(call flags,evaluate) \
	  $(EVALUATE_FLAGS))

# Exit code 3, a missed gate, is a result like any other; the target test above fails on it, in every call of make.
gates = $(foreach gate,$(GATE),--gate $(call quote,$(gate)))
$(test_folder)/manifest.json: $(call forced,test) \
    | $(if $(call given,TEST_DATA),$(holdout_folder)/manifest.json $(holdout_files)) \
      $(train_folder)/manifest.json $(train_files) $(test_folder)/ $(bin)/retune-test
	$(call stage,test,$(bin)/retune-test $(tested) $(tuned) --out $(test_folder) \
	  --train $(ingest_folder) $(call flags,test) $(gates) $(TEST_FLAGS) \
	  || [ $$? -eq 3 ])

$(run)/%/:
	@mkdir -p $@

$(bin)/retune-%:
	@echo "$@ is not there: build it with \`make build\`, or set BIN to the folder of the programs" >&2; exit 2

explain: ## why each stage would run, or that it is up to date
	@echo "$(run)"; $(fingerprint) explain $(state) $(request)

clean: ## remove what this pipeline made
	@$(fingerprint) clean $(state) $(foreach stage,$(every_stage),$(stage) $($(stage)_folder))

settings = $(shell sed -n 's/^\([A-Z_]*\) *?=.*##.*/\1/p' $(engine)common.mk)
define describe_settings
/^# .*\.$$/ { title = substr($$0, 3); next }
!NF { title = "" }
/^[A-Z_]+ *\?=.*##/ {
  text = $$0; sub(/.*## */, "", text)
  value = $$0; sub(/[^=]*= */, "", value); sub(/ *##.*/, "", value)
  now = ENVIRON[$$1]
  if (value ~ /^\$$/) value = now
  if (title) print "\n" title
  printf "  %-15s %s (default: %s%s)\n", $$1, text, value == "" ? "empty" : value, now == value ? "" : "; now: " now
  title = ""
}
endef
export describe_settings
help: ## list targets and variables
	@awk -F ' *## *' '/^[a-z]+:.*##/ { sub(/:.*/, "", $$1); printf "  make %-9s %s\n", $$1, $$2 }' $(engine)common.mk
	@$(describe)
variables:
	@$(describe)
describe = $(foreach name,$(settings),$(name)=$(call quote,$(call given,$(name)))) awk "$$describe_settings" $(engine)common.mk
