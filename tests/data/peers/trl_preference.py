"""Known answers for preference tuning: ten steps of TRL's DPOTrainer and ORPOTrainer on the reference llama.

    python trl_preference.py ARCHITECTURES/llama shared/training/tests/data/preference.json

Each run starts from the same weights (or from lora_init), sees all four pairs in each step, and writes loss, gradient norm
and TRL's own figures per step. Pairs are written as the trainers tokenized them.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, trl 1.16.0, datasets 5.2.0, Python 3.11.
"""
import json
import os
import random
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import peft
import tokenizers
import torch
import transformers
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

folder = sys.argv[1]
torch.set_num_threads(1)
names = ["<pad>", "<s>", "</s>", "<unk>", *(f"t{i}" for i in range(4, 512))]
words = tokenizers.Tokenizer(tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")

random.seed(7)
spell = lambda n: [random.randrange(4, 512) for _ in range(n)]
text = lambda ids: " ".join(f"t{i}" for i in ids)
lengths = [(6, 5, 9), (11, 8, 3), (4, 2, 2), (9, 13, 7)]
pairs = [{"prompt": spell(p), "chosen": spell(c), "rejected": spell(r)} for p, c, r in lengths]
# TRL tokenizes prompt + completion as one text: a space keeps the words apart.
dataset = Dataset.from_list(
    [{"prompt": text(p["prompt"]), "chosen": " " + text(p["chosen"]), "rejected": " " + text(p["rejected"])} for p in pairs]
)
for pair in pairs:
    for side in ("chosen", "rejected"):
        pair[side].append(2)

KEPT = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"]


def run(name, trainer_class, config_class, lora, **settings):
    transformers.set_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if lora:
        model = peft.PeftModel.from_pretrained(model, os.path.join(folder, "lora_init"), is_trainable=True)
    with tempfile.TemporaryDirectory() as out:
        config = config_class(
            output_dir=out, per_device_train_batch_size=4, max_steps=10, learning_rate=1e-2 if lora else 1e-3,
            lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0, logging_steps=1, report_to=[],
            save_strategy="no", bf16=False, use_cpu=True, gradient_checkpointing=False, max_length=64, disable_tqdm=True,
            logging_nan_inf_filter=False, **settings,
        )
        trainer = trainer_class(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
        losses = []
        compute = trainer.compute_loss

        def keep(*arguments, **named):  # the log rounds
            loss = compute(*arguments, **named)
            losses.append((loss[0] if isinstance(loss, tuple) else loss).item())
            return loss

        trainer.compute_loss = keep
        trainer.train()
        kept = trainer.train_dataset
        for pair, row in zip(pairs, kept):
            if "prompt_ids" in row:
                assert (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) == tuple(pair.values()), (row, pair)
            else:
                assert row["chosen_input_ids"] == pair["prompt"] + pair["chosen"], (row, pair)
                assert row["rejected_input_ids"] == pair["prompt"] + pair["rejected"], (row, pair)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    trace = [
        {"loss": loss, "grad_norm": float(entry["grad_norm"]), **{key: float(entry[key]) for key in KEPT}}
        for loss, entry in zip(losses, steps, strict=True)
    ]
    print(name, [round(step["loss"], 4) for step in trace], file=sys.stderr)
    return {"name": name, "lora": lora, "trace": trace}


runs = [
    run("dpo", DPOTrainer, DPOConfig, True, beta=0.1),
    run("dpo", DPOTrainer, DPOConfig, False, beta=0.1),
    run("hinge", DPOTrainer, DPOConfig, True, beta=0.2, loss_type="hinge"),
    run("ipo", DPOTrainer, DPOConfig, True, beta=0.5, loss_type="ipo"),
    run("robust", DPOTrainer, DPOConfig, True, beta=0.1, loss_type="robust", label_smoothing=0.1),
    run("rpo", DPOTrainer, DPOConfig, True, beta=0.1, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5]),
    run("orpo", ORPOTrainer, ORPOConfig, True, beta=0.1),
    run("orpo", ORPOTrainer, ORPOConfig, False, beta=0.1),
]
with open(sys.argv[2], "w") as out:
    out.write(json.dumps({"pairs": pairs, "runs": runs}, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")
