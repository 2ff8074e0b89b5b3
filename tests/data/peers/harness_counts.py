"""Known answers of lm-evaluation-harness's counts on the 3M reference model, from transformers.

pip install torch==2.15.0 transformers==5.23.0; python harness_counts.py MODEL > harness_counts.json

The windows and counts follow lm_eval 0.4 (`get_rolling_token_windows`, `make_disjoint_window`, `process_results` of a
multiple-choice task), written anew.
"""
import json, math, re, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
CONTEXT = model.config.max_position_embeddings
DOCUMENTS = [
    "Once upon a time, there was a little dog named Max. He liked to run.\n\nOne day  he saw a café. ",
    " ".join(f"Tom and Lily went to park number {n}, and they saw a red ball and a big tree." for n in range(40)),
]
QUESTIONS = [
    {"prompt": "User: What do you drink when you are thirsty?\nBot:", "choices": ["Water", "A big red chair and a table", "Sand"], "answer": 0},
    {"prompt": "Once upon a time, there was a little girl named ", "choices": ["Lily", "the", "Lily who had a very long and odd name"], "answer": "A"},
    {"prompt": "The sun is", "choices": ["very bright", "bright", "cold", "a dog"], "answer": "bright"},
    {"prompt": "", "choices": ["Once upon a time", "qxz"], "answer": 0},
    {"prompt": "Tom ate the cake because he was " * 40 + "so", "choices": ["hungry", "table"], "answer": 1},
]


def encode(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def likelihood(context, predicted):
    ids = (context + predicted)[:-1][-CONTEXT:]
    with torch.no_grad():
        logits = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return sum(logits[len(ids) - len(predicted) + i, token].item() for i, token in enumerate(predicted))


opening = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
total, tokens = 0.0, 0
for text in DOCUMENTS:
    ids = encode(text)
    first = min(CONTEXT, len(ids))
    total += likelihood([opening], ids[:first])
    done = first
    while done < len(ids):
        count = min(CONTEXT, len(ids) - done)
        end = done + count
        total += likelihood(ids[end - CONTEXT - 1:done], ids[done:end])
        done = end
    tokens += len(ids)
size = sum(len(text.encode()) for text in DOCUMENTS)
words = sum(len(re.split(r"\s+", text)) for text in DOCUMENTS)
general = {"tokens": tokens, "loss": -total / tokens, "bits_per_byte": -total / size / math.log(2),
           "byte_perplexity": math.exp(-total / size), "word_perplexity": math.exp(-total / words)}
answers = []
for question in QUESTIONS:
    scores = []
    for choice in question["choices"]:
        context, continuation = question["prompt"], " " + choice
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if context == "":
            before, after = [opening], encode(continuation)
        else:
            before = encode(context)
            after = encode(context + continuation)[len(before):]
        scores.append(likelihood((before + after)[-(CONTEXT + 1):][:-len(after)], after))
    normalised = [score / len(choice) for score, choice in zip(scores, question["choices"])]
    answers.append({"scores": scores, "plain": scores.index(max(scores)), "normalised": normalised.index(max(normalised))})
json.dump({"documents": DOCUMENTS, "general": general, "questions": QUESTIONS, "answers": answers}, sys.stdout, indent=1)
