"""Every option of LoRA and DoRA against PEFT: adapters that PEFT wrote, trained and merged here, and the other way about.

    python adapters.py WORK [--bin target/release] [--only NAME,...]

For each case PEFT makes an adapter on a tiny random model. Then:

- retune-train goes on training it for ten steps: loss within 1e-4 and gradient norm within 1e-3, relative, of PEFT's steps;
- PEFT opens what retune-train wrote, as it is: every key used, NLL equal to retune-evaluate's within 1e-5 relative, and
  the stored tensors within 1e-3 of PEFT's own after the ten steps;
- retune-export merges it; transformers opens the result: NLL equal within 1e-5 relative;
- retune-train makes a new adapter with the same options as flags; PEFT opens it: the same keys.


Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, pyarrow 26.0.1, Python 3.11.
"""
import argparse
import copy
import json
import os
import shutil
import sys

import architectures as common
import peft
import torch
import transformers
from safetensors.torch import load_file

LLAMA = ("llama", dict(common.BASE, tie_word_embeddings=False))
TIED = ("llama", dict(common.BASE, tie_word_embeddings=True))
BIASED = ("llama", dict(common.BASE, attention_bias=True, mlp_bias=True))
GPT2 = ("gpt2", dict(common.GPT2))
NEOX = ("gpt_neox", dict(common.NEOX))
QV = ["q_proj", "v_proj"]
# name: (model, settings of peft.LoraConfig, the same as flags; None where they go with no flag)
CASES = {
    "all-linear": (LLAMA, dict(target_modules="all-linear"), []),
    "names": (LLAMA, dict(target_modules=QV), ["--target-modules", "q_proj,v_proj"]),
    "regex": (LLAMA, dict(target_modules=r".*layers\.1\..*(q|gate)_proj"), ["--target-modules", r".*layers\.1\..*(q|gate)_proj"]),
    "look-ahead": (LLAMA, dict(target_modules=r"(?!.*mlp).*_proj"), ["--target-modules", r"(?!.*mlp).*_proj"]),
    "exclude": (LLAMA, dict(target_modules=QV, exclude_modules=["layers.0.self_attn.q_proj"]),
                ["--target-modules", "q_proj,v_proj", "--exclude-modules", "layers.0.self_attn.q_proj"]),
    "layers": (LLAMA, dict(target_modules=QV, layers_to_transform=[1]), ["--target-modules", "q_proj,v_proj", "--layers", "1"]),
    "layers-pattern": (GPT2, dict(target_modules=["c_attn"], layers_to_transform=[0], layers_pattern="h"),
                       ["--target-modules", "c_attn", "--layers", "0", "--layers-pattern", "h"]),
    "rslora": (LLAMA, dict(target_modules=QV, use_rslora=True), ["--target-modules", "q_proj,v_proj", "--rslora"]),
    "patterns": (LLAMA, dict(target_modules="all-linear", use_rslora=True, rank_pattern={"layers.0.self_attn.q_proj": 8, "q_proj": 3},
                 alpha_pattern={".*mlp.*": 3, "k_proj": 1.5}),
                 ["--rslora", "--lora-rank-pattern", "layers.0.self_attn.q_proj=8,q_proj=3", "--lora-alpha-pattern", ".*mlp.*=3,k_proj=1.5"]),
    "bias-all": (GPT2, dict(target_modules=["c_attn"], bias="all"), ["--target-modules", "c_attn", "--bias", "all"]),
    "bias-lora-only": (BIASED, dict(target_modules=QV, bias="lora_only"), ["--target-modules", "q_proj,v_proj", "--bias", "lora_only"]),
    "lora-bias": (BIASED, dict(target_modules=["q_proj", "down_proj"], lora_bias=True), ["--target-modules", "q_proj,down_proj", "--lora-bias"]),
    "conv1d": (GPT2, dict(target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True), ["--target-modules", "c_attn,c_fc,c_proj"]),
    "save-head": (LLAMA, dict(target_modules=QV, modules_to_save=["lm_head", "embed_tokens"]),
                  ["--target-modules", "q_proj,v_proj", "--modules-to-save", "lm_head,embed_tokens"]),
    "save-norm": (LLAMA, dict(target_modules=QV, modules_to_save=["norm"]), ["--target-modules", "q_proj,v_proj", "--modules-to-save", "norm"]),
    "save-mlp": (LLAMA, dict(target_modules="all-linear", modules_to_save=["mlp"]), ["--modules-to-save", "mlp"]),
    "save-tied-head": (TIED, dict(target_modules=QV, modules_to_save=["lm_head"]), ["--target-modules", "q_proj,v_proj", "--modules-to-save", "lm_head"]),
    "save-tied-table": (TIED, dict(target_modules=QV, modules_to_save=["embed_tokens"]),
                        ["--target-modules", "q_proj,v_proj", "--modules-to-save", "embed_tokens"]),
    "save-tied-both": (TIED, dict(target_modules=QV, modules_to_save=["embed_tokens", "lm_head"]),
                       ["--target-modules", "q_proj,v_proj", "--modules-to-save", "embed_tokens,lm_head"]),
    "save-tied-kept": (TIED, dict(target_modules=QV, modules_to_save=["embed_tokens"], ensure_weight_tying=True),
                       ["--target-modules", "q_proj,v_proj", "--modules-to-save", "embed_tokens", "--ensure-weight-tying"]),
    "save-gpt2": (GPT2, dict(target_modules=["c_attn"], modules_to_save=["ln_f", "wpe"]), ["--target-modules", "c_attn", "--modules-to-save", "ln_f,wpe"]),
    "neox-head": (NEOX, dict(target_modules=["query_key_value"], modules_to_save=["lm_head"], bias="all"),
                  ["--target-modules", "query_key_value", "--modules-to-save", "lm_head", "--bias", "all"]),
    "dora": (LLAMA, dict(target_modules="all-linear", use_dora=True), ["--method", "dora"]),
    "dora-conv1d": (GPT2, dict(target_modules=["c_attn", "c_proj"], use_dora=True), ["--method", "dora", "--target-modules", "c_attn,c_proj"]),
    "dora-biased": (BIASED, dict(target_modules="all-linear", use_dora=True, use_rslora=True, bias="all"), ["--method", "dora", "--rslora", "--bias", "all"]),
    "gaussian": (LLAMA, dict(target_modules=QV, init_lora_weights="gaussian"), ["--target-modules", "q_proj,v_proj", "--init-lora-weights", "gaussian"]),
    "orthogonal": (LLAMA, dict(target_modules=QV, init_lora_weights="orthogonal"), ["--target-modules", "q_proj,v_proj", "--init-lora-weights", "orthogonal"]),
    "random": (LLAMA, dict(target_modules=QV, init_lora_weights=False), ["--target-modules", "q_proj,v_proj", "--init-lora-weights", "false"]),
}


