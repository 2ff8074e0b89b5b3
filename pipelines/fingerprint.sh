#!/usr/bin/env bash
# What the stages of a pipeline depend on, and whether that changed since they last succeeded. common.mk asks:
#
#   fingerprint.sh plan    STATE REQUEST...        which stages are to run, and which follow them, one per line
#   fingerprint.sh preview STATE REQUEST...        the same, and writes nothing (for make -n)
#   fingerprint.sh explain STATE REQUEST...        one line per stage that says why; writes nothing
#   fingerprint.sh settled STATE STAGE REQUEST...  whether it need not run after all; otherwise notes what it starts from
#   fingerprint.sh resume  STATE STAGE REQUEST...  the flag with which training goes on, or starts over, after it was interrupted
#   fingerprint.sh finish  STATE STAGE FOLDER      it succeeded: what was noted, and what it made, is now its fingerprint
#   fingerprint.sh clean   STATE [STAGE FOLDER]... removes what the stages made, and nothing else that is in their folders
#
# STATE/STAGE is the fingerprint: lines KIND<tab>NAME<tab>VALUE, rewritten only when they change. STATE/STAGE.begun is there
# while the stage runs or when it did not finish. STATE/content remembers the hash of each file with its size, inode and
# times, so that a file is read again only when those changed. A REQUEST describes stages in their order, one thing each:
#
#   stage:NAME        the following describe this stage         after:NAME      it reads what that stage makes
#   version:TEXT      release and contract of the programs      set:NAME=VALUE  a variable
#   data:PATTERN      a file, glob or folder that must exist    option:WORD     an input if it is a file or folder
#   model:NAME        weights, configuration and tokenizer of a folder; any other name counts as text only
#   tokenizer:NAME    the same without the weights
#   reads:PATTERN     files that a stage before made            makes:FOLDER    what it makes; manifest.json comes last
set -euo pipefail
export LC_ALL=C
shopt -s globstar 2>/dev/null || true # bash 3 has no **; there it means *

# Sizes and times of files, and their SHA-256, by GNU or BSD tools.
if stat -c %i / >/dev/null 2>&1; then
  look() { xargs -0 stat -L --printf '%i:%s:%.9Y:%.9Z\t%n\n'; }
else
  look() { xargs -0 stat -L -f '%i:%z:%Fm:%Fc%t%N'; }
fi
if command -v sha256sum >/dev/null; then digest() { xargs -0 sha256sum; }; else digest() { xargs -0 shasum -a 256; }; fi

# A folder's files that decide what a model is. Manifests hold times, and checkpoints are not the model.
model_files() {
  local folder=${1%/} file
  for file in "$folder"/*.{json,jinja,model,txt,safetensors,gguf,bin}; do
    case $file in
      */manifest.json) continue ;;
      *.safetensors | *.gguf | *.bin) [ "$2" = weights ] || continue ;;
    esac
    [ ! -f "$file" ] || printf '%s\n' "$file"
  done
}

# The files that a manifest vouches for, and the manifest.
outputs_of() {
  echo manifest.json
  tr -d '\n' <"$1" | awk '{
    from = index($0, "\"outputs\"")
    list = from ? substr($0, from) : ""
    sub(/\].*/, "", list)
    while (match(list, /"name": *"[^"]*"/)) {
      name = substr(list, RSTART, RLENGTH - 1)
      sub(/.*: *"/, "", name)
      print name
      list = substr(list, RSTART + RLENGTH)
    }
  }'
}

# What a stage made when it last succeeded and is no longer there; or that it did not finish.
unfinished() {
  local record=$state/$1 folder=$2 kind name rest
  if [ -e "$record.begun" ]; then echo "it was not finished" && return; fi
  [ -f "$record" ] || return 0
  while IFS=$'\t' read -r kind name rest; do
    [ "$kind" != made ] || [ -e "$folder/$name" ] || echo "$folder/$name is missing"
  done <"$record"
}

