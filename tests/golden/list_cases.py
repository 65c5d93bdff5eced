# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the list of cases below the marker in README.md, from the headers of the golden files themselves."""

import json
import struct

from common import HERE

MARKER = "<!-- everything below is written by list_cases.py -->"
SPELL = {"F32": "", "F64": " f64", "U8": " u8", "I8": " i8", "U16": " u16", "U32": " u32", "I32": " i32", "I64": " i64"}


def header(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def main():
    readme = HERE / "README.md"
    lines = []
    for path in sorted(HERE.glob("*.safetensors")):
        entries = header(path)
        metadata = entries.pop("__metadata__")
        size = path.stat().st_size
        lines += ["", f"### {path.name}", f"{len(entries)} tensors, {size} bytes, by `{metadata['script']}`.", ""]
        cases = {}
        for name, entry in entries.items():
            case = max((m for m in metadata if name.startswith(m + ".")), key=len)
            cases.setdefault(case, []).append((name[len(case) + 1:], entry))
        for case in sorted(cases):
            listed = sorted(cases[case], key=lambda x: x[0])
            shown = listed if len(listed) < 36 else listed[:3]  # one tensor a parameter: the names are the model's
            tensors = ", ".join(f"{n} [{','.join(map(str, e['shape']))}]{SPELL[e['dtype']]}" for n, e in shown)
            tensors += f", ... {len(listed)} in all" if shown is not listed else ""
            lines.append(f"- **{case}** `{metadata[case]}`: {tensors}")
    text = readme.read_text().split(MARKER)[0]
    readme.write_text(text + MARKER + "\n" + "\n".join(lines) + "\n")
    print(f"README.md: {len(lines)} lines of cases")


if __name__ == "__main__":
    main()
