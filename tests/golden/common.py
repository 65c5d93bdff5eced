# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""What every golden script shares: a reproducible torch, and a safetensors writer with a fixed byte order.

The environment is set before torch is imported: one thread and the plainest instruction set everywhere, so that the
files come out the same, bit for bit, on any x86-64 processor.
"""

import json
import os
import pathlib
import struct

os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    MKL_CBWR="COMPATIBLE",
    ATEN_CPU_CAPABILITY="default",
    ONEDNN_MAX_CPU_ISA="SSE41",
    HF_HUB_OFFLINE="1",
)

import numpy as np
import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

HERE = pathlib.Path(__file__).resolve().parent

_DTYPES = {
    np.dtype("float64"): "F64",
    np.dtype("float32"): "F32",
    np.dtype("uint16"): "U16",
    np.dtype("uint8"): "U8",
    np.dtype("int8"): "I8",
    np.dtype("int32"): "I32",
    np.dtype("int64"): "I64",
    np.dtype("uint32"): "U32",
}


def versions():
    import diffusers
    import peft

    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}


def save(path, tensors, metadata):
    """Writes safetensors with sorted names, sorted metadata and a header padded to 8 bytes.

    The reference writer orders metadata by a hash that differs between runs; golden files must not.
    """
    header = {"__metadata__": dict(sorted(metadata.items()))}
    blobs, offset = [], 0
    # Wide types first, as the reference writer does: every tensor then starts aligned to its own width.
    arrays = {name: np.ascontiguousarray(t) for name, t in tensors.items()}
    for name in sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n)):
        array = arrays[name].reshape(np.shape(tensors[name]))
        header[name] = {
            "dtype": _DTYPES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        blobs.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for blob in blobs:
            file.write(blob)


def settle(path):
    """Sorts the metadata of a file that a library wrote: its order is a hash map's and differs between runs."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


class Golden:
    """Collects `<case>.<tensor>` entries and one JSON string of hyper-parameters a case."""

    def __init__(self, script, stem):
        self.stem = stem
        self.tensors = {}
        self.metadata = {"script": f"tests/golden/{script}", **versions()}

    def add(self, case, params, **tensors):
        assert case not in self.metadata, case
        self.metadata[case] = json.dumps(params, sort_keys=True)
        for name, value in tensors.items():
            self.put(f"{case}.{name}", value)

    def put(self, name, value):
        assert name not in self.tensors, name
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        value = np.array(value)  # a copy: parameters are trained on after they were recorded
        # Operators are evaluated in float64 on float32 inputs; the file holds the rounded result.
        if value.dtype == np.float64 and not name.endswith("_f64"):
            value = value.astype(np.float32)
        self.tensors[name] = value

    def write(self):
        save(HERE / f"{self.stem}.safetensors", self.tensors, self.metadata)
        size = (HERE / f"{self.stem}.safetensors").stat().st_size
        print(f"{self.stem}.safetensors: {len(self.tensors)} tensors, {size} bytes")
