#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# check_case.sh COMPILER CASE [FLAG...]
set -euo pipefail
compiler=$1 case=$2
shift 2
if [[ $case == *.cu ]]; then
  set -- -ptx -arch=sm_80 -o /dev/null "${@//-isystem/-isystem=}"
else
  set -- -fsyntax-only "$@"
fi

read -r line <"$case"
expected=${line#// expect: }
if [[ $line == "$expected" || -z $expected ]]; then
  echo "$case: the first line must be '// expect: TEXT'"
  exit 1
fi

if ! right=$("$compiler" -std=c++20 -DSEGUE_OK "$@" "$case" 2>&1); then
  printf 'The right program (-DSEGUE_OK) does not compile:\n%s\n' "$right"
  exit 1
fi
if wrong=$("$compiler" -std=c++20 "$@" "$case" 2>&1); then
  echo "The wrong program compiles."
  exit 1
fi
if ! grep -qF -- "$expected" <<<"$wrong"; then
  printf 'The message lacks "%s":\n%s\n' "$expected" "$wrong"
  exit 1
fi
echo "refused as expected: $(grep -F -m 1 -- "$expected" <<<"$wrong")"
