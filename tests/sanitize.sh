#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# tests/sanitize.sh BUILD_DIR [TOOL...]: runs the CUDA tests of a build under compute-sanitizer (memcheck, racecheck,
# initcheck and synccheck), each program in several processes at once. Tests tagged [large] are left out: under a
# sanitizer they take hours.
# racecheck and initcheck of CUDA 13.0 do not see all that mbarriers synchronise and none of what bulk copies write
# (release notes of compute-sanitizer 2025.4 and 2026.1), so they report races and reads that are none; take a later
# one, such as that of the wheel nvidia-cuda-sanitizer-api.
#   SEGUE_SANITIZER          the program; compute-sanitizer
#   SEGUE_SANITIZE_JOBS      processes at once; all cores. With many on one GPU the tool itself may crash (exit code
#                            139): run such a part alone
#   SEGUE_SANITIZE_SECONDS   what a process may take (600); one that is cut off counts as a failure
#   SEGUE_SANITIZE_LOGS      where the output goes; a temporary folder that is kept if something is wrong
set -euo pipefail
build=$1
shift
tools=("$@")
[[ ${#tools[@]} -gt 0 ]] || tools=(memcheck racecheck initcheck synccheck)
jobs=${SEGUE_SANITIZE_JOBS:-$(nproc)}
seconds=${SEGUE_SANITIZE_SECONDS:-600}
export sanitizer=${SEGUE_SANITIZER:-compute-sanitizer}
logs=${SEGUE_SANITIZE_LOGS:-$(mktemp -d)}
mkdir -p "$logs"

# initcheck follows the tensor copies of cuBLAS, but not all that they write: results and workspace are set before a
# product (SEGUE_POISON_PRODUCTS, in all tests on a GPU). memcheck would take some of its copies for misaligned.
# Races in its own kernels, whose barriers racecheck does not follow, are not ours to judge.
tensor_copies=''
help=$("$sanitizer" --help)
if grep -q -- --check-tensor-ops <<<"$help"; then tensor_copies='--check-tensor-ops yes'; fi
not_ours=''
for library in nvjet cublas cutlass; do not_ours+=" --kernel-name-exclude kns=$library"; done
export tensor_copies not_ours

# shellcheck disable=SC2317  # xargs calls it
# Errors of the API are not errors here: tests ask for memory that is not there and look at the sentence.
run() {
  local tool=$1 program=$2 part=$3 log=$4 code=0 words=
  [[ $tool != initcheck ]] || words=$tensor_copies
  [[ $tool != racecheck ]] || words=$not_ours
  # shellcheck disable=SC2086  # they are words
  timeout "$seconds" "$sanitizer" --tool "$tool" --report-api-errors no --error-exitcode 9 $words \
    "$program" -f "$part" >"$log" 2>&1 || code=$?
  echo "$code" >"$log.code"
}
export -f run
export seconds

failed=0
programs=0
for program in "$build"/tests/cuda_*; do
  [[ -x $program && ! -d $program ]] || continue
  name=$(basename "$program")
  programs=$((programs + 1))
  rm -f "$logs/$name".*
  # Catch2 2 prints names by one option, 3 by another; either ends with a code of its own.
  { "$program" '~[large]' --list-test-names-only 2>/dev/null || true; } >"$logs/$name.tests"
  if ! grep -q . "$logs/$name.tests" || grep -qi 'unrecogni[sz]ed\|Error(s) in input' "$logs/$name.tests"; then
    { "$program" '~[large]' --list-tests --verbosity quiet || true; } >"$logs/$name.tests"
  fi
  if ! grep -q . "$logs/$name.tests"; then
    echo "$name: lists no tests; is there a GPU?"
    exit 2
  fi
  # Catch2 would take these for the end of a name, or for a tag.
  sed -i 's/[][,\\]/\\&/g' "$logs/$name.tests"
  split -n "r/$jobs" "$logs/$name.tests" "$logs/$name.part-"
  for tool in "${tools[@]}"; do
    begin=$SECONDS
    for part in "$logs/$name".part-*; do
      if [[ -s $part ]]; then printf '%s\0' "$tool" "$program" "$part" "$logs/$name.$tool.${part##*-}.log"; fi
    done | xargs -0 -n 4 -P "$jobs" bash -c 'run "$@"' _
    bad=$(grep -Lx 0 "$logs/$name.$tool".*.code || true)
    echo "$name $tool: $(wc -l <"$logs/$name.tests") test cases, $((SECONDS - begin)) s, $([[ -z $bad ]] && echo clean || echo WRONG)"
    for code in $bad; do
      failed=1
      echo "  exit code $(cat "$code"): ${code%.code}"
      grep -h -m 5 -A 3 '^========= [A-Z]' "${code%.code}" | grep -v 'COMPUTE-SANITIZER' | head -n 20 || true
    done
  done
done
if [[ $programs == 0 ]]; then
  echo "$build holds no CUDA tests"
  exit 2
fi
exit "$failed"
