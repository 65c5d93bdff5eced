# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Pretraining the small Wan: clips a second of `pretrain_cuda` and of PyTorch, one card, one run, one model, one batch.

    python3 bench/compare_torch_pretrain.py build/release/examples/pretrain_cuda [--steps 400] [--batch 256]
        [-- more arguments for the program]

PyTorch trains in bf16 autocast with fp32 weights, fused AdamW, clipping and a moving average, on clips that lie in
the GPU's memory as bytes; eager, compiled, and compiled into CUDA graphs ("reduce-overhead"). Ours draws its clips
meanwhile, checkpoints included; its figure is that of the second half of its steps."""
import argparse
import json
import math
import os
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", help="pretrain_cuda")
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--modes", default="eager,compiled,reduce-overhead", help="PyTorch's, by comma")
parser.add_argument("more", nargs="*", help="for the program")
args = parser.parse_args()

import torch  # noqa: E402  (after --help)
import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402

device, bf16 = "cuda", torch.bfloat16
dim, heads, ffn, layers, frames, size, patch, text_dim = 320, 5, 960, 6, 5, 64, 8, 64
grid, tokens = size // patch, frames * (size // patch) ** 2
torch.backends.cuda.matmul.allow_tf32 = True


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o, self.cq, self.ck, self.cv, self.co = (nn.Linear(dim, dim) for _ in range(8))
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.nq, self.nk, self.ncq, self.nck, self.nw = (nn.Parameter(torch.ones(dim)) for _ in range(5))
        self.nb = nn.Parameter(torch.zeros(dim))
        self.table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def attend(self, q, k, v):
        q, k, v = (t.view(t.shape[0], -1, heads, 64).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def norm_rope(self, x, weight, cos, sin):
        x = F.rms_norm(x.float(), (dim,), weight, 1e-6).view(x.shape[0], -1, heads, 64)
        return rotate(x, cos, sin).flatten(2).to(bf16)

    def forward(self, x, text, e, cos, sin):
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.table + e).chunk(6, 1)
        y = (F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale1) + shift1).to(bf16)
        q, k = self.norm_rope(self.q(y), self.nq, cos, sin), self.norm_rope(self.k(y), self.nk, cos, sin)
        x = (x.float() + self.o(self.attend(q, k, self.v(y))).float() * gate1).to(bf16)
        y = F.layer_norm(x.float(), (dim,), self.nw, self.nb, 1e-6).to(bf16)
        q = F.rms_norm(self.cq(y).float(), (dim,), self.ncq, 1e-6).to(bf16)
        k = F.rms_norm(self.ck(text).float(), (dim,), self.nck, 1e-6).to(bf16)
        x = x + self.co(self.attend(q, k, self.cv(text)))
        y = (F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale2) + shift2).to(bf16)
        return (x.float() + self.down(F.gelu(self.up(y), approximate="tanh")).float() * gate2).to(bf16)


class Wan(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(7 * patch * patch, dim)
        self.time = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.out = nn.Linear(dim, 3 * patch * patch)
        nn.init.zeros_(self.out.weight)

    def forward(self, x, t, text, cos, sin):
        b = x.shape[0]
        angle = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(128, device=device) / 128)
        with torch.autocast("cuda", enabled=False):
            time_ = self.time(torch.cat([angle.cos(), angle.sin()], -1))
            e = self.time_proj(F.silu(time_)).view(b, 6, dim)
        text = self.text(text).to(bf16)
        x = x.view(b, 7, frames, grid, patch, grid, patch).permute(0, 2, 3, 5, 1, 4, 6).reshape(b, tokens, -1)
        x = self.patch(x)
        for block in self.blocks:
            x = block(x, text, e, cos, sin)
        shift, scale = (self.table + time_[:, None]).chunk(2, 1)
        x = self.out((F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale) + shift).to(bf16))
        return x.view(b, frames, grid, grid, patch, patch, 3).permute(0, 6, 1, 2, 4, 3, 5).reshape(b, 3, frames, size, size)


def theirs(mode):
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Wan().to(device)
    clips = torch.randint(0, 256, (8192, frames, size, size, 3), dtype=torch.uint8, device=device)
    angles = torch.randn(1, tokens, 1, 32, device=device)
    cos, sin = angles.cos(), angles.sin()
    text = torch.zeros(args.batch, 1, text_dim, device=device)
    trained = list(net.parameters())
    averages = [p.detach().clone() for p in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), fused=True)

    def loss(clip):
        x = (clip.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).to(bf16)
        u = (torch.arange(args.batch, device=device) + torch.rand(args.batch, device=device)) / args.batch
        s = torch.sigmoid(torch.erfinv((2 * u - 1).clamp(-0.9999, 0.9999)) * math.sqrt(2))
        s = 3 * s / (1 + 2 * s)
        noise = torch.randn_like(x)
        w = s[:, None, None, None, None].to(bf16)
        mask = torch.zeros_like(x[:, :1])
        mask[:, :, 0] = 1
        first = torch.zeros_like(x)
        first[:, :, 0] = x[:, :, 0]
        with torch.autocast("cuda", bf16):
            v = net(torch.cat([(1 - w) * x + w * noise, mask, first], 1), s * 1000, text, cos, sin)
        return F.mse_loss(v.float(), (noise - x).float())

    call = loss if mode == "eager" else torch.compile(loss, mode=None if mode == "compiled" else mode)

    def step():
        value = call(clips[torch.randint(0, len(clips), (args.batch,), device=device)])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, trained, 0.001)

    for _ in range(12):
        step()
    torch.cuda.synchronize()
    best = 0
    for _ in range(3):
        begin = time.time()
        for _ in range(40):
            step()
        torch.cuda.synchronize()
        best = max(best, 40 * args.batch / (time.time() - begin))
    return best


def ours():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.program, "--out", folder, "--steps", str(args.steps), "--batch", str(args.batch),
                        "--sheet-every", "100000000", *args.more], check=True, capture_output=True)
        with open(os.path.join(folder, "log.jsonl")) as log:
            seconds = {line["step"]: line["seconds"] for line in map(json.loads, log) if "seconds" in line}
    half = args.steps // 2
    return (args.steps - half) * args.batch / (seconds[args.steps] - seconds[half])


mine = ours()
print(f"segue {mine:9.0f} clips/s", flush=True)
for name in args.modes.split(","):
    rate = theirs(name)
    print(f"torch {name:16s} {rate:9.0f} clips/s   segue is {mine / rate:.2f}x", flush=True)
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {args.batch}, {time.strftime('%Y-%m-%d')}")
