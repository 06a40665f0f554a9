#!/usr/bin/env bash
# Adds one modality of each kind to the quickstart's schema, data and model, by lines of YAML alone.
#
#     examples/add_modality/run.sh [--from runs/quickstart] [--to runs/add-modality] [--steps 900]
#                                  [--processes 2] [--check] [edges profile rows note ...]
#
# Each name is a file beside this one, and is done by itself, on copies; names with + between, as in edges+note,
# are added together. --from is what `make quickstart` wrote. --check ends with status 1 unless the held-out loss
# of every modality is below 0.8 of its baseline. FOURM and PYTHON say how to start `fourm` and `python`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
read -ra fourm <<< "${FOURM:-fourm}"
read -ra python <<< "${PYTHON:-python}"

from=runs/quickstart to=runs/add-modality steps=900 processes=2 check=() cases=()
while (($#)); do
    case $1 in
        --from) from=$2 && shift 2 ;;
        --to) to=$2 && shift 2 ;;
        --steps) steps=$2 && shift 2 ;;
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
    local work=$to/$1 schema=$to/$1/modalities.yaml together entries=() modalities=() name split
    IFS=+ read -ra together <<< "$1"
    for name in "${together[@]}"; do
        if [[ ! -f $here/$name.yaml ]]; then
            echo "$name: there is no $here/$name.yaml" >&2 && exit 2
        fi
        entries+=("$here/$name.yaml") modalities+=(--modality "$name")
    done
    if [[ -e $work && ! -f $schema ]]; then
        echo "$work: holds something else than an earlier run; choose another --to" >&2 && exit 2
    fi
    rm -rf "$work" && mkdir -p "$work"
    cat "$root/examples/quickstart/modalities.yaml" "${entries[@]}" > "$schema"
    cp -r "$from/train.lance" "$from/held-out.lance" "$from/run" "$work"

    "${fourm[@]}" validate "$schema"
    for split in train held-out; do
        "${fourm[@]}" data add-modality "$work/$split.lance" --schema "$schema"
        "${fourm[@]}" data fill "$work/$split.lance" "$from/more/$split.jsonl" "${modalities[@]}"
        "${fourm[@]}" data encode "$work/$split.lance" --codecs "$from/codecs"
    done
    # The learning rate of the finished run has fallen to nothing. To call all steps until now its warm-up lets
    # it begin anew at its highest, from which it falls again over the new steps.
    local latest ended
    latest=$(< "$work/run/checkpoints/latest")
    ended=$((10#${latest#step-}))
    "${fourm[@]}" train "$root/examples/quickstart/train.yaml" --resume --extend \
        --schema "$schema" --data "$work/train.lance" --codecs "$from/codecs" --to "$work/run" \
        --set "steps.total=$((ended + steps))" --set "steps.warmup=$ended" \
        --device cpu --processes "$processes"
    "${fourm[@]}" evaluate "$work/run" --data "$work/held-out.lance" --device cpu --json \
        > "$work/evaluation.json"
}

for names in "${cases[@]}"; do
    add "$names"
done
# An empty array counts as unset in the bash of macOS.
"${python[@]}" "$here/compare.py" ${check[@]+"${check[@]}"} "${cases[@]/#/$to/}"
