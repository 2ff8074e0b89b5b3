#!/usr/bin/env bash
# Stands in for every retune-* program in the tests of the Make engine. It notes its call in the file calls beside it and
# keeps the discipline of the real programs: an output whose content is the same keeps its time, the manifest goes first
# and comes last, a call like the last one says "up to date". What it makes depends on what it reads and on its flags,
# except that lines beginning with # count for nothing, nor does the seed of ingest. Files beside it steer it:
#   version    what --version says          fail-STAGE       fail half-way      miss    test misses a gate, exit code 3
#   slow-STAGE work until interrupted       fail-late-STAGE  fail when all is written
set -euo pipefail
here=$(dirname "$0") stage=${0##*/retune-}
if [ "$1" = --version ]; then cat "$here/version" && exit; fi
echo "$stage $*" >>"$here/calls"

out='' flags='' inputs=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 && shift ;;
    --model | --adapter) inputs+=("$2") flags+="$1 $2 " && shift ;;
    --baseline | --resume | --force) ;;
    --*=*) flags+="$1 " ;;
    --*) flags+="$1 $2 " && shift ;;
    *) inputs+=("$1") ;;
  esac
  shift
done

# Everything that was read, apart from what is written about a folder rather than in it.
read_inputs() {
  for input in "${inputs[@]}"; do
    [ -e "$input" ] || continue # a hub name
    find -L "$input" -type f ! -name manifest.json ! -path '*/checkpoints/*' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 cat
  done
}
identity=$({ printf '%s\n' "$stage" "$flags" && read_inputs; } | cksum)

case $stage in
  ingest) files='train.parquet validation.parquet test.parquet rejects.parquet' flags=$(sed 's/--seed [^ ]* //' <<<"$flags") ;;
  tokenize) files='train.parquet validation.parquet rejects.parquet tokenizer.json' ;;
  train)
    files='adapter_config.json adapter_model.safetensors metrics.parquet'
    if [[ $flags == *'--method full'* ]]; then files='config.json model.safetensors metrics.parquet'; fi ;;
  evaluate) files='metrics.json examples.parquet suspects.parquet report.html' ;;
  test) files='predictions.parquet scorecard.json report.html' ;;
esac
manifest="{ \"inputs\": [{ \"name\": \"$identity\" }],
  \"outputs\": [ $(for file in $files; do printf '{"name": "%s",\n"bytes": 1}, ' "$file"; done) ] }"
if [ "$(cat "$out/manifest.json" 2>/dev/null)" = "$manifest" ] && (cd "$out" && ls $files >/dev/null 2>&1); then
  echo "retune-$stage: up to date" >&2 && exit
fi
if [ "$stage" = train ]; then mkdir -p "$out/checkpoints/step-1" && echo "$flags" >"$out/checkpoints/step-1/state.json"; fi
if [ -e "$here/slow-$stage" ]; then exec sleep 60; fi
rm -f "$out/manifest.json"
content=$(read_inputs | { grep -vE '^(#|test)' || true; } | cksum)
for file in $files; do
  case $file in
    scorecard.json) text="{\"gates\": [{\"held\": $([ -e "$here/miss" ] && echo false || echo true)}]}" ;;
    test.parquet) text=$(read_inputs | grep '^test' || true) ;;
    *) text=$(printf '%s of %s\n%s' "$file" "$flags" "$content") ;;
  esac
  [ ! -e "$here/fail-$stage" ] || { echo "retune-$stage: failed as asked" >&2 && exit 1; }
  if [ "$(cat "$out/$file" 2>/dev/null || echo none)" != "$text" ]; then printf '%s\n' "$text" >"$out/$file"; fi
done
printf '%s\n' "$manifest" >"$out/manifest.json"
[ ! -e "$here/fail-late-$stage" ] || exit 1
if [ "$stage" = test ] && [ -e "$here/miss" ]; then exit 3; fi
