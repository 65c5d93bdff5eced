# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

# Sourced by examples/run.sh and tests/run.sh:
#   segue_setup examples|tests|bench   installs what the job lacks, and refuses tools that are too old
#   segue_build PRESET TARGET          configures build/PRESET and builds TARGET
# Everything said here goes to stderr: stdout belongs to the program that is run.

# CMake would take c++, whichever compiler that is.
export CXX=${CXX:-g++}

segue_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

segue_say() { printf 'segue: %s\n' "$*" >&2; }

# Is one of these files below a folder where compilers and CMake look?
segue_has_file() {
  local place name
  local -a places
  IFS=: read -ra places <<<"${CMAKE_PREFIX_PATH:-}:/usr:/usr/local"
  for place in "${places[@]}"; do
    for name in "$@"; do
      # Debian keeps libraries below the machine's triplet, so names may hold patterns.
      if [[ -n $place ]] && compgen -G "$place/$name" >/dev/null; then return 0; fi
    done
  done
  return 1
}

# The Debian packages that the job needs and that are not there under any other name, one a line.
segue_missing() {
  local job=$1
  command -v "$CXX" >/dev/null || echo g++
  command -v cmake >/dev/null || echo cmake
  command -v ninja >/dev/null || echo ninja-build
  [[ -n ${Eigen3_DIR:-} ]] || segue_has_file include/eigen3/Eigen/Core include/Eigen/Core || echo libeigen3-dev
  if [[ $job != bench ]]; then
    [[ -n ${nlohmann_json_DIR:-} ]] || segue_has_file include/nlohmann/json.hpp || echo nlohmann-json3-dev
    segue_has_file include/stb/stb_image.h include/stb_image.h || echo libstb-dev
  fi
  if [[ $job == tests ]]; then
    [[ -n ${Catch2_DIR:-} ]] || segue_has_file 'include/catch2/catch*.hpp' || echo catch2
  fi
  if [[ $job == bench ]]; then
    [[ -n ${benchmark_DIR:-} ]] || segue_has_file include/benchmark/benchmark.h || echo libbenchmark-dev
  fi
}

segue_refuse_older() {
  local name=$1 found=$2 needed=$3
  if [[ $(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
    segue_say "$name $needed or later is needed, found $found; Debian 12 and Ubuntu 24.04 have it."
    exit 2
  fi
}

segue_setup() {
  local missing log root=()
  missing=$(segue_missing "$1" | tr '\n' ' ')
  if [[ -n $missing ]]; then
    missing=${missing% }
    local -a packages
    read -ra packages <<<"$missing"
    if ! command -v apt-get >/dev/null; then
      segue_say "missing: $missing. Please install what your system calls these Debian packages, then run this again."
      exit 2
    fi
    if [[ $(id -u) != 0 ]]; then
      if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        root=(sudo -n)
      else
        segue_say "missing: $missing. Please run: sudo apt-get install $missing"
        exit 2
      fi
    fi
    segue_say "installing $missing"
    log=$(mktemp)
    if ! { "${root[@]}" apt-get update -q &&
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        "${packages[@]}"; } >"$log" 2>&1; then
      cat "$log" >&2
      rm -f "$log"
      segue_say "apt-get could not install $missing; its own words are above."
      exit 2
    fi
    rm -f "$log"
    missing=$(segue_missing "$1" | tr '\n' ' ')
    if [[ -n $missing ]]; then
      segue_say "apt-get succeeded, but still missing: ${missing% }."
      exit 2
    fi
  fi
  segue_refuse_older CMake "$(cmake --version | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')" 3.24
  if "$CXX" --version | grep -qi clang; then
    segue_refuse_older clang++ "$("$CXX" -dumpversion)" 14
  else
    segue_refuse_older g++ "$("$CXX" -dumpfullversion)" 12
  fi
}

segue_build() {
  local preset=$1 target=$2 build=$segue_root/build/$1 log machine
  # Objects for another processor, compiler or place are of no use here.
  machine=$(
    echo "$segue_root"
    "$CXX" --version
    "$CXX" -march=native -Q --help=target 2>/dev/null || true
  )
  if [[ -e $build && $(cat "$build/machine.txt" 2>/dev/null) != "$machine" ]]; then
    segue_say "build/$preset was made by another compiler, processor or folder: starting afresh"
    rm -rf "$build"
  fi
  mkdir -p "$build"
  printf '%s\n' "$machine" >"$build/machine.txt"

  log=$build/configure.log
  if ! (cd "$segue_root" && cmake --preset "$preset") >"$log" 2>&1; then
    cat "$log" >&2
    exit 2
  fi
  sed -n 's/^-- \(segue: .*\)/\1/p' "$log" >&2
  if [[ $target == *_cuda ]] && ! cmake --build "$build" --target help | grep -q "^$target: "; then
    segue_say "$target needs NVIDIA's CUDA toolkit 12.4 or later, which CMake did not find (it looks for nvcc on the PATH, in CUDA_PATH and in /usr/local/cuda)."
    exit 2
  fi
  segue_say "building $target in build/$preset"
  cmake --build "$build" --target "$target" --parallel "$(nproc)" >&2
}
