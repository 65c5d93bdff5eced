# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Loads what segue wrote with diffusers and PEFT, and compares.

  read_back.py model DIR --inputs FILE [--case forward] [--adapter PATH]... [--outputs FILE] [--expect FILE:NAME]...
      DIR      a folder with config.json and *.safetensors, read by WanTransformer3DModel.from_pretrained as float32;
               missing, unexpected and mis-shaped tensors are failures.
      FILE     holds hidden_states, timestep, encoder_hidden_states and, where the model takes one,
               encoder_hidden_states_image, each after `CASE.` if --case is given.
      PATH     a .safetensors file in diffusers', ComfyUI's or kohya's layout, or a folder: with adapter_config.json it
               is PEFT's, else diffusers' (pytorch_lora_weights.safetensors). Keys that start with `transformer.`,
               `diffusion_model.` or `lora_unet_` take the way of the pipelines, which renames the last two and bakes
               alpha into A. A key that the library ignored, or a value that it changed besides, is a failure.
      The output file gets `base`, then `adapter0`, `adapter1`,
      ... in the order given. All adapters must agree with each
      other. `--expect FILE:NAME` compares the output of the base, or of the adapters if there are any, with a tensor.

  read_back.py compare FILE FILE [--only SUBSTRING]
      Same names, shapes and values?

Tolerance: |a - b| <= atol + rtol * max|b|, options --atol (1e-5) and --rtol (1e-5). Exit code 1 on any failure.
"""

import argparse
import json
import pathlib
import sys

import common  # noqa: F401 (pins threads before torch starts)

import safetensors
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

failures = []


def report(ok, text):
    print(("ok    " if ok else "FAIL  ") + text)
    if not ok:
        failures.append(text)


def close(a, b, what, args):
    if a.shape != b.shape:
        return report(False, f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if a.numel() == 0:
        return report(True, f"{what}: empty")
    a, b = a.double(), b.double()
    largest = b.abs().max().item()
    difference, limit = (a - b).abs().max().item(), args.atol + args.rtol * largest
    report(difference <= limit, f"{what}: max |a-b| = {difference:.3g}, allowed {limit:.3g}, max |b| = {largest:.3g}")


def load_model(folder):
    model, info = WanTransformer3DModel.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True
    )
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        report(not info[key], f"{folder}: {key} {sorted(map(str, info[key]))}")
    if failures:
        sys.exit(1)  # a missing tensor stays without memory: nothing can be run
    return model.eval()


def same_tensors(found, written, what):
    report(found.keys() == written.keys(), f"{what}: {len(written)} keys written, {len(found)} taken; "
           f"differing {sorted(found.keys() ^ written.keys())[:6]}")
    changed = [k for k in found.keys() & written.keys() if not torch.equal(found[k].float(), written[k].float())]
    report(not changed, f"{what}: values changed by loading {sorted(changed)[:6]}")


def show_scales(model, what):
    scales = {n: m.scaling for n, m in model.named_modules() if hasattr(m, "scaling") and hasattr(m, "lora_A")}
    distinct = sorted({float(s) for m in scales.values() for s in m.values()})
    print(f"      {what}: {len(scales)} wrapped linears, scale {distinct}")


def load_adapter(folder, path):
    """A fresh model with the adapter on it."""
    model, path = load_model(folder), pathlib.Path(path)
    if path.is_dir() and (path / "adapter_config.json").exists():
        written = load_file(path / "adapter_model.safetensors")
        wrapped = PeftModel.from_pretrained(model, str(path))
        found = get_peft_model_state_dict(wrapped)
        same_tensors(found, written, f"{path} (PEFT)")
        show_scales(wrapped, path)
        return wrapped.eval()
    file = path / "pytorch_lora_weights.safetensors" if path.is_dir() else path
    written = load_file(file)
    with safetensors.safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    print(f"      {file}: metadata keys {sorted(metadata)}")
    if "lora_adapter_metadata" in metadata:
        json.loads(metadata["lora_adapter_metadata"])
    if all(k.startswith(("transformer.", "diffusion_model.", "lora_unet_")) for k in written):
        state, meta = WanLoraLoaderMixin.lora_state_dict(str(file.parent), weight_name=file.name, local_files_only=True,
                                                         return_lora_metadata=True)
        halves = [k for k in written if not k.endswith(".alpha")]
        report(len(state) == len(halves), f"{file}: {len(halves)} halves written, {len(state)} taken")
        WanLoraLoaderMixin.load_lora_into_transformer(state, transformer=model, metadata=meta)
        written = {k.removeprefix("transformer."): v for k, v in state.items()}
    else:
        model.load_lora_adapter(str(file.parent), weight_name=file.name, prefix=None, local_files_only=True)
    (adapter,) = model.peft_config
    same_tensors(get_peft_model_state_dict(model, adapter_name=adapter), written, f"{file} (diffusers)")
    show_scales(model, path)
    return model.eval()


@torch.no_grad()
def run(model, inputs):
    return model(**inputs).sample


def command_model(args):
    tensors = load_file(args.inputs)
    prefix = f"{args.case}." if args.case else ""
    names = ("hidden_states", "timestep", "encoder_hidden_states", "encoder_hidden_states_image")
    inputs = {k: tensors[prefix + k].float() for k in names if k != names[-1] or prefix + k in tensors}
    outputs = {"base": run(load_model(args.folder), inputs)}
    for i, path in enumerate(args.adapter):
        outputs[f"adapter{i}"] = run(load_adapter(args.folder, path), inputs)
        close(outputs[f"adapter{i}"], outputs["adapter0"], f"adapter{i} against adapter0", args)
        report(not torch.equal(outputs[f"adapter{i}"], outputs["base"]), f"adapter{i} changes the output")
    for expect in args.expect:
        file, name = expect.rsplit(":", 1)
        wanted = load_file(file)[name].float()
        for key in [k for k in outputs if k != "base"] or ["base"]:
            close(outputs[key], wanted, f"{key} against {expect}", args)
    if args.outputs:
        save_file({k: v.contiguous() for k, v in outputs.items()}, args.outputs)


def command_compare(args):
    a, b = load_file(args.a), load_file(args.b)
    if args.only:
        a, b = ({k: v for k, v in t.items() if args.only in k} for t in (a, b))
    report(a.keys() == b.keys(), f"{len(a)} and {len(b)} names; differing {sorted(a.keys() ^ b.keys())[:6]}")
    for key in sorted(a.keys() & b.keys()):
        close(a[key], b[key], key, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    model = commands.add_parser("model")
    model.add_argument("folder")
    model.add_argument("--inputs", required=True)
    model.add_argument("--case", default="")
    model.add_argument("--adapter", action="append", default=[])
    model.add_argument("--outputs")
    model.add_argument("--expect", action="append", default=[], metavar="FILE:NAME")
    model.set_defaults(call=command_model)
    compare = commands.add_parser("compare")
    compare.add_argument("a")
    compare.add_argument("b")
    compare.add_argument("--only", default="")
    compare.set_defaults(call=command_compare)
    for sub in (model, compare):
        sub.add_argument("--atol", type=float, default=1e-5)
        sub.add_argument("--rtol", type=float, default=1e-5)
    args = parser.parse_args()
    args.call(args)
    print(f"{len(failures)} failure(s)")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
