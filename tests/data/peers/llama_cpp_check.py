"""Opens GGUF files of retune-export in llama.cpp and compares tokens, greedy tokens and logits with transformers.

pip install llama-cpp-python==0.3.36 torch==2.15.0 transformers==5.23.0 numpy==2.*
python llama_cpp_check.py FOLDER MODEL.gguf [TEXT ...]     FOLDER is the Hugging Face folder that was exported
"""
import os
import sys

import numpy as np
import torch
from llama_cpp import Llama
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

folder, gguf, *texts = sys.argv[1:]
texts = texts or ["Once upon a time, there was", "User: Hi, naïve café!\nBot:", "  two  spaces and 123.5 don't"]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
llama = Llama(gguf, n_ctx=128, n_threads=2, logits_all=True, verbose=False)
has_tokenizer = os.path.exists(os.path.join(folder, "tokenizer.json"))
# The file itself: the class around it may change leading spaces.
tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")) if has_tokenizer else None

for text in texts:
    if tokenizer is not None:
        ids = tokenizer.encode(text).ids
        theirs = llama.tokenize(text.encode(), special=True)
        print("tokens", "equal" if ids == theirs else f"DIFFER {ids} {theirs}", repr(text))
    else:
        ids = [(i * 37 + len(text)) % model.config.vocab_size for i in range(len(text))]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
        greedy = model.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0][len(ids):].tolist()
    llama.reset()
    llama.eval(ids)
    found = llama.scores[: len(ids)]
    print("logits", f"{np.abs(found - expected).max():.2e} of {np.abs(expected).max():.1f}")
    more = []
    while len(more) < len(greedy):
        more.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
        llama.eval(more[-1:])
    print("greedy", "equal" if more == greedy else f"DIFFER {greedy} {more}")
llama.close()