def nll(model, rows):
    model.eval()
    with torch.no_grad():
        total, count = common.loss_sum(model, rows)
    return float(total) / count


def evaluated(bin, work, model, adapter, name):
    more = ["--adapter", adapter] if adapter else []
    out = f"{work}/{name}"
    common.run(f"{bin}/retune-evaluate", f"{work}/rows.parquet", "--model", model, "--out", out, "--force", *more)
    return json.load(open(f"{out}/metrics.json"))["tuned"]["loss"]


def opened(base, adapter):
    """The adapter as PEFT opens it; a key that it does not use, or misses, is an error."""
    tuned = peft.PeftModel.from_pretrained(copy.deepcopy(base), adapter)
    stored = load_file(f"{adapter}/adapter_model.safetensors")
    found = peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)
    assert sorted(stored) == sorted(found), f"keys: {sorted(set(stored) ^ set(found))}"
    for key, value in stored.items():
        assert torch.equal(found[key].detach(), value), f"{key} was not loaded"
    return tuned


def compare(bin, work, name, model, settings, flags, seed):
    folder = f"{work}/model"
    base = common.make_model(folder, *model, {}, seed)
    rows = common.make_rows(131, (24, 17), seed)
    common.write_rows(rows, f"{work}/rows.parquet")
    torch.manual_seed(seed + 1)
    config = peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **settings)
    tuned = peft.get_peft_model(copy.deepcopy(base), config)
    with torch.no_grad():
        for key, value in tuned.named_parameters():
            if value.requires_grad and "lora_A" not in key:
                value.add_(torch.randn_like(value) * 0.05)
    tuned.save_pretrained(f"{work}/start", save_embedding_layers=False)
    differences = {"start nll": (common.relative([evaluated(bin, work, folder, f"{work}/start", "before")], [nll(tuned, rows)]), 1e-5)}

    expected = common.trace(tuned, rows, 1e-2)
    found = common.train(bin, work, rows, folder, f"{work}/trained", "--adapter", f"{work}/start", "--learning-rate", 1e-2)
    differences["loss"] = (common.relative(found[0], [loss for loss, _ in expected]), 1e-4)
    differences["norm"] = (common.relative(found[1], [norm for _, norm in expected]), 1e-3)

    reopened = opened(base, f"{work}/trained")
    differences["opened nll"] = (common.relative([evaluated(bin, work, folder, f"{work}/trained", "after")], [nll(reopened, rows)]), 1e-5)
    ours = load_file(f"{work}/trained/adapter_model.safetensors")
    theirs = peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)
    # The gradient of a bias of keys is 0 but for rounding, which AdamW makes large: such a bias may be anything.
    compared = [key for key in theirs if not key.endswith(("c_attn.base_layer.bias", "query_key_value.base_layer.bias", "k_proj.base_layer.bias"))]
    differences["tensors"] = (max(float((ours[key] - theirs[key]).abs().max()) for key in compared), 1e-3)

    common.run(f"{bin}/retune-export", "--model", folder, "--adapter", f"{work}/trained", "--out", f"{work}/merged", "--force")
    merged = transformers.AutoModelForCausalLM.from_pretrained(f"{work}/merged", attn_implementation="eager", dtype=torch.float32)
    differences["merged nll"] = (common.relative([nll(merged, rows)], [nll(reopened, rows)]), 1e-5)

    common.run(f"{bin}/retune-train", f"{work}/rows.parquet", "--model", folder, "--out", f"{work}/new", "--max-steps", 1, "--lora-r", 4,
               "--lora-alpha", 6, "--learning-rate", 1e-6, "--force", *flags)
    new = opened(base, f"{work}/new")
    theirs = set(peft.get_peft_model_state_dict(tuned, save_embedding_layers=False))
    ours = set(load_file(f"{work}/new/adapter_model.safetensors"))
    assert ours == theirs, f"keys of a new adapter: {sorted(ours ^ theirs)}"
    differences["new nll"] = (common.relative([evaluated(bin, work, folder, f"{work}/new", "made")], [nll(new, rows)]), 1e-5)
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    chosen = [name for name in CASES if not arguments.only or name.startswith(tuple(arguments.only.split(",")))]
    failed = 0
    for name in chosen:
        work = f"{arguments.work}/{name}"
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        try:
            found = compare(os.path.abspath(arguments.bin), work, name, *CASES[name], arguments.seed)
            bad = {what: value for what, (value, limit) in found.items() if not value < limit}
            text = "differs: " + ", ".join(f"{what} {value:.1e}" for what, value in bad.items()) if bad else "equal: " + ", ".join(
                f"{what} {value:.0e}" for what, (value, _) in found.items())
        except Exception as error:
            bad, text = True, f"{type(error).__name__}: {error}"
        print(f"{name:18} {text}", flush=True)
        failed += bool(bad)
        if not (bad and arguments.keep):
            shutil.rmtree(work)
    print(f"{len(chosen) - failed} of {len(chosen)} are equal")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