# One request as lines STAGE<tab>KIND<tab>NAME<tab>VALUE; files have no value yet.
describe() {
  local word value stage='' path
  local IFS=''
  files() { while read -r path; do printf '%s\t%s\t%s\n' "$stage" "$1" "$path"; done; }
  for word; do
    value=${word#*:}
    case $word in
      stage:*) stage=$value && printf '%s\tstage\n' "$stage" ;;
      after:*) printf '%s\tafter\t%s\n' "$stage" "$value" ;;
      version:*) printf '%s\tversion\tversion\t%s\n' "$stage" "$value" ;;
      set:*) printf '%s\tvariable\t%s\t%s\n' "$stage" "${value%%=*}" "${value#*=}" ;;
      makes:*) unfinished "$stage" "$value" | files reason ;;
      reads:*)
        for path in $value; do # unquoted: a glob expands here
          case $path in */manifest.json) ;; *) [ ! -f "$path" ] || files between <<<"$path" ;; esac
        done ;;
      data:*)
        for path in $value; do
          if [ -d "$path" ]; then find -L "$path" -type f | files input
          elif [ -f "$path" ]; then files input <<<"$path"
          else files error <<<"there is no file or folder $path"; fi
        done ;;
      option:*)
        [ -e "$value" ] || value=${value#*=} # --config=FILE
        if [ -f "$value" ]; then files input <<<"$value"; elif [ -d "$value" ]; then model_files "$value" weights | files input; fi ;;
      model:* | tokenizer:*)
        if [ -d "$value" ]; then
          case $word in model:*) model_files "$value" weights ;; *) model_files "$value" '' ;; esac | files input
        elif ! [[ $value =~ ^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@.+)?$ ]]; then
          files error <<<"MODEL: $value is neither a folder nor a hub name such as org/name"
        fi ;;
    esac
  done
}

# Paths in, HASH<tab>PATH out. Only files that look different from what STATE/content remembers are read.
hashes() {
  local paths seen known=$state/content unread table
  paths=$(sort -u)
  [ -n "$paths" ] || return 0
  [ -f "$known" ] || known=/dev/null
  seen=$(tr '\n' '\0' <<<"$paths" | look)
  unread=$(awk -F'\t' 'pass == 1 { known[$2 FS $3] } pass == 2 && !($0 in known)' pass=1 "$known" pass=2 - <<<"$seen")
  table=$(
    awk -F'\t' 'pass == 1 { seen[$0] } pass == 2 && ($2 FS $3) in seen' pass=1 - pass=2 "$known" <<<"$seen"
    [ -z "$unread" ] || paste <(cut -f2 <<<"$unread" | tr '\n' '\0' | digest | sed 's/^\\//; s/ .*//') - <<<"$unread"
  )
  if [ "$writes" = yes ] && [ -n "$unread" ]; then
    mkdir -p "$state"
    awk -F'\t' 'pass == 1 { print; new[$3] } pass == 2 && !($3 in new)' pass=1 - pass=2 "$known" <<<"$table" >"$state/content.$$"
    mv "$state/content.$$" "$state/content"
  fi
  cut -f1,3 <<<"$table"
}

# The request with the hash of each file filled in.
fingerprints() {
  local described
  described=$(describe "$@")
  awk -F'\t' -v OFS='\t' '
    pass == 1 { hash[$2] = $1; next }
    $2 == "input" || $2 == "between" { $4 = hash[$3] }
    { print }' pass=1 <(awk -F'\t' '$2 == "input" || $2 == "between" { print $3 }' <<<"$described" | hashes) pass=2 - <<<"$described"
}

# The fingerprint of one stage as it is kept, without what it made.
fingerprint_of() {
  local stage=$1
  shift
  fingerprints "$@" | awk -F'\t' -v OFS='\t' -v stage="$stage" '
    $1 == stage && $2 ~ /^(version|variable|input|between)$/ { print $2, $3, $4 }'
}

