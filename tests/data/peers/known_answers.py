"""Known answers of PEFT and transformers that the tests check without Python: tests/data/known_answers.json.

    python known_answers.py ../known_answers.json

The cases are those of adapters.py and the most telling ones of architectures.py. No weight is stored: each is a function of
its name and index that tests/known_answers.rs computes too, see `values`. Stored are the settings, the names and shapes of
all tensors, the summed NLL before training, and loss and gradient norm of ten steps.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, Python 3.11.
"""
import copy
import json
import os
import sys
import tempfile

import numpy
import peft
import torch
import transformers
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file, save_file
from transformers.trainer_pt_utils import LabelSmoother

import adapters
import architectures as common

TELLING = ["llama-mqa-wide", "llama-llama3-old", "llama-dynamic", "llama-yarn", "llama-yarn-settings", "llama-relu2", "llama-quick-gelu",
           "mistral-window-5", "qwen2-windows", "qwen3-windows", "gemma2-caps", "gemma3-pattern", "gemma3-new", "phi3-longrope-long",
           "phi3-partial", "gpt2-untied", "gpt2-scales", "neox-sequential", "neox-no-bias", "olmo2-bias", "granite-multipliers",
           "smollm3-windows", "smollm3-default-kv"]


def mix(value):
    value = (value ^ (value >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return value ^ (value >> numpy.uint64(31))


def values(name, shape):
    """Uniform numbers by SplitMix64 of (FNV-1a of the name, index): vectors around 1 (biases around 0), matrices by their width."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) % 2**64
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        counters = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15) + numpy.uint64(key)
        unit = (mix(counters) >> numpy.uint64(40)).astype(numpy.float64) / 2**24 - 0.5
    if len(shape) == 1:
        numbers = unit * 0.4 + (0.0 if name.endswith("bias") else 1.0)
    elif "lora_B" in name:
        numbers = unit * 0.2
    else:
        numbers = unit * 4.0 / shape[-1] ** 0.5
    return torch.from_numpy(numbers.astype(numpy.float32).reshape(shape))


def overwritten(path):
    """Gives every tensor of a file the values of its name; returns names and shapes."""
    tensors = {name: values(name, list(tensor.shape)) for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return {name: list(tensor.shape) for name, tensor in sorted(tensors.items())}


def opened(work, model_type, keys):
    folder = f"{work}/model"
    common.make_model(folder, model_type, keys, {}, 0)
    shapes = overwritten(f"{folder}/model.safetensors")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32), shapes


def numbers(model, rows, learning_rate):
    model.eval()
    with torch.no_grad():
        total, count = common.loss_sum(model, rows)
    steps = common.trace(model, rows, learning_rate)
    return {"nll_sum": float(total), "tokens": count, "loss": [round(loss, 7) for loss, _ in steps],
            "grad_norm": [round(norm, 7) for _, norm in steps]}


def optimised(model, rows, steps, optimizer, schedule=None, smoothing=0.0, clip=1.0):
    """Loss, gradient norm and learning rate of each step, with transformers' own pieces."""
    smoother = LabelSmoother(epsilon=smoothing)
    found = {"loss": [], "grad_norm": [], "learning_rate": []}
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        total, count = 0.0, 0
        for row in rows:
            labels = torch.tensor([row["labels"]])
            active = int((labels[:, 1:] != -100).sum())
            output = model(torch.tensor([row["input_ids"]]), use_cache=False)
            total, count = total + smoother(output, labels, shift_labels=True) * active, count + active
        loss = total / count
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([value for value in model.parameters() if value.requires_grad], clip)
        found["loss"].append(round(float(loss.detach()), 7))
        found["grad_norm"].append(round(float(norm), 7))
        found["learning_rate"].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule:
            schedule.step()
    return found


def options(base, tuned, rows):
    """Name to (flags, numbers). Where the flags name no method, an adapter is continued."""
    adamw = lambda model, **more: torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], **more)
    full = lambda: copy.deepcopy(base)
    adapter = lambda: copy.deepcopy(tuned)
    cases = {}
    model = full()
    cases["label-smoothing"] = (["--method", "full", "--label-smoothing", "0.15", "--weight-decay", "0", "--learning-rate", "1e-3"],
                                optimised(model, rows, 6, adamw(model, lr=1e-3, weight_decay=0.0), smoothing=0.15))
    model = full()
    cases["adam-and-decay"] = (["--method", "full", "--adam-beta1", "0.8", "--adam-beta2", "0.95", "--adam-epsilon", "1e-4", "--weight-decay", "0.3",
                                "--decay-norms-and-biases", "--learning-rate", "3e-3", "--max-grad-norm", "0.5"],
                               optimised(model, rows, 6, adamw(model, lr=3e-3, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.3), clip=0.5))
    model = adapter()
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16)
    cases["lora-plus"] = (["--lora-plus-ratio", "16", "--weight-decay", "0", "--learning-rate", "1e-3"], optimised(model, rows, 6, optimizer))
    for name, flags, kind, more in [
        ("cosine-minimum", ["--schedule", "cosine", "--warmup-steps", "3", "--min-learning-rate-ratio", "0.2"], "cosine_with_min_lr", {"min_lr_rate": 0.2}),
        ("wsd", ["--schedule", "wsd", "--warmup-steps", "2", "--decay-ratio", "0.4", "--min-learning-rate-ratio", "0.1"], "warmup_stable_decay",
         {"num_decay_steps": 5, "min_lr_ratio": 0.1}),
        ("linear", ["--schedule", "linear", "--warmup-ratio", "0.25"], "linear", {}),
    ]:
        model = adapter()
        optimizer = adamw(model, lr=1e-2, weight_decay=0.0)
        warmup = 2 if name == "wsd" else 3
        schedule = transformers.get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=12, scheduler_specific_kwargs=more)
        cases[name] = (flags + ["--weight-decay", "0", "--learning-rate", "1e-2"], optimised(model, rows, 12, optimizer, schedule))
    return {name: {"flags": flags, **numbers} for name, (flags, numbers) in cases.items()}


