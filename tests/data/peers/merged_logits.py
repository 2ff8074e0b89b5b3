"""Opens what retune-export wrote in transformers and compares its logits with PEFT's for base + adapter.

    python merged_logits.py ARCHITECTURES target/release/retune-export

For each folder of ARCHITECTURES with an adapter in lora_final: largest difference of a logit, whether a tied output stayed
tied, and whether transformers found a weight missing or left over. Fails where a difference is above 1e-4.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, Python 3.11.
"""
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import peft
import torch
import transformers

architectures, export = sys.argv[1:3]
worst = 0.0
for name in sorted(os.listdir(architectures)):
    base_path = os.path.join(architectures, name)
    adapter = os.path.join(base_path, "lora_final")
    if not os.path.isdir(adapter):
        continue
    golden = json.load(open(os.path.join(base_path, "golden.json")))
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "merged")
        subprocess.run(
            [export, "--model", base_path, "--adapter", adapter, "--out", out, "-q"], check=True, stdout=subprocess.PIPE
        )
        merged, info = transformers.AutoModelForCausalLM.from_pretrained(
            out, dtype=torch.float32, output_loading_info=True
        )
        base = transformers.AutoModelForCausalLM.from_pretrained(base_path, dtype=torch.float32)
        tied = base.get_output_embeddings().weight is base.get_input_embeddings().weight
        still = merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
        expected = peft.PeftModel.from_pretrained(base, adapter).eval()
        difference = 0.0
        with torch.no_grad():
            for row in golden["rows"]:
                ids = torch.tensor([row["input_ids"]])
                difference = max(difference, (merged.eval()(ids).logits - expected(ids).logits).abs().max().item())
        worst = max(worst, difference)
        loading = {key: sorted(value) for key, value in info.items() if value}
        print(json.dumps({"name": name, "difference": difference, "tied": tied, "stays": tied == still, "loading": loading}))
assert worst < 1e-4, worst
