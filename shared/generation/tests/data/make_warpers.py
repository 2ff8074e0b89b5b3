"""Makes warpers.json: which tokens transformers' logits processors leave to draw from, and with which probability.

pip install torch==2.15.0 transformers==5.23.0; python make_warpers.py > warpers.json
"""
import json, random, sys
import torch
from transformers.generation.logits_process import (LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
                                                    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

random.seed(7)
cases = []
for number in range(60):
    size = random.choice([5, 12, 40])
    # Halves and quarters, so that many logits are equal.
    logits = [random.randint(-16, 16) / random.choice([2, 4]) for _ in range(size)]
    seen = [random.randrange(size) for _ in range(random.choice([0, 1, 6]))]
    case = {"temperature": random.choice([0.5, 1.0, 1.5]), "top_k": random.choice([None, 1, 3, 7]),
            "top_p": random.choice([None, 0.15, 0.6, 0.95, 1.0]), "min_p": random.choice([None, 0.02, 0.3]),
            "repetition_penalty": random.choice([1.0, 1.0, 1.3])}
    processors = LogitsProcessorList()
    if case["repetition_penalty"] != 1.0 and seen:
        processors.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    processors.append(TemperatureLogitsWarper(case["temperature"]))
    if case["top_k"]:
        processors.append(TopKLogitsWarper(case["top_k"]))
    if case["top_p"] and case["top_p"] < 1.0:
        processors.append(TopPLogitsWarper(case["top_p"]))
    if case["min_p"]:
        processors.append(MinPLogitsWarper(case["min_p"]))
    ids = torch.tensor([seen], dtype=torch.long)
    scores = processors(ids, torch.tensor([logits]))
    probabilities = torch.softmax(scores.double(), -1)[0].tolist()
    cases.append({**case, "logits": logits, "seen": seen, "probabilities": [round(p, 9) for p in probabilities]})
json.dump(cases, sys.stdout)