def main():
    rows = common.make_rows(131, (24, 17), 1)
    found = {"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}",
             "rows": rows, "models": {}, "architectures": {}, "adapters": {}, "options": {}}
    for name in TELLING:
        model_type, keys, _ = common.VARIANTS[name]
        with tempfile.TemporaryDirectory() as work:
            model, shapes = opened(work, model_type, keys)
            found["models"][name] = {"config": dict(keys, model_type=model_type), "tensors": shapes}
            found["architectures"][name] = numbers(model, rows, 1e-3)
        print(name, flush=True)
    for name, ((model_type, keys), settings, flags) in adapters.CASES.items():
        with tempfile.TemporaryDirectory() as work:
            base, shapes = opened(work, model_type, keys)
            tuned = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **settings))
            tuned.save_pretrained(f"{work}/adapter", save_embedding_layers=False)
            stored = overwritten(f"{work}/adapter/adapter_model.safetensors")
            if settings.get("ensure_weight_tying"):
                path = f"{work}/adapter/adapter_model.safetensors"
                tensors = load_file(path)
                tensors["base_model.model.lm_head.weight"] = tensors["base_model.model.model.embed_tokens.weight"].clone()
                save_file(tensors, path, metadata={"format": "pt"})
            config = json.load(open(f"{work}/adapter/adapter_config.json"))
            config = {key: value for key, value in config.items() if value not in (None, False, {}) and key != "base_model_name_or_path"}
            config["target_modules"] = sorted(config["target_modules"]) if isinstance(config["target_modules"], list) else config["target_modules"]
            if settings.get("init_lora_weights") is False:
                config["init_lora_weights"] = False
            tuned = peft.PeftModel.from_pretrained(copy.deepcopy(base), f"{work}/adapter", is_trainable=True)
            same = [key for key, value in found["models"].items() if value == {"config": dict(keys, model_type=model_type), "tensors": shapes}]
            key = same[0] if same else name
            found["models"][key] = {"config": dict(keys, model_type=model_type), "tensors": shapes}
            if name == "all-linear":
                found["options"] = options(base, tuned, rows)
            found["adapters"][name] = {"model": key, "flags": flags, "adapter_config": config, "stored": stored, **numbers(tuned, rows, 1e-2)}
        print(name, flush=True)
    with open(sys.argv[1], "w") as file:
        # One line for each case: small, and a change shows where it is.
        lines = [f'"made_with": {json.dumps(found["made_with"])}', f'"rows": {json.dumps(rows)}']
        for part in ("models", "architectures", "adapters", "options"):
            text = lambda value: json.dumps(value, separators=(",", ":"))
            cases = ",\n".join(f"{text(name)}: {text(case)}" for name, case in found[part].items())
            lines.append(f'"{part}": {{\n{cases}\n}}')
        file.write("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
