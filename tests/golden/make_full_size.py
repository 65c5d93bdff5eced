# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""A random Wan of the 1.3B shape, and what diffusers makes of its first block.

wan_full_block0.safetensors: inputs and output of block 0, in float32 from the bf16 weights.
With a folder as argument, the whole model goes there too (2.8 GB, never committed): config.json, an index and three
shards in bf16, as `save_pretrained` writes them. Every tensor has a seed of its own, so block 0 is the same without.
"""

import argparse
import math
import zlib

from common import Golden

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformerBlock

CONFIG = dict(patch_size=(1, 2, 2), num_attention_heads=12, attention_head_dim=128, in_channels=16, out_channels=16,
              text_dim=4096, freq_dim=256, ffn_dim=8960, num_layers=30)
DIM = CONFIG["num_attention_heads"] * CONFIG["attention_head_dim"]
GRID = (2, 4, 8)
TEXT_TOKENS = 5
UNIT = 1 / 32
Y_EVERY = 3


def generator(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def weight(name, shape):
    """bf16; none zero or one, so that no term can hide."""
    x = torch.randn(shape, generator=generator(name))
    if "norm" in name and name.endswith("weight"):
        x = x * 0.2 + 1
    elif name.endswith("bias"):
        x *= 0.15
    elif name.endswith("scale_shift_table"):
        x *= 0.3
    else:
        x *= 0.9 / math.sqrt(math.prod(shape[1:]))
    return x.to(torch.bfloat16)


def draw(name, *shape):
    """Standard normal in units of UNIT: a byte each in the file, and exact in every floating type."""
    return (torch.randn(shape, generator=generator(name)) / UNIT).round().clamp(-127, 127)


def block_case():
    block = WanTransformerBlock(DIM, CONFIG["ffn_dim"], CONFIG["num_attention_heads"],
                                cross_attn_norm=True).eval()
    block.load_state_dict({name: weight(f"blocks.0.{name}", p.shape).float() for name, p in block.named_parameters()})
    rope = WanRotaryPosEmbed(CONFIG["attention_head_dim"], (1, 1, 1), 1024)(torch.empty(1, 1, *GRID))
    tokens = math.prod(GRID)
    x, text, time = draw("x", 1, tokens, DIM), draw("text", 1, TEXT_TOKENS, DIM), draw("time", 1, 6, DIM)
    y = block(x * UNIT, text * UNIT, time * UNIT, rope)
    g = Golden("make_full_size.py", "wan_full_block0")
    g.add("block0", {"grid": GRID, "unit": UNIT, "y_every": Y_EVERY, "config": CONFIG},
          x=x.to(torch.int8), text=text.to(torch.int8), time=time.to(torch.int8), y=y[:, ::Y_EVERY])
    g.write()


def write_folder(path):
    with torch.device("meta"):
        model = WanTransformer3DModel(**CONFIG)
    model.load_state_dict({name: weight(name, p.shape) for name, p in model.named_parameters()}, assign=True)
    model.save_pretrained(path, max_shard_size="1GB")
    print(f"{path}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="where the whole model goes")
    args = parser.parse_args()
    with torch.no_grad():
        block_case()
        if args.folder:
            write_folder(args.folder)
