"""Renders and masks random conversations with transformers' Jinja and with ours, for every template of the reference
material and of TRL, and lists where the two differ.

    cargo build --release -p retune-encoding --example chat
    python templates.py target/release/examples/chat REFERENCE [CASES] [-v]

Rendering must be equal, or both must refuse. Of templates with {% generation %} tags, the trained stretches must be those
that transformers marks; of the others each must hold one assistant text and end in a stop token, or the run be refused.
Prints one JSON document a template, and fails where anything differs.

Made with: transformers 5.23.0, trl 1.16.0, Python 3.11.
"""
import datetime
import glob
import json
import os
import random
import re
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import transformers.utils.chat_template_utils as peer
import trl



class Noon(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 25, 12)


peer.datetime = Noon
program, reference = sys.argv[1:3]
cases = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3].isdigit() else 40
verbose = "-v" in sys.argv
TOKENS = re.compile(r"<\|[^|<>{}\s]+\|>|<｜[^｜<>{}]+｜>|</?(?:start_of_turn|end_of_turn|bos|eos|s|end_of_utterance|turn|tool_call|tool_response|think)\|?>|<\|turn>|<turn\|>|\[/?INST\]|\[[A-Z_]+\]|<\|[a-z_]+>|<[a-z_]+\|>|\[/?[a-z]+\]")
PIECES = ["hello", " world", "\n", "\n\n", "  ", "é", "日本語", "😀", "42", ".", "a\tb", '{"x": "<b>"}', "User: x", "'q'", "&amp;"]
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather, in ünits", "parameters": {"type": "object",
        "properties": {"place": {"type": "string", "description": "Where?"}, "days": {"type": "integer"}}, "required": ["place"]}}}


def text(rng, bare=False):
    body = "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 6))).strip() + rng.choice(["x", "fin", "ok."])
    return body if bare else rng.choice(["", "", "", " ", "\n"]) + body + rng.choice(["", "", "", " ", "\n"])


def conversation(rng, style):
    messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": text(rng)})
        if style == "tools" and rng.random() < 0.7:
            call = {"type": "function", "function": {"name": "weather", "arguments": {"place": text(rng, True), "days": rng.randint(1, 9)}}}
            messages.append({"role": "assistant", "content": rng.choice(["", text(rng)]), "tool_calls": [call]})
            messages.append({"role": "tool", "name": "weather", "content": text(rng)})
        answer = text(rng)
        if style == "thinking":
            answer = f"<think>\n{text(rng, True)}\n</think>\n\n{answer.strip()}"
        messages.append({"role": "assistant", "content": answer})
    return messages


def rendered(template, messages, tools, variables, prompt):
    try:
        out, marks = peer.render_jinja_template([messages], tools=tools, chat_template=template, add_generation_prompt=prompt,
                                                return_assistant_tokens_mask="generation" in template, **variables)
        return out[0], marks[0] if marks else None, None
    except Exception as error:
        return None, None, f"{type(error).__name__}: {error}"


def templates():
    known = json.load(open(f"{reference}/known_answers/chat_templates.json"))
    for name, case in known.items():
        yield name, case["chat_template"]
    for path in sorted(glob.glob(os.path.join(os.path.dirname(trl.__file__), "chat_templates", "*.jinja"))):
        yield os.path.basename(path), open(path).read()


def compare(name, template):
    rng = random.Random(name)
    requests, theirs = [], []
    specials = sorted(set(TOKENS.findall(template)) | {"<s>", "</s>"})
    for case in range(cases):
        style = ["plain", "plain", "thinking", "tools"][case % 4]
        messages, tools = conversation(rng, style), [TOOL] if style == "tools" else None
        variables = {"bos_token": "<s>", "eos_token": "</s>"}
        prompt = case % 3 == 2
        whole = rendered(template, messages, tools, variables, prompt)
        train = ["assistant", "last"][case // 4 % 2]
        # Escaping a tool call's object twice is the mapping's business: the same JSON goes to both.
        requests.append({"template": template, "messages": messages, "tools": tools, "specials": specials, "bos_token": "<s>",
                         "eos_token": "</s>", "prompt": prompt, "train_on": train, "date": "2026-11-25"})
        theirs.append((whole, rendered(template, messages, tools, variables, False)))
    done = subprocess.run([program], input="\n".join(map(json.dumps, requests)), capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in done.stdout.splitlines()]
    report = {"template": name, "equal": 0, "both_refuse": 0, "masked": 0, "mask_refused": 0}
    wrong, refusals = [], {}
    for request, (whole, plain), mine in zip(requests, theirs, ours):
        if whole[2] is not None:
            # Walking through None, which ends theirs, is walking through nothing for us.
            if "error" in mine or "NoneType' object is not iterable" in whole[2]:
                report["both_refuse"] += 1
            else:
                wrong.append(("they refuse", whole[2], mine["text"]))
            continue
        if mine.get("text") != whole[0]:
            wrong.append(("rendering", whole[0], mine.get("text", mine.get("error"))))
            continue
        report["equal"] += 1
        if "refusal" in mine:
            report["mask_refused"] += 1
            key = re.sub(r"message \d+.*", "", mine["refusal"])
            refusals[key] = refusals.get(key, 0) + 1
            if verbose:
                print(json.dumps([mine["refusal"], request["messages"], plain[0]], ensure_ascii=False, indent=1), file=sys.stderr)
            continue
        report["masked"] += 1
        problem = check(request, plain, mine["trained"], specials)
        if problem:
            wrong.append(problem)
    report["refusals"] = refusals
    report["wrong"] = len(wrong)
    print(json.dumps(report, ensure_ascii=False), flush=True)
    for entry in wrong[: 2 if not verbose else 20]:
        print("   ", json.dumps(entry, ensure_ascii=False), flush=True)
    return len(wrong)


def check(request, plain, trained, specials):
    answers = [m for m in request["messages"] if m["role"] == "assistant"]
    if request["train_on"] == "last":
        answers = answers[-1:]
    text, marks, _ = plain
    if marks:
        wanted = [text[start:end] for start, end in marks]
        # Adjacent stretches join, and where a mark leaves out the token that ends the turn we train it all the same.
        tidy = lambda parts: "".join(parts).rstrip("\n")
        last = request["train_on"] == "last" and trained and tidy(wanted).endswith(tidy(trained))
        if tidy(wanted) != tidy(trained) and not last:
            return ("generation tags", wanted, trained, request["train_on"])
        return None
    joined = "\n".join(trained)
    for answer in answers:
        content = answer["content"].strip()
        content = content.split("</think>")[-1].strip()
        if content not in joined:
            return ("content", content, trained)
    for part in trained:
        if not part.endswith(tuple(specials)):
            return ("end", part, trained)
    for message in request["messages"]:
        said = message["content"].strip()
        own = len(said) > 6 and not any(said in a["content"] or said in str(a.get("tool_calls")) for a in request["messages"] if a["role"] == "assistant")
        if message["role"] != "assistant" and own and said in joined:
            return ("prompt trained", message["content"], trained)
    if len(trained) > len(answers):
        return ("stretches", len(answers), trained)
    return None


sys.exit(sum(compare(*pair) for pair in templates()) > 0)
