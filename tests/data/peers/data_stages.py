"""Measures retune-ingest and retune-tokenize beside Polars, DuckDB, datasets and the tokenizers library, in turn on one machine.

    python data_stages.py target/release REFERENCE WORK [ingest] [near] [tokenize] [memory:GB,GB]

Makes WORK/100.jsonl and WORK/50.jsonl of the reference data sets ({"id", "text"}, about 20 % exact duplicates), then runs
each program as a process of its own, alternately, pinned to two cores, and prints one JSON line a run: seconds of the whole
process (start of an interpreter and imports included; `stage_s` and `cpu_s` leave them out), MB/s, peak resident size of the process
and its children. MB is the size of the file for ingest and for whole runs of tokenize. `memory:0.5,4` feeds inputs of those
sizes by standard input to ingest, and then the folder to tokenize.

Made with: polars 2.1.0, duckdb 2.0.1, datasets 5.2.0, tokenizers 0.23.3, transformers 5.23.0, pyarrow 26.0.1, Python 3.11.
"""
import csv
import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

RUNS = int(os.environ.get("RUNS", "3"))
ENVIRONMENT = {**os.environ, "POLARS_MAX_THREADS": "2", "RAYON_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1",
               "TOKENIZERS_PARALLELISM": "true"}

POLARS = """
import sys, time; from polars import col, scan_ndjson; start, used = time.perf_counter(), time.process_time(); source, out = sys.argv[1:3]
rows = scan_ndjson(source).unique(subset="text", keep="first", maintain_order=True).with_columns(h=col("text").hash(0) % 100).collect()
rows.filter(col("h") < 95).drop("h").write_parquet(out + "/train.parquet", compression="zstd")
rows.filter(col("h") >= 95).drop("h").write_parquet(out + "/test.parquet", compression="zstd")
print(time.perf_counter() - start, time.process_time() - used)
"""
DUCKDB = """
import sys, time, duckdb; start, used = time.perf_counter(), time.process_time(); source, out = sys.argv[1:3]; run = duckdb.connect().execute
run("SET threads = 2")
run(f"CREATE TEMP TABLE t AS SELECT min(id) AS id, text, hash(text) % 100 AS h FROM read_json('{source}', format = 'newline_delimited',"
    " columns = {id: 'BIGINT', text: 'VARCHAR'}) GROUP BY text")
run(f"COPY (SELECT id, text FROM t WHERE h < 95 ORDER BY id) TO '{out}/train.parquet' (FORMAT parquet, COMPRESSION zstd)")
run(f"COPY (SELECT id, text FROM t WHERE h >= 95 ORDER BY id) TO '{out}/test.parquet' (FORMAT parquet, COMPRESSION zstd)")
print(time.perf_counter() - start, time.process_time() - used)
"""
DATASETS = """
import sys, time, hashlib, datasets, pyarrow.parquet as parquet; source, out = sys.argv[1:3]
datasets.disable_progress_bars(); start, used = time.perf_counter(), time.process_time(); seen = set()
digest = lambda text: hashlib.blake2b(text.encode(), digest_size=16).digest()
def new(batch):
    kept = []
    for key in map(digest, batch["text"]):
        kept.append(key not in seen); seen.add(key)
    return kept
rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=out + "/cache").filter(new, batched=True, load_from_cache_file=False)
for name, low, high in [("train", 0, 243), ("test", 243, 256)]:
    part = rows.filter(lambda batch: [low <= digest(text)[0] < high for text in batch["text"]], batched=True, load_from_cache_file=False)
    writer = None
    for table in part.with_format("arrow").iter(batch_size=10000):
        writer = writer or parquet.ParquetWriter(f"{out}/{name}.parquet", table.schema, compression="zstd"); writer.write_table(table)
    writer.close()
print(time.perf_counter() - start, time.process_time() - used)
"""
MAP = """
import sys, time, datasets, pyarrow.parquet as parquet; from transformers import PreTrainedTokenizerFast; source, out, tokenizer = sys.argv[1:4]
datasets.disable_progress_bars(); encode = PreTrainedTokenizerFast(tokenizer_file=tokenizer + "/tokenizer.json"); start, used = time.perf_counter(), time.process_time()
rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=out + "/cache")
rows = rows.map(lambda batch: {"input_ids": encode(batch["text"], add_special_tokens=False)["input_ids"]}, batched=True, batch_size=1000,
                remove_columns=rows.column_names, load_from_cache_file=False)
writer = None
for table in rows.with_format("arrow").iter(batch_size=10000):
    writer = writer or parquet.ParquetWriter(out + "/train.parquet", table.schema, compression="zstd"); writer.write_table(table)
writer.close()
print(time.perf_counter() - start, time.process_time() - used)
"""
LIBRARY = """
import sys, time, json; from tokenizers import Tokenizer; source, _, tokenizer = sys.argv[1:4]
texts = [json.loads(line)["text"] for line in open(source)]; encode = Tokenizer.from_file(tokenizer + "/tokenizer.json").encode_batch_fast
start, used = time.perf_counter(), time.process_time()
for first in range(0, len(texts), 1000): encode(texts[first:first + 1000], add_special_tokens=False)
print(time.perf_counter() - start, time.process_time() - used)
"""


