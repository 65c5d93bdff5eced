#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# check_headers.sh COMPILER INCLUDE_DIR [FLAG...]: compiles every header below INCLUDE_DIR alone, two at a time.
# io/impl.hpp is left out where nlohmann-json is not installed, which is told by the missing -DSEGUE_HAS_STB.
set -euo pipefail
compiler=$1 include=$2
shift 2
flags="$*"

work=$(mktemp -d "${TMPDIR:-/tmp}/segue-headers-XXXXXX")
trap 'rm -rf "$work"' EXIT

check() {
  local header=$1 tu log
  tu=$work/$(tr / _ <<<"$header").cpp
  log=$tu.log
  printf '#include "%s"\n#include "%s"\n' "$header" "$header" >"$tu"
  # shellcheck disable=SC2086
  if ! "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Werror "-I$include" $flags "$tu" \
    >"$log" 2>&1; then
    printf '%s does not compile alone:\n' "$header"
    head -n 40 "$log"
    touch "$work/failed"
  fi
}
export -f check
export compiler include flags work

cd "$include"
find segue -name '*.hpp' | LC_ALL=C sort >"$work/all"
if [[ $flags != *SEGUE_HAS_STB* ]]; then
  sed -i '\,segue/io/impl.hpp,d' "$work/all"
fi
# shellcheck disable=SC2016  # the inner shell expands it
xargs -a "$work/all" -P 2 -I '{}' bash -c 'check "$1"' _ '{}'
echo "$(wc -l <"$work/all") headers, $(basename "$compiler")"
[[ -s $work/all && ! -e $work/failed ]]
