"""Opens an adapter written by retune-train in PEFT and compares its logits with ours.

    cargo build --release -p retune-pretrained --example logits
    python adapter_logits.py MODEL ADAPTER tokens/validation.parquet target/release/examples/logits [ROWS]

Fails where any logit of the first ROWS (20) rows is further than 1e-4 from PEFT's, or where PEFT finds a key missing or
left over. Prints one JSON document.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, Python 3.11.
"""
import json
import os
import subprocess
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import peft
import pyarrow.parquet
import safetensors.torch
import torch
import transformers

model_path, adapter_path, tokens_path, logits_binary = sys.argv[1:5]
row_count = int(sys.argv[5]) if len(sys.argv) > 5 else 20
warnings.filterwarnings("error", message=".*missing adapter keys")  # PEFT only warns of missing adapter keys
base = transformers.AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
model = peft.PeftModel.from_pretrained(base, adapter_path).eval()
written = safetensors.torch.load_file(os.path.join(adapter_path, "adapter_model.safetensors"))
kept = peft.get_peft_model_state_dict(model)
assert set(written) == set(kept), (sorted(set(written) ^ set(kept)))[:5]
assert all(torch.equal(written[name], kept[name]) for name in written)
ids = pyarrow.parquet.read_table(tokens_path, columns=["input_ids"]).slice(0, row_count).to_pylist()
lines = "".join(json.dumps(row["input_ids"]) + "\n" for row in ids)
ours = subprocess.run([logits_binary, model_path, adapter_path], input=lines, capture_output=True, text=True, check=True)
rows = json.loads(ours.stdout)["rows"]
largest, moved = 0.0, 0.0
with torch.no_grad():
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        theirs = model(input_ids=ids).logits[0]
        largest = max(largest, (theirs - torch.tensor(row["logits"])).abs().max().item())
        with model.disable_adapter():
            moved = max(moved, (theirs - model(input_ids=ids).logits[0]).abs().max().item())
print(json.dumps({"rows": len(rows), "largest_difference": largest, "adapter_moves_logits_by": moved}))
assert moved > 0.1, "the adapter changes nothing: this compares nothing"
assert largest < 1e-4, "logits differ"
