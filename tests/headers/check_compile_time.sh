#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# check_compile_time.sh COMPILER INCLUDE_DIR [FLAG...]: a program that includes the CPU library, the models and the
# trainer must be read in 1.8 s without optimisation. The best of three counts; machines differ, so the limit is
# multiplied by $SEGUE_COMPILE_SLACK (2).
set -euo pipefail
compiler=$1 include=$(cd "$2" && pwd)
shift 2
budget_ms=1800
slack=${SEGUE_COMPILE_SLACK:-2}

work=$(mktemp -d "${TMPDIR:-/tmp}/segue-time-XXXXXX")
trap 'rm -rf "$work"' EXIT

cd "$include"
for header in segue/cpu.hpp segue/models/*.hpp segue/train/trainer.hpp; do
  if [[ -e $header ]]; then
    echo "#include \"$header\"" >>"$work/tu.cpp"
  fi
done
if [[ ! -s $work/tu.cpp ]]; then
  echo "there is nothing to measure yet"
  exit 0
fi
echo 'int main() {}' >>"$work/tu.cpp"

# Processor time, so that what else the machine does counts less.
TIMEFORMAT='%U %S'
best=
for _ in 1 2 3; do
  { time "$compiler" -std=c++20 -O0 "-I$include" "$@" -c "$work/tu.cpp" -o "$work/tu.o" 2>"$work/log"; } \
    2>"$work/seconds" || { cat "$work/log"; exit 1; }
  ms=$(awk '{ printf "%d", 1000 * ($1 + $2) }' "$work/seconds")
  if [[ -z $best || $ms -lt $best ]]; then best=$ms; fi
done
limit=$(awk -v b="$budget_ms" -v s="$slack" 'BEGIN { printf "%d", b * s }')
echo "$((best / 1000)).$(printf %03d $((best % 1000))) s for cpu, models and trainer; limit $limit ms ($budget_ms x $slack)"
[[ $best -le $limit ]]
