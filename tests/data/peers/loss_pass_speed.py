"""Speed of a pass for the loss: retune-evaluate beside transformers' forward, on the same rows in the same batches.

torch==2.15.0 transformers==5.23.0 pyarrow==26.0.1 (CPU, float32). Usage: python loss_pass_speed.py PATH/retune-evaluate MODEL ROWS LENGTH BATCH [REPEATS]

Rows of random tokens, all of them trained on. Of ours, the time of a run over one batch is taken from that over ROWS rows, so that
starting, hashing and loading the model count for neither side; theirs is model(ids, labels=ids) without gradients, after a first batch.
The two take turns; medians in tokens a second are printed as one JSON line, with the loss that each found.
"""
import json, pathlib, random, statistics, subprocess, sys, tempfile, time

import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from transformers import AutoModelForCausalLM


def table(rows):
    kind = pa.list_(pa.int32())
    columns = {"input_ids": rows, "labels": rows, "position_ids": [list(range(len(row))) for row in rows]}
    return pa.table({name: pa.array(values, kind) for name, values in columns.items()})


def ours(program, model, file, out):
    start = time.perf_counter()
    subprocess.run([program, file, "--model", model, "--threads", "2", "--out", out, "--force", "-q"], check=True)
    return time.perf_counter() - start, json.loads(pathlib.Path(out, "metrics.json").read_text())["tuned"]["loss"]


def theirs(model, batches):
    total, start = 0.0, time.perf_counter()
    with torch.no_grad():
        for ids in batches:
            total += model(input_ids=ids, labels=ids).loss.item()
    return time.perf_counter() - start, total / len(batches)


def main():
    program, folder = sys.argv[1:3]
    count, length, batch = map(int, sys.argv[3:6])
    repeats = int(sys.argv[6]) if len(sys.argv) > 6 else 3
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    draw = random.Random(5)
    rows = [[draw.randrange(model.config.vocab_size) for _ in range(length)] for _ in range(count + batch)]
    batches = [torch.tensor(rows[at : at + batch]) for at in range(0, count + batch, batch)]
    theirs(model, batches[:1])
    tokens = count * length
    speed = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as scratch:
        few, all_rows, out = (str(pathlib.Path(scratch, name)) for name in ("few.parquet", "all.parquet", "out"))
        parquet.write_table(table(rows[:batch]), few)
        parquet.write_table(table(rows), all_rows)
        ours(program, folder, few, out)
        for _ in range(repeats):
            one, _ = ours(program, folder, few, out)
            whole, mine = ours(program, folder, all_rows, out)
            speed["ours"].append(tokens / (whole - one))
            one, _ = theirs(model, batches[:1])
            whole, want = theirs(model, batches)
            speed["theirs"].append(tokens / (whole - one))
    assert abs(mine - want) < 1e-4, (mine, want)
    ours_speed, theirs_speed = statistics.median(speed["ours"]), statistics.median(speed["theirs"])
    print(json.dumps({"rows": f"{count}x{length}", "batch": batch, "ours_tokens_s": round(ours_speed), "theirs_tokens_s": round(theirs_speed),
                      "ratio": round(ours_speed / theirs_speed, 2), "loss": [mine, want], "repeats": repeats}))


if __name__ == "__main__":
    main()
