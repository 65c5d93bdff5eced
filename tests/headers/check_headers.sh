#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# check_headers.sh alone|together COMPILER INCLUDE_DIR [FLAG...]: compiles every header below INCLUDE_DIR without a
# warning, each one alone and twice, two at a time; or all of them in one file, and once more in the opposite order.
# For nvcc the headers are the .cuh.
# io/impl.hpp is left out where nlohmann-json is not installed, which is told by the missing -DSEGUE_HAS_STB.
set -euo pipefail
how=$1 compiler=$2 include=$(cd "$3" && pwd)
shift 3
flags="$*"

if [[ $(basename "$compiler") == nvcc ]]; then
  kind=cuh suffix=cu
  flags=${flags//-isystem/-isystem=}
  # The host's half is g++'s to judge, by its own warnings; device code goes as far as PTX.
  options="-std=c++20 -arch=sm_80 -ptx -o /dev/null -Xcompiler -Wall,-Wextra,-Wshadow -Werror all-warnings"
else
  kind=hpp suffix=cpp
  options="-std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Werror"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/segue-headers-XXXXXX")
trap 'rm -rf "$work"' EXIT

# check WHAT HEADER...: one file that includes these headers.
check() {
  local what=$1 tu
  tu=$work/$(tr / _ <<<"$1").$suffix
  shift
  printf '#include "%s"\n' "$@" >"$tu"
  # shellcheck disable=SC2086
  if ! "$compiler" $options "-I$include" $flags "$tu" >"$tu.log" 2>&1; then
    echo "$what does not compile:"
    head -n 40 "$tu.log"
    touch "$work/failed"
  fi
}
alone() { check "$1" "$1" "$1"; }
export -f check alone
export compiler include flags work options suffix

cd "$include"
find segue -name "*.$kind" | LC_ALL=C sort >"$work/all"
if [[ $flags != *SEGUE_HAS_STB* ]]; then
  sed -i '\,segue/io/impl.hpp,d' "$work/all"
fi
mapfile -t headers <"$work/all"
if [[ $how == alone ]]; then
  # shellcheck disable=SC2016  # the inner shell expands it
  xargs -a "$work/all" -P 2 -I '{}' bash -c 'alone "$1"' _ '{}'
else
  mapfile -t backwards < <(tac "$work/all")
  check "all in order" "${headers[@]}" &
  check "all in the opposite order" "${backwards[@]}"
  wait
fi
echo "${#headers[@]} headers $how, $(basename "$compiler")"
[[ -s $work/all && ! -e $work/failed ]]
