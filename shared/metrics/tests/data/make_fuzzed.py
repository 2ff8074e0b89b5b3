"""Makes fuzzed.json: texts with odd characters, and what the reference packages say of them.

pip install sacrebleu==2.6.0 rouge-score==0.1.2; python make_fuzzed.py > fuzzed.json
"""
import json, logging, random, sys
from sacrebleu.metrics import BLEU, CHRF, TER
from rouge_score import rouge_scorer

logging.disable(logging.CRITICAL)
random.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
ROWS = int(sys.argv[2]) if len(sys.argv) > 2 else 240
WORDS = ("the a cat cats sat running ran runs dying organization's mat. on, café naïve ÉCOLE straße İstanbul ΣΟΦΟΣ "
         "3.14 1,000 10-20 e.g. U.S.A. don't 'quoted' “smart” (paren) [x] {y} a/b x=y 50% $5.00 #tag @user -dash "
         "-- … · 你好 世界 中文字符。 日本語 カタカナ ひらがな 한국어 العربية हिन्दी русский 😀 👩‍👩‍👧 e\u0301 \u00a0 "
         "&quot; &amp; &lt; <skipped> http://a.b/c?d=e I'm we'll's relational conditional happily flies news "
         "generously ２０ 全角！ 「引用」 ㈱ ㌔ ─ ☃ ✓ € ½ ² \u2028 \u200b").split(" ")
SEPARATORS = [" "] * 12 + ["  ", "\n", "\t", "", "\u3000", "-\n", "\n-", "\r\n"]


def text(longest=24):
    length = random.choice([0, 1, 2, 3, 5, 8, 12, longest])
    return "".join(random.choice(WORDS) + random.choice(SEPARATORS) for _ in range(length))


def changed(source):
    words = source.split(" ")
    for _ in range(random.choice([0, 1, 2, 4])):
        kind = random.random()
        if not words or kind < 0.25:
            words.insert(random.randint(0, len(words)), random.choice(WORDS))
        elif kind < 0.5:
            words.pop(random.randrange(len(words)))
        elif kind < 0.7:
            words[random.randrange(len(words))] = random.choice(WORDS)
        else:
            start = random.randrange(len(words))
            block = [words.pop(start) for _ in range(min(random.randint(1, 4), len(words) - start))]
            at = random.randint(0, len(words))
            words[at:at] = block
    return " ".join(words)


references = [[text() for _ in range(3)] for _ in range(ROWS)]
predictions = [changed(random.choice(row)) if random.random() < 0.8 else text() for row in references]
if ROWS > 100:
    long = [" ".join(random.choice(WORDS[:20]) for _ in range(90)) for _ in range(4)]
    references[:4] = [[one, changed(one), text()] for one in long]
    predictions[:4] = [changed(changed(one)) for one in long]

METRICS = {
    "bleu": lambda: BLEU(), "bleu_lc": lambda: BLEU(lowercase=True), "bleu_intl": lambda: BLEU(tokenize="intl"),
    "bleu_zh": lambda: BLEU(tokenize="zh"), "bleu_char": lambda: BLEU(tokenize="char"),
    "bleu_none": lambda: BLEU(tokenize="none"),
    "bleu:smooth_method=floor": lambda: BLEU(smooth_method="floor"),
    "bleu:smooth_method=floor:smooth_value=0.5": lambda: BLEU(smooth_method="floor", smooth_value=0.5),
    "bleu:smooth_method=add-k": lambda: BLEU(smooth_method="add-k"),
    "bleu:smooth_method=none": lambda: BLEU(smooth_method="none"),
    "bleu_intl:effective_order": lambda: BLEU(tokenize="intl", effective_order=True),
    "bleu:max_ngram_order=2": lambda: BLEU(max_ngram_order=2),
    "bleu:max_ngram_order=6": lambda: BLEU(max_ngram_order=6),
    "chrf": lambda: CHRF(), "chrf++": lambda: CHRF(word_order=2), "chrf:word_order=1": lambda: CHRF(word_order=1),
    "chrf:lowercase": lambda: CHRF(lowercase=True), "chrf:whitespace": lambda: CHRF(whitespace=True),
    "chrf:eps_smoothing": lambda: CHRF(eps_smoothing=True), "chrf:beta=1": lambda: CHRF(beta=1),
    "chrf:char_order=3": lambda: CHRF(char_order=3), "chrf:char_order=8": lambda: CHRF(char_order=8),
    "ter": lambda: TER(), "ter:normalized": lambda: TER(normalized=True), "ter:no_punct": lambda: TER(no_punct=True),
    "ter:case_sensitive": lambda: TER(case_sensitive=True),
    "ter:normalized:asian_support": lambda: TER(normalized=True, asian_support=True),
    "ter:normalized:no_punct:asian_support": lambda: TER(normalized=True, no_punct=True, asian_support=True),
}
EXTENDED = {"max_ngram_order", "beta"}  # sacreBLEU's signature does not tell these
out = {"predictions": predictions, "references": references, "scores": []}
for count in (1, 3):
    streams = [[row[i] for row in references] for i in range(count)]
    for name, make in METRICS.items():
        metric = make()
        corpus = metric.corpus_score(predictions, streams).score
        signature = None if any(word in name for word in EXTENDED) else str(metric.get_signature())
        if isinstance(metric, BLEU):
            metric.effective_order = True
        rows = [metric.sentence_score(p, row[:count]).score for p, row in zip(predictions, references)]
        out["scores"].append({"name": name, "references": count, "corpus": corpus, "signature": signature, "rows": rows})
    for stem in (False, True):
        kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
        scorer = rouge_scorer.RougeScorer(kinds, use_stemmer=stem)
        found = [scorer.score_multi(row[:count], p) for p, row in zip(predictions, references)]
        for kind in kinds:
            for part in ("fmeasure", "precision", "recall"):
                rows = [float(getattr(one[kind], part)) for one in found]
                name = kind + ("_stemmed" if stem else "") + ("" if part == "fmeasure" else f":part={part}")
                out["scores"].append({"name": name, "references": count, "corpus": sum(rows) / len(rows),
                                      "signature": None, "rows": rows})
for score in out["scores"]:
    score["rows"] = [round(value, 9) for value in score["rows"]]
json.dump(out, sys.stdout, ensure_ascii=False, separators=(",", ":"))
