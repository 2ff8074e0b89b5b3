"""Time of all text metrics over 10,000 pairs: retune-test beside sacreBLEU and rouge-score, and whether the figures agree.

sacrebleu==2.6.0 rouge-score==0.1.2. Usage: python text_metrics_speed.py PATH/retune-test FOLDER [PAIRS] [REPEATS]

The references are the sentences in FOLDER (a folder of Multi30k: line-aligned texts, gzipped), the predictions the same with words
dropped, swapped and taken from the next sentence, by a fixed seed. The two take turns; the medians are printed as one JSON line. What
is ours includes the start of the program, reading the pairs and writing predictions, scorecard and reports; what is theirs, scores alone.
"""
import gzip, json, pathlib, random, statistics, subprocess, sys, tempfile, time

import sacrebleu
from rouge_score import rouge_scorer

ROUGES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def pairs(folder, count):
    files = sorted(pathlib.Path(folder).glob("*.en.gz"))
    lines = [line.strip() for file in files for line in gzip.open(file, "rt", encoding="utf-8")]
    draw = random.Random(17)
    made = []
    for row in range(count):
        reference = lines[row % len(lines)]
        words = [word for word in reference.split() if draw.random() > 0.15] + lines[(row + 1) % len(lines)].split()[: draw.randrange(3)]
        if len(words) > 3 and draw.random() < 0.5:
            at = draw.randrange(len(words) - 1)
            words[at], words[at + 1] = words[at + 1], words[at]
        made.append((" ".join(words), reference))
    return made


def theirs(made):
    hypotheses, references = [h for h, _ in made], [[r for _, r in made]]
    scores = {
        "bleu": sacrebleu.corpus_bleu(hypotheses, references).score,
        "chrf": sacrebleu.corpus_chrf(hypotheses, references).score,
        "chrf++": sacrebleu.corpus_chrf(hypotheses, references, word_order=2).score,
        "ter": sacrebleu.corpus_ter(hypotheses, references).score,
    }
    for stem, suffix in ((False, ""), (True, "_stemmed")):
        scorer = rouge_scorer.RougeScorer(ROUGES, use_stemmer=stem)
        found = [scorer.score(reference, hypothesis) for hypothesis, reference in made]
        for name in ROUGES:
            scores[name + suffix] = sum(row[name].fmeasure for row in found) / len(found)
    return scores


def ours(program, file, out):
    metrics = "bleu,chrf,chrf++,ter,rouge,rouge_stemmed"
    command = [program, "--predictions", file, "--metrics", metrics, "--resamples", "0", "--threads", "2", "--out", out, "--force", "-q"]
    subprocess.run(command, check=True)
    scorecard = json.loads(pathlib.Path(out, "scorecard.json").read_text())
    return {name: entry["tuned"] for name, entry in scorecard["metrics"].items()}


def main():
    program, folder = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    made = pairs(folder, count)
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch, "pairs.jsonl")
        file.write_text("".join(json.dumps({"prediction": h, "reference": r}) + "\n" for h, r in made), encoding="utf-8")
        times = {"ours": [], "theirs": []}
        for _ in range(repeats):
            start = time.perf_counter()
            mine = ours(program, str(file), str(pathlib.Path(scratch, "out")))
            times["ours"].append(time.perf_counter() - start)
            start = time.perf_counter()
            want = theirs(made)
            times["theirs"].append(time.perf_counter() - start)
    apart = max(abs(mine[name] - value) for name, value in want.items())
    assert apart < 1e-6, (mine, want)
    ours_s, theirs_s = statistics.median(times["ours"]), statistics.median(times["theirs"])
    print(json.dumps({"pairs": count, "metrics": len(want), "ours_s": round(ours_s, 3), "theirs_s": round(theirs_s, 3),
                      "ratio": round(theirs_s / ours_s, 1), "largest_difference": apart, "repeats": repeats}))


if __name__ == "__main__":
    main()
