#!/usr/bin/env bash
# Adds one modality of each kind to the quickstart's schema, data and model, by lines of YAML alone.
#
#     examples/add_modality/run.sh [--from runs/quickstart] [--to runs/add-modality] [--steps 900]
#                                  [--rate 6e-4] [--processes 2] [--check] [edges profile rows note ...]
#
# Each name is done by itself, on copies; names with + between, as in edges+note, are added together. --from
# is what `make quickstart` wrote. --check ends with status 1 unless every modality beats its baseline.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
read -ra fourm <<< "${FOURM:-fourm}"
read -ra python <<< "${PYTHON:-python}"

from=runs/quickstart to=runs/add-modality steps=900 rate=6e-4 processes=2 check=() cases=()
while (($#)); do
    case $1 in
        --from) from=$2 && shift 2 ;;
        --to) to=$2 && shift 2 ;;
        --steps) steps=$2 && shift 2 ;;
        --rate) rate=$2 && shift 2 ;;
        --processes) processes=$2 && shift 2 ;;
        --check) check=(--check) && shift ;;
        -*) echo "$1: is no option; look at the head of $0" >&2 && exit 2 ;;
        *) cases+=("$1") && shift ;;
    esac
done
((${#cases[@]})) || cases=(edges profile rows note)
if [[ ! -f $from/more/train.jsonl || ! -f $from/run/checkpoints/latest ]]; then
    echo "$from: holds no finished quickstart; run: make quickstart" >&2 && exit 2
fi

add() {
    local work=$to/$1 schema=$to/$1/modalities.yaml names entries=() modalities=() name split
    IFS=+ read -ra names <<< "$1"
    for name in "${names[@]}"; do
        entries+=("$here/$name.yaml") modalities+=(--modality "$name")
    done
    rm -rf "$work" && mkdir -p "$work"
    cp -r "$from/train.lance" "$from/held-out.lance" "$from/run" "$work"

    cat "$root/modalities.yaml" "${entries[@]}" > "$schema"
    "${fourm[@]}" validate "$schema"
    for split in train held-out; do
        "${fourm[@]}" data add-modality "$work/$split.lance" --schema "$schema"
        "${fourm[@]}" data fill "$work/$split.lance" "$from/more/$split.jsonl" "${modalities[@]}"
        "${fourm[@]}" data encode "$work/$split.lance" --codecs "$from/codecs"
    done
    # The cosine of the run that goes on has almost come to its end: --set holds the learning rate up.
    local latest
    latest=$(< "$work/run/checkpoints/latest")
    "${fourm[@]}" train "$root/examples/quickstart/train.yaml" --resume --extend \
        --schema "$schema" --data "$work/train.lance" --codecs "$from/codecs" --to "$work/run" \
        --set "steps.total=$((10#${latest#step-} + steps))" --set "optimizer.min_lr=$rate" \
        --device cpu --processes "$processes"
    "${fourm[@]}" evaluate "$work/run" --data "$work/held-out.lance" --device cpu --json \
        > "$work/evaluation.json"
}

for case in "${cases[@]}"; do
    add "$case"
done
"${python[@]}" "$here/compare.py" "${check[@]}" "${cases[@]/#/$to/}"
