"""What transformers + PEFT reach on the same tokens with the same hyperparameters, for comparison with retune-train.

    python peft_reference.py tokens --model DIR [--lora-r 16 --lora-alpha 32 --learning-rate 1e-3 --epochs 3 --batch-size 8
        --warmup-ratio 0.03 --weight-decay 0 --max-grad-norm 1 --seed 42 --threads 2 --save adapter
        --start adapter --order example_losses.parquet]

`tokens` is a folder written by `retune-tokenize --pack off`: each row of train.parquet and validation.parquet is one
example (input_ids, labels), so the data are equal and only their order and the random initial adapter differ. They too are equal with
`--start`, an adapter folder to start from, and `--order`, the table of a retune run of one epoch whose steps are taken. The loop is
transformers' Trainer; the validation loss is Σ NLL ÷ trained tokens over all validation rows, as retune-evaluate reports it.
Prints one JSON document.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, pyarrow 26.0.1, Python 3.11.
"""
import argparse
import json
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

parser = argparse.ArgumentParser()
parser.add_argument("tokens")
parser.add_argument("--model", required=True)
parser.add_argument("--lora-r", type=int, default=16)
parser.add_argument("--lora-alpha", type=float, default=32)
parser.add_argument("--learning-rate", type=float, default=1e-3)
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--warmup-ratio", type=float, default=0.03)
parser.add_argument("--weight-decay", type=float, default=0.0)
parser.add_argument("--max-grad-norm", type=float, default=1.0)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--start", help="adapter folder to start from")
parser.add_argument("--order", help="example_losses.parquet of the retune run whose order is taken, for one epoch")
parser.add_argument("--save", help="folder for the tuned adapter")
arguments = parser.parse_args()

import math

import peft
import pyarrow.parquet
import torch
import transformers
from torch.nn.functional import cross_entropy

torch.set_num_threads(arguments.threads)
transformers.set_seed(arguments.seed)


def rows(split):
    table = pyarrow.parquet.read_table(os.path.join(arguments.tokens, f"{split}.parquet"), columns=["input_ids", "labels", "position_ids", "examples"])
    found = table.to_pylist()
    for row in found:
        assert row["position_ids"] == list(range(len(row["input_ids"]))), "packed rows: tokenize with --pack off"
    return [{"input_ids": row["input_ids"], "labels": row["labels"], "id": row["examples"][0]["id"]} for row in found]


def collate(batch):
    """Pads on the right; the padding is masked by length, never by id."""
    longest = max(len(row["input_ids"]) for row in batch)
    pad = lambda row, key, value: row[key] + [value] * (longest - len(row[key]))
    return {
        "input_ids": torch.tensor([pad(row, "input_ids", 0) for row in batch]),
        "labels": torch.tensor([pad(row, "labels", -100) for row in batch]),
        "attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in batch]),
    }


@torch.no_grad()
def validation_loss(model, data):
    model.eval()
    total = trained = 0
    for start in range(0, len(data), 16):
        batch = collate(data[start : start + 16])
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1).double(), labels.flatten(), ignore_index=-100, reduction="sum").item()
        trained += (labels != -100).sum().item()
    return total / trained, trained


train, validation = rows("train"), rows("validation")
if arguments.order:
    assert arguments.epochs == 1, "an order is that of one epoch"
    table = pyarrow.parquet.read_table(arguments.order, columns=["step", "split", "id"]).to_pylist()
    step = {row["id"]: row["step"] for row in table if row["split"] == "train"}
    train.sort(key=lambda row: step[row["id"]])
model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
fan_in_fan_out = model.config.model_type == "gpt2"  # Conv1D keeps its weights as [in, out]
model = peft.get_peft_model(model, peft.LoraConfig(
    r=arguments.lora_r, lora_alpha=arguments.lora_alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=fan_in_fan_out))
if arguments.start:
    started = peft.set_peft_model_state_dict(model, peft.load_peft_weights(arguments.start))
    assert not started.unexpected_keys and not any("lora_" in key for key in started.missing_keys)
before, trained_tokens = validation_loss(model, validation)
steps = math.ceil(math.ceil(len(train) / arguments.batch_size) * arguments.epochs)


class Trainer(transformers.Trainer):
    def _get_train_sampler(self, *rest):
        return torch.utils.data.SequentialSampler(train) if arguments.order else super()._get_train_sampler(*rest)


trainer = Trainer(
    model=model,
    train_dataset=train,
    data_collator=collate,
    args=transformers.TrainingArguments(
        output_dir=os.path.join(arguments.save or "/tmp", "trainer"),
        use_cpu=True,
        seed=arguments.seed,
        per_device_train_batch_size=arguments.batch_size,
        num_train_epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(steps * arguments.warmup_ratio),
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
        optim="adamw_torch",
        logging_steps=max(1, steps // 10),
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
    ),
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
after, _ = validation_loss(model, validation)
if arguments.save:
    model.save_pretrained(arguments.save)
print(json.dumps({
    "rows": {"train": len(train), "validation": len(validation)},
    "steps": trainer.state.global_step,
    "trained_validation_tokens": trained_tokens,
    "validation_loss_before": round(before, 6),
    "validation_loss": round(after, 6),
    "train_seconds": round(seconds, 1),
    "hyperparameters": {key: value for key, value in vars(arguments).items() if key not in ("tokens", "model", "save")},
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
}))
