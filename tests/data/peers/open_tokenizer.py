"""Opens a tokenizer that retune-tokenize trained in transformers, and compares its ids with those in the table.

    python open_tokenizer.py tokens data

`tokens` was written by `retune-tokenize data --new-tokenizer … --out tokens` from texts. Fails where an id differs, where
decoding does not give the text back, or where a special token is not what tokenizer_config.json says. Prints one JSON
document.

Made with: transformers 5.23.0, pyarrow 26.0.1, Python 3.11.
"""
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import pyarrow.parquet
import transformers

tokens, data = sys.argv[1:3]
tokenizer = transformers.AutoTokenizer.from_pretrained(tokens)
texts = {row["id"]: row["text"] for row in pyarrow.parquet.read_table(f"{data}/train.parquet", columns=["id", "text"]).to_pylist()}
rows = compared = 0
for row in pyarrow.parquet.read_table(f"{tokens}/train.parquet").to_pylist():
    rows += 1
    for example in row["examples"]:
        text = texts.get(example["id"])
        if text is None:
            continue
        start = example["start"]
        ours = row["input_ids"][start : start + example["length"]]
        theirs = tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]
        assert ours == theirs, (example, ours[:20], theirs[:20])
        begin = 1 if tokenizer.bos_token_id is not None else 0
        assert tokenizer.decode(ours[begin:-1], clean_up_tokenization_spaces=False) == text, example
        compared += 1
assert compared, "no example of the table is a text of the data"
assert tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id
print(json.dumps({"rows": rows, "texts": compared, "vocabulary": len(tokenizer), "eos": tokenizer.eos_token, "pad": tokenizer.pad_token,
                  "bos": tokenizer.bos_token, "unk": tokenizer.unk_token}))