def corpus(path, reference, size):
    """{"id", "text"} of the reference data sets until the file has `size` bytes; copies of a text differ in their first word."""
    sets, texts = f"{reference}/datasets", []
    texts += [" ".join(json.loads(line).values()) for line in open(f"{sets}/education-gsm8k/train.jsonl")]
    for row in csv.DictReader(open(f"{sets}/medical-mts-dialog/MTS-Dialog-TrainingSet.csv", encoding="utf-8")):
        texts.append(row["dialogue"] + "\n" + row["section_text"])
    texts += [json.loads(line)["text"] for line in open(f"{sets}/formats/c4_demo.jsonl")]
    texts += [text for text in open(f"{sets}/text/tinystories_sample.txt", errors="replace").read().split("<|endoftext|>") if len(text) > 50]
    german = gzip.open(f"{sets}/translation-multi30k/train.de.gz", "rt", encoding="utf-8").read().splitlines()
    texts += [" ".join(german[at : at + 20]) for at in range(0, 6000, 20)]
    draw, written, row, copy = random.Random(0), 0, 0, 0
    with open(path, "w") as out:
        while written < size:
            draw.shuffle(texts)
            for text in texts:
                for _ in range(2 if draw.random() < 0.2 else 1):
                    written += len(out_line := json.dumps({"id": row, "text": f"[{copy}] {text}"}, ensure_ascii=False) + "\n")
                    out.write(out_line)
                    row += 1
                if written >= size:
                    break
            copy += 1


def measured(name, command, megabytes, out, stdin=None):
    """Runs a command on cores 0 and 1 and prints what it took."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    start = time.perf_counter()
    timed = ["taskset", "-c", "0,1", "/usr/bin/time", "-f", "%M %U %S", "-o", f"{out}.time", *command]
    done = subprocess.run(timed, env=ENVIRONMENT, stdout=subprocess.PIPE, stdin=stdin, check=True, text=True)
    seconds = time.perf_counter() - start
    kilobytes, user, system = open(f"{out}.time").read().split()[-3:]
    stage, cpu = map(float, done.stdout.split()[-2:]) if done.stdout.strip() else (seconds, float(user) + float(system))
    row = {"run": name, "mb": round(megabytes, 1), "s": round(seconds, 2), "stage_s": round(stage, 2), "mb_s": round(megabytes / stage, 1),
           "cpu_s": round(cpu, 2), "peak_mib": round(int(kilobytes) / 1024)}
    print(json.dumps(row), flush=True)
    return row["mb_s"]


def in_turn(commands, megabytes, work):
    """Each command `RUNS` times, in turn; then the medians."""
    found = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            found[name].append(measured(name, command, megabytes, f"{work}/out"))
    print(json.dumps({name: statistics.median(rates) for name, rates in found.items()}), flush=True)


def main(bins, reference, work, *parts):
    os.makedirs(work, exist_ok=True)
    big, small, out = f"{work}/100.jsonl", f"{work}/50.jsonl", f"{work}/out"
    for path, size in [(big, 100e6), (small, 50e6)]:
        if not os.path.exists(path):
            corpus(path, reference, size)
    ingest, tokenize = f"{bins}/retune-ingest", f"{bins}/retune-tokenize"
    python = lambda code, *arguments: [sys.executable, "-c", code, *arguments]
    shares = ["--split", "train=0.95,test=0.05", "--quiet", "--force"]
    if "ingest" in parts or not parts:
        in_turn({"retune-ingest": [ingest, big, "--out", out, *shares], "polars": python(POLARS, big, out), "duckdb": python(DUCKDB, big, out),
                 "datasets": python(DATASETS, big, out)}, os.path.getsize(big) / 1e6, work)
    if "near" in parts or not parts:
        in_turn({"retune-ingest --dedup near": [ingest, big, "--out", out, "--dedup", "near", *shares]}, os.path.getsize(big) / 1e6, work)
    if "tokenize" in parts or not parts:
        data = f"{work}/data"
        subprocess.run([ingest, small, "--out", data, "--as", "train", "--dedup", "off", "--quiet", "--force"], check=True)
        for name in ["gpt2", "qwen2"]:
            model = f"{reference}/tokenizers/{name}"
            ours = [tokenize, data, "--model", model, "--out", out, "--overflow", "split", "--quiet", "--force"]
            in_turn({f"retune-tokenize {name}": ours, f"datasets.map {name}": python(MAP, small, out, model),
                     f"library {name}": python(LIBRARY, small, out, model)}, os.path.getsize(small) / 1e6, work)
    for part in parts:
        for size in part.removeprefix("memory:").split(",") if part.startswith("memory:") else []:
            # Each copy has a number of its own, so that few rows are duplicates; standard input, so that no file of this size is needed.
            copies = round(float(size) * 10)
            feed = subprocess.Popen(["sh", "-c", f'for n in $(seq {copies}); do sed "s/\\"text\\": \\"/&<$n> /" "{big}"; done'], stdout=subprocess.PIPE)
            measured(f"retune-ingest {size} GB", [ingest, "-", "--out", f"{work}/memory", *shares], float(size) * 1e3, f"{work}/memory", feed.stdout)
            ours = [tokenize, f"{work}/memory", "--model", f"{reference}/tokenizers/gpt2", "--out", out, "--overflow", "split", "--quiet", "--force"]
            measured(f"retune-tokenize {size} GB", ours, float(size) * 1e3, out)


main(*sys.argv[1:])
