#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# The main job: fits an adapter to a few image pairs and shows what it learned. Installs what is missing, builds, runs.
# All arguments go to the program; `bash examples/run.sh --help` says what they are.
set -euo pipefail
# shellcheck source=cmake/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/setup.sh"

device=cpu precision=
for ((i = 1; i <= $#; ++i)); do
  next=$((i + 1))
  case ${!i} in
    --device) device=${!next:-} ;;
    --precision) precision=${!next:-} ;;
    --device=* | --precision=*) declare "${!i:2}" ;;
  esac
done
program=fewshot
if [[ $device == cuda ]]; then
  program=fewshot_cuda
elif [[ $precision == @(bf16|fp32) ]]; then
  program=fewshot_$precision
fi

segue_setup examples
segue_build release "$program"
# GNU's threads wait by spinning for milliseconds: beside any other load, small operators would take a hundred times as
# long. Not spinning at all costs a third of the speed where nothing else runs; some microseconds are the best of both.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
# The program takes this script's place: its exit code and its Ctrl-C are the script's.
exec "$segue_root/build/release/examples/$program" "$@"
