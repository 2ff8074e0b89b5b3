# The quickstart's base: a small Llama, pre-trained from random weights on stories of a made-up shop.
#
# Every setting is an `override`, so that what is typed for the tuning, as in `make LEARNING_RATE=1e-3`, leaves the base alone.
override DATA           := base.txt
override TEST_DATA      :=
override FORMAT         := text
override INGEST_FLAGS   := --text-split line
override MAP            :=
override SPLIT          := train=0.97,validation=0.03
override NEW_TOKENIZER  := bpe:896
override MAX_LENGTH     := 256
override OVERFLOW       := error
override PACK           := off
override TRAIN_ON       :=
override INIT_CONFIG    := base-config.json
override METHOD         := full
override LEARNING_RATE  := 4e-3
override EPOCHS         := 2
override MAX_STEPS      :=
override BATCH_SIZE     := 8
override STAGES         := ingest tokenize train
override TOKENIZE_FLAGS :=
override TRAIN_FLAGS    := --warmup-ratio 0.05 --weight-decay 0.1
include ../common.mk
