#!/usr/bin/env bash
# From COCO's files to a model that has seen each photo once, by commands that one could type.
#
#     examples/coco/run.sh ANNOTATIONS.json PHOTOS [--to runs/coco] [--set a.b=c ...]
#
# ANNOTATIONS.json is COCO's file of instances (annotations/instances_val2017.json); the captions beside it are
# read along. PHOTOS is the folder of the pictures (val2017). --set changes a field of train.yaml. FOURM says how
# to start `fourm`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra fourm <<< "${FOURM:-fourm}"

to=runs/coco paths=() sets=()
while (($#)); do
    case $1 in
        --to) to=$2 && shift 2 ;;
        --set) sets+=(--set "$2") && shift 2 ;;
        -*) echo "$1: is no option; look at the head of $0" >&2 && exit 2 ;;
        *) paths+=("$1") && shift ;;
    esac
done
if ((${#paths[@]} != 2)); then
    echo "give the file of annotations and the folder of photos; look at the head of $0" >&2 && exit 2
fi
data=$to/photos.lance codecs=$to/codecs
mkdir -p "$to"

# What people have made: photos, boxes with classes, five captions.
"${fourm[@]}" data import "${paths[0]}" --from "photo=${paths[1]}" --fit center \
    --schema "$here/modalities.yaml" --to "$data"

# What can be computed from the photos: three entries more, and a column for each.
cat "$here/modalities.yaml" "$here/derived.yaml" > "$to/modalities.yaml"
"${fourm[@]}" data add-modality "$data" --schema "$to/modalities.yaml"
"${fourm[@]}" data derive "$data"

# Words have to be learned; everything else follows from the schema. Then the ids of everything.
"${fourm[@]}" codec train words --data "$data" --to "$codecs"
"${fourm[@]}" data encode "$data" --codecs "$codecs"
"${fourm[@]}" data status "$data" --codecs "$codecs"

"${fourm[@]}" train "$here/train.yaml" --data "$data" --codecs "$codecs" --to "$to/run" --device cpu \
    ${sets[@]+"${sets[@]}"}
"${fourm[@]}" data show "$data" --rows 6 --to "$to/samples.html"
echo "the samples, drawn: $to/samples.html; the run: $to/run"
