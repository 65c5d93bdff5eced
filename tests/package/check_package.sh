#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# check_package.sh WAY SOURCE_DIR BINARY_DIR CMAKE COMPILER THREAD_FLAG [FLAG...]: builds and runs a
# user's project. THREAD_FLAG is what the compiler must have been given for OpenMP, or `none`.
set -euo pipefail
way=$1 source=$2 binary=$3 cmake=$4 compiler=$5 thread_flag=$6
shift 6

here=$source/tests/package
work=$(mktemp -d "${TMPDIR:-/tmp}/segue-package-XXXXXX")
trap 'rm -rf "$work"' EXIT

configure() {
  "$cmake" -G Ninja -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_COMPILER=$compiler" -B "$work/build" "$@"
}
build_and_run() {
  configure "$@" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
  "$cmake" --build "$work/build" --verbose | tee "$work/log"
  if [[ $thread_flag != none ]] && ! grep -qe "$thread_flag" "$work/log"; then
    echo "the consumer was built without $thread_flag: segue would run on one thread"
    return 1
  fi
  "$work/build/consumer"
}

# The program that README.md shows.
readme_program() { awk '/^```cpp$/ { on = 1; next } /^```$/ { on = 0 } on' "$source/README.md"; }
# It must learn: its last loss is below its first.
run_and_learn() {
  "$work/consumer" | tee "$work/log"
  awk '/^step/ { if (!n++) first = $4; last = $4 } END { exit !(n > 1 && last < 0.8 * first) }' "$work/log"
}

case $way in
find_package)
  "$cmake" --install "$binary" --prefix "$work/first" >/dev/null
  # A package must not know where it was installed.
  mv "$work/first" "$work/prefix"
  if grep -rlF -e "$source" -e "$work/first" "$work/prefix/share/cmake"; then
    echo "the files above hold absolute paths"
    exit 1
  fi
  build_and_run -S "$here/find_package" "-DCMAKE_PREFIX_PATH=$work/prefix"
  if configure -S "$here/find_package" "-DCMAKE_PREFIX_PATH=$work/prefix" -DWANTED_VERSION=0.999 >"$work/log" 2>&1; then
    echo "a package of another minor version was accepted"
    exit 1
  fi
  if ! tr -s '\n ' ' ' <"$work/log" | grep -q 'compatible with requested version "0.999"'; then
    echo "the package was refused for another reason:"
    cat "$work/log"
    exit 1
  fi
  ;;
build_tree)
  build_and_run -S "$here/find_package" "-Dsegue_DIR=$binary"
  ;;
add_subdirectory)
  build_and_run -S "$here/add_subdirectory" "-DSEGUE_SOURCE=$source"
  # Nothing of ours may be built, tested or installed by a project that only uses the library.
  if find "$work/build/segue" -name '*.o' | grep . || grep -E '^SEGUE_(BUILD_[A-Z]*|INSTALL|NATIVE|WERROR):BOOL=ON' "$work/build/CMakeCache.txt"; then
    echo "the project built more than it asked for"
    exit 1
  fi
  ;;
readme)
  readme_program >"$work/main.cpp"
  "$compiler" -std=c++20 -O0 -Wall -Wextra -Werror "-I$source/include" "$@" "$work/main.cpp" -o "$work/consumer"
  run_and_learn
  ;;
readme_cuda)
  # The program of above with the lines that the text for a GPU gives.
  readme_program |
    sed -e "s|^#include \"segue/cpu.hpp\"$|$(grep -m 1 '^#include "segue/cuda.cuh"$' "$source/README.md")|" \
      -e "s|^using P = .*|$(grep -m 1 '^using P = Policy<Bf16, Cuda>;$' "$source/README.md")|" >"$work/main.cu"
  "$compiler" -std=c++20 -arch=sm_80 -O0 "-I$source/include" "${@//-isystem/-isystem=}" "$work/main.cu" -o "$work/consumer" -lcublasLt
  if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "there is no GPU to run it on"
    exit 0
  fi
  run_and_learn
  ;;
find_package_cuda)
  "$cmake" --install "$binary" --prefix "$work/prefix" >/dev/null
  configure -S "$here/find_package_cuda" "-DCMAKE_PREFIX_PATH=$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  "$cmake" --build "$work/build"
  ;;
plain)
  "$compiler" -std=c++20 -O0 "-I$source/include" "$@" "$here/plain/main.cpp" -o "$work/consumer"
  "$work/consumer"
  ;;
esac
