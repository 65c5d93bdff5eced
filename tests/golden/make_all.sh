#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
# Rewrites every golden file, the list of cases in README.md, and SHA256SUMS.
# Wants a Python with requirements.txt installed; PYTHON names it (default: python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${PYTHON:-python3}
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
for script in make_ops.py make_schedulers.py make_wan.py make_wan_family.py make_full_size.py list_cases.py; do
  "$python" "$script"
done
find . -type f \( -name '*.safetensors' -o -name '*.json' \) -printf '%P\n' |
  LC_ALL=C sort | xargs sha256sum > SHA256SUMS
echo "SHA256SUMS: $(wc -l < SHA256SUMS) files"