# Compares each stage's fingerprint with the recorded one and gives the answer: plan or explain.
compare() {
  awk -F'\t' -v state="$state" -v answer="$1" '
    function because(text) { reason[stage] = reason[stage] (reason[stage] == "" ? "" : "; ") text }
    function shown(value) { return value == "" ? "not set" : value }
    function is_file(kind) { return kind == "input" || kind == "between" }
    function load(file,   line, part) {
      split("", was)
      recorded = 0
      while ((getline line < file) > 0) {
        recorded = 1
        split(line, part, "\t")
        if (part[1] != "made") was[part[1] FS part[2]] = part[3]
      }
      close(file)
      if (!recorded) because("not yet run")
    }
    # A file between two stages that is not there is made again by the stage before, which says so.
    function gone(   key, part) {
      for (key in was) {
        split(key, part, FS)
        if (part[1] == "input") because(part[2] " is gone")
        else if (part[1] != "between") because(part[2] " no longer counts")
      }
    }
    $2 == "stage" { gone(); stage = $1; order[++count] = stage; load(state "/" stage); next }
    $2 == "after" { after[stage] = after[stage] " " $3; next }
    $2 == "error" { print $3; failed = 1; exit }
    $2 == "reason" { if (recorded || $3 ~ /^it /) because($3); next }
    !recorded { next }
    {
      key = $2 FS $3
      if (!(key in was)) because(is_file($2) ? $3 " is new" : $3 " is " shown($4) ", was unknown")
      else if (was[key] != $4) because(is_file($2) ? $3 " changed" : $3 " is " shown($4) ", was " shown(was[key]))
      delete was[key]
    }
    END {
      if (failed) exit 1
      gone()
      for (i = 1; i <= count; i++) {
        stage = order[i]
        follows = ""
        number = split(after[stage], source, " ")
        for (j = 1; j <= number; j++) if (source[j] in runs) follows = follows (follows == "" ? "" : " or ") source[j]
        if (reason[stage] != "" || follows != "") runs[stage]
        if (answer == "plan") { if (stage in runs) print stage }
        else if (reason[stage] != "") printf "%-9s runs: %s\n", stage, reason[stage]
        else if (follows != "") printf "%-9s runs if %s makes something new\n", stage, follows
        else printf "%-9s up to date\n", stage
      }
    }'
}

mode=$1 state=$2 writes=no
shift 2
case $mode in
  plan)
    writes=yes
    fingerprints "$@" | compare plan ;;
  preview) fingerprints "$@" | compare plan ;;
  explain) fingerprints "$@" | compare explain ;;
  settled)
    stage=$1 writes=yes
    shift
    fingerprint=$(fingerprint_of "$stage" "$@")
    if [ -f "$state/$stage" ] && [ "$fingerprint" = "$(grep -v '^made' "$state/$stage")" ]; then
      for word; do
        [ "${word%%:*}" != makes ] || [ -n "$(unfinished "$stage" "${word#*:}")" ] || exit 0
      done
    fi
    mkdir -p "$state"
    printf '%s\n' "$fingerprint" >"$state/$stage.begun"
    exit 1 ;;
  resume)
    stage=$1
    shift
    for word; do
      [ "${word%%:*}" != makes ] || checkpoints=${word#*:}/checkpoints
    done
    if [ -d "$checkpoints" ] && [ -e "$state/$stage.begun" ]; then
      if [ "$(fingerprint_of "$stage" "$@")" = "$(cat "$state/$stage.begun")" ]; then echo --resume; else echo --force; fi
    fi ;;
  finish)
    stage=$1 folder=$2
    [ -f "$folder/manifest.json" ] || { echo "the program of $stage did not make $folder/manifest.json" >&2 && exit 1; }
    outputs_of "$folder/manifest.json" | while read -r name; do
      printf 'made\t%s\n' "$name"
    done >>"$state/$stage.begun"
    if cmp -s "$state/$stage.begun" "$state/$stage"; then
      rm "$state/$stage.begun"
    else
      mv "$state/$stage.begun" "$state/$stage"
    fi ;;
  clean)
    while [ $# -gt 0 ]; do
      stage=$1 folder=$2
      shift 2
      [ -d "$folder" ] || continue
      while IFS=$'\t' read -r kind name rest; do
        [ "$kind" != made ] || rm -f "$folder/$name"
      done < <(cat "$state/$stage" 2>/dev/null)
      [ ! -e "$state/$stage" ] && [ ! -e "$state/$stage.begun" ] || rm -rf "$folder/checkpoints"
      rmdir "$folder" 2>/dev/null || echo "$folder holds files that this pipeline did not make: left as they are"
    done
    rm -rf "$state"
    rmdir "${state%/*}" 2>/dev/null || true ;;
esac
