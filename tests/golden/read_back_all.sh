#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
# tests/golden/read_back_all.sh TEST_ADAPTERS: model folders and adapters in every layout, written by segue, read by
# diffusers and PEFT; their outputs must be those that were recorded. Wants a Python with requirements.txt installed;
# PYTHON names it (default: python3).
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
SEGUE_READ_BACK_DIR=$folder "$program" '[read_back]'
for pair in wan_t2v:adapter wan_i2v_clip:lora_r4; do
  name=${pair%%:*}
  adapters=()
  for path in diffusers.safetensors peft comfyui.safetensors kohya.safetensors; do
    adapters+=(--adapter "$folder/$name/$path")
  done
  "$python" read_back.py model "$folder/$name" --inputs "$name.safetensors" --case forward \
    --expect "$name.safetensors:forward.y"
  "$python" read_back.py model "$folder/$name" --inputs "$name.safetensors" --case forward \
    --expect "$name.safetensors:${pair##*:}.y" "${adapters[@]}"
done
