#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# Runs the tests: installs what is missing, builds, and hands all arguments to ctest (`-R ops`, `-L unit`, ...).
#   SEGUE_PRESET     the preset to build: dev, ci where $CI is set, or asan-ubsan
#   SEGUE_DATA_DIR   real data; ../shared/data if that is there. Tests that need it skip without it
set -euo pipefail
# shellcheck source=cmake/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/setup.sh"

if [[ -z ${SEGUE_DATA_DIR:-} && -d $segue_root/../shared/data ]]; then
  SEGUE_DATA_DIR=$(cd "$segue_root/../shared/data" && pwd)
  export SEGUE_DATA_DIR
fi

preset=${SEGUE_PRESET:-$([[ -n ${CI:-} ]] && echo ci || echo dev)}
segue_setup tests
segue_build "$preset" segue_tests
exec ctest --test-dir "$segue_root/build/$preset" --output-on-failure --no-tests=error -j2 "$@"
