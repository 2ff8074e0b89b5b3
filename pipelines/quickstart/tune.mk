# The quickstart's tuning: LoRA on letters of customers and the shop's answers, tested on letters held out.
#
# Values behind `?=` are what `make NAME=VALUE` changes; with DATA of your own the held-out letters are not used.
DATA           ?= support.jsonl
ifeq ($(strip $(DATA)),support.jsonl)
TEST_DATA      ?= support-test.jsonl
SPLIT          ?= train=0.95,validation=0.05
GATE           ?= exact_match>=0.9
endif
LEARNING_RATE  ?= 3e-3
EPOCHS         ?= 2
BATCH_SIZE     ?= 8
MAX_LENGTH     ?= 256
PACK           ?= off
MAX_NEW_TOKENS ?= 64
include ../common.mk
