# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU operators and the LoRA-64 step of a Wan-1.3B shape beside PyTorch's, bf16, on one card in one run.

    python3 bench/compare_torch_cuda.py build/bench/bench --out table.json [--only step,forward] [--compiled]

The folder holds the bench_cuda_ programs. PyTorch runs its eager form, the same captured by hand in a CUDA
graph, and with --compiled torch.compile's (minutes of compiling); the table shows each, and the ratio of our speed to
the best of them. Medians of device times. Our model is the whole Wan, with its embeddings and its output projection;
PyTorch's is the 30 blocks alone."""
import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", help="where the bench_cuda_ programs are")
parser.add_argument("--out", help="a JSON file for the table")
parser.add_argument("--only", default="forward,step,first_step,lora,operators,parity", help="parts, by comma")
parser.add_argument("--clips", default="50,240", help="50: 1,875 tokens, 240: 4,680, 480: 32,760")
parser.add_argument("--repetitions", type=int, default=5, help="of each of our cases")
parser.add_argument("--compiled", action="store_true")
args = parser.parse_args()
parts, clips = args.only.split(","), [int(c) for c in args.clips.split(",")]

import torch  # noqa: E402  (after --help)
import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

bf16, device = torch.bfloat16, "cuda"
dim, ffn, heads, text_tokens, rank = 1536, 8960, 12, 512, 64
tokens_of = {50: 1875, 240: 4680, 480: 32760}
torch.manual_seed(0)


def randn(*shape, **more):
    return torch.randn(*shape, device=device, dtype=bf16, **more)


def median_ms(call, repeats=20, warm=3):
    cold = torch.empty(32 << 20, device=device)
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        cold.zero_()
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def graphed(call):
    """The callable captured in a CUDA graph, after a warm-up on another stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def forms(call, compiled=None, graph=True, repeats=20):
    """Milliseconds of each form. `compiled` makes the compiled one where torch.compile(call) is not it; it comes last,
    since it may change the modules that the others run."""
    found = {"eager": median_ms(call, repeats)}
    try:
        if graph:
            found["graph"] = median_ms(graphed(call), repeats)
    except RuntimeError as error:
        print("graph:", str(error)[:120])
    if args.compiled:
        found["compiled"] = median_ms(compiled() if compiled else torch.compile(call), repeats)
    return found


class LoraLinear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.base = nn.Linear(inputs, outputs, device=device, dtype=bf16).requires_grad_(False)
        self.a = nn.Parameter(randn(rank, inputs) * 0.02)
        self.b = nn.Parameter(randn(outputs, rank) * 0.02)
        self.merged = False

    def forward(self, x):
        y = self.base(x)
        return y if self.merged else y + F.linear(F.linear(x, self.a), self.b)


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def attend(q, k, v):
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Wan's block with adapters on all ten linears."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o, self.cq, self.ck, self.cv, self.co = (LoraLinear(dim, dim) for _ in range(8))
        self.up, self.down = LoraLinear(dim, ffn), LoraLinear(ffn, dim)
        fixed = [nn.Parameter(torch.randn(dim, device=device) * 0.1, requires_grad=False) for _ in range(6)]
        self.norm_q, self.norm_k, self.norm_cq, self.norm_ck, self.norm_w, self.norm_b = fixed
        self.table = nn.Parameter(torch.randn(1, 6, dim, device=device) * 0.1, requires_grad=False)

    def modulate(self, x, scale, shift):
        return (F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale) + shift).to(bf16)

    def norm_rope(self, x, weight, cos, sin):
        return rotate(F.rms_norm(x.float(), (dim,), weight, 1e-6).view(1, -1, heads, 128), cos, sin).to(bf16)

    def split(self, x, weight=None):
        x = x if weight is None else F.rms_norm(x.float(), (dim,), weight, 1e-6).to(bf16)
        return x.view(1, -1, heads, 128)

    def forward(self, x, text, e, cos, sin):
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.table + e).chunk(6, 1)
        y = self.modulate(x, scale1, shift1)
        q, k = self.norm_rope(self.q(y), self.norm_q, cos, sin), self.norm_rope(self.k(y), self.norm_k, cos, sin)
        x = (x.float() + self.o(attend(q, k, self.split(self.v(y)))).float() * gate1).to(bf16)
        y = F.layer_norm(x.float(), (dim,), self.norm_w, self.norm_b, 1e-6).to(bf16)
        q, k = self.split(self.cq(y), self.norm_cq), self.split(self.ck(text), self.norm_ck)
        x = x + self.co(attend(q, k, self.split(self.cv(text))))
        y = self.modulate(x, scale2, shift2)
        return (x.float() + self.down(F.gelu(self.up(y), approximate="tanh")).float() * gate2).to(bf16)


def inputs(tokens):
    cos, sin = (torch.randn(1, tokens, 1, 64, device=device) for _ in range(2))
    return randn(1, tokens, dim), randn(1, text_tokens, dim), torch.randn(1, 6, dim, device=device) * 0.1, cos, sin


def step_of(tokens, checkpointed):
    from torch.utils.checkpoint import checkpoint
    blocks = nn.ModuleList([Block() for _ in range(30)])
    x, *rest = inputs(tokens)
    target = randn(1, tokens, dim)
    trained = [p for p in blocks.parameters() if p.requires_grad]
    averages = [p.detach().float() for p in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True, capturable=True)

    def step():
        optimizer.zero_grad(set_to_none=False)
        y = x
        for block in blocks:
            y = checkpoint(block, y, *rest, use_reentrant=False) if checkpointed else block(y, *rest)
        F.mse_loss(y.float(), target.float()).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.float() for p in trained], 0.001)

    def forward():
        with torch.no_grad():
            y = x
            for block in blocks:
                y = block(y, *rest)
        return y

    return step, forward, blocks


def with_blocks_compiled(blocks, call):
    """Block by block, as diffusers advises for large models."""
    for block in blocks:
        block.compile()
    return call


failed = []  # programs of ours; the run goes on without their rows, and ends with 1


def ours(program, filter_, seconds=0.1):
    """{case name: row} of a Google Benchmark program, medians of repetitions of at least that much device time each;
    empty where it has no such case or fails."""
    out = subprocess.run([os.path.join(args.folder, program), f"--benchmark_filter={filter_}", "--benchmark_format=json",
                          f"--benchmark_repetitions={max(args.repetitions, 2)}", f"--benchmark_min_time={seconds}"],
                         stdout=subprocess.PIPE)
    if out.returncode:
        print(f"{program} {filter_}: exit code {out.returncode}", flush=True)
        failed.append(program)
    if out.returncode or not out.stdout:
        return {}
    scale = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
    rows = [b for b in json.loads(out.stdout)["benchmarks"] if b.get("aggregate_name") == "median"]
    return {r["run_name"].replace("/manual_time", ""): {**r, "ms": r["real_time"] * scale[r["time_unit"]]} for r in rows}


table = []


def note(row):
    """Keeps a row, in the file too, so that a run that is cut off leaves what it measured."""
    table.append(row)
    if not args.out:
        return
    with open(args.out, "w") as file:
        json.dump({"date": time.strftime("%Y-%m-%d"), "device": torch.cuda.get_device_name(),
                   "torch": torch.__version__, "rows": table}, file, indent=1)


def report(case, mine, theirs, **more):
    best = min(theirs.values()) if theirs else float("nan")
    row = {"case": case, "segue_ms": mine, "torch_ms": theirs, "speed_over_torch": best / mine, **more}
    note(row)
    told = "  ".join(f"{name} {ms:.3f}" for name, ms in theirs.items())
    extra = "  ".join(f"{name} {value:.3g}" for name, value in more.items())
    print(f"{case:44s} segue {mine:9.3f} ms   torch {told}   {best / mine:.2f}x   {extra}", flush=True)


def operators():
    rows = ours("bench_cuda_ops", ".*", seconds=0.004)  # caches are emptied before each call, which takes longer
    for tokens in (1875, 32760):
        x, y, h = randn(tokens, dim), randn(tokens, dim), randn(tokens, ffn)
        scale, shift = torch.randn(1, dim, device=device), torch.randn(1, dim, device=device)
        weight, cos, sin = torch.randn(dim, device=device), *(torch.randn(tokens, 1, 64, device=device) for _ in range(2))
        q, k, v, g = (randn(1, heads, tokens, 128, requires_grad=True) for _ in range(4))
        tk, tv = (randn(1, heads, text_tokens, 128, requires_grad=True) for _ in range(2))
        w, wu, wd, bias, bias_up = randn(dim, dim), randn(ffn, dim), randn(dim, ffn), randn(dim), randn(ffn)

        def both(a, b, c):
            o = F.scaled_dot_product_attention(a, b, c)
            return torch.autograd.grad(o, (a, b, c), g)

        with torch.no_grad():
            plain = {
                "linear_forward_square": lambda: F.linear(x, w, bias),
                "linear_forward_up_gelu": lambda: F.gelu(F.linear(x, wu, bias_up), approximate="tanh"),
                "linear_forward_down": lambda: F.linear(h, wd, bias),
                "linear_backward_input": lambda: h @ wu,
                "layer_norm_modulate_forward": lambda: (F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale) + shift).to(bf16),
                "rms_norm_rope_forward": lambda: rotate(
                    F.rms_norm(x.float(), (dim,), weight, 1e-6).view(-1, heads, 128), cos, sin).to(bf16),
                "gated_residual_forward": lambda: (x.float() + y.float() * scale).to(bf16),
                "activation_forward": lambda: F.gelu(h, approximate="tanh"),
                "self_attention_forward": lambda: F.scaled_dot_product_attention(q, k, v),
                "cross_attention_forward": lambda: F.scaled_dot_product_attention(q, tk, tv),
            }
            for name, call in plain.items():
                row = rows.get(f"{name}/tokens:{tokens}")
                if row:
                    theirs = {"eager": median_ms(call)}
                    if args.compiled and "attention" not in name:
                        theirs["compiled"] = median_ms(torch.compile(call))
                    report(f"{name} {tokens}", row["ms"], theirs, of_roofline=row["of_roofline"], GBs=row["GB/s"],
                           TFLOPs=row["TFLOP/s"])
        for name, call in {"self_attention_forward_backward": lambda: both(q, k, v),
                           "cross_attention_forward_backward": lambda: both(q, tk, tv)}.items():
            row = rows.get(f"{name}/tokens:{tokens}")
            if row:
                report(f"{name} {tokens}", row["ms"], {"eager": median_ms(call)}, of_roofline=row["of_roofline"],
                       TFLOPs=row["TFLOP/s"])
    params = [torch.randn(64, dim, device=device, requires_grad=True) for _ in range(600)]
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)

    def clip_and_step():
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()

    report("clip + adamw, 600 tensors", rows["adamw/tensors:600"]["ms"], {"eager": median_ms(clip_and_step)},
           of_roofline=rows["adamw/tensors:600"]["of_roofline"])
    for name, row in rows.items():
        print(f"  {name:52s} {row['ms'] * 1e3:10.1f} us  {row['GB/s']:7.0f} GB/s  {row['TFLOP/s']:6.1f} TFLOP/s  "
              f"{100 * row['of_roofline']:5.1f} %")
        note({"case": name, "segue_ms": row["ms"], "GB/s": row["GB/s"], "TFLOP/s": row["TFLOP/s"],
                      "of_roofline": row["of_roofline"]})


def models():
    # First, since what torch.compile keeps of a model leaves too little of the card for a large one.
    steps = {}
    if "step" in parts:
        steps = {clip: ours("bench_cuda_models", f"wan_lora64_step/clip:{clip}/") for clip in clips}
    for clip in clips:
        tokens = tokens_of[clip]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        if "step" in parts:
            large = tokens > 30000
            step, forward, blocks = step_of(tokens, checkpointed=large)
            theirs = forms(step, lambda: with_blocks_compiled(blocks, step), graph=not large, repeats=5 if large else 20)
            torch_gib = torch.cuda.max_memory_allocated() / 2**30
            del step, forward, blocks
            torch.cuda.empty_cache()
            kept = {0: "all kept", 1: "recipes", 2: "blocks run again"}
            for name, found in steps[clip].items():
                level, every = (int(part.split(":")[1]) for part in name.split("/")[2:4])
                way = kept[level] + (f" in one of {every} blocks" if every > 1 else "")
                told = {key: found[key] for key in ("launches", "idle_ms") if key in found}
                report(f"LoRA-64 step, {tokens} tokens, {way}", found["ms"], theirs, GiB=found["GiB"],
                       torch_GiB=torch_gib, **told)
        if "forward" in parts:
            step, forward, blocks = step_of(tokens, checkpointed=False)
            for module in blocks.modules():
                if isinstance(module, LoraLinear):
                    module.merged = True
            theirs = forms(forward, lambda: with_blocks_compiled(blocks, forward))
            del step, forward, blocks
            torch.cuda.empty_cache()
            for found in ours("bench_cuda_models", f"wan_forward_merged/clip:{clip}/").values():
                report(f"forward, merged, {tokens} tokens", found["ms"], theirs, nodes=found["nodes"])


def lora():
    """Forward and backward to the input and the adapter, over forward and backward to the input alone."""
    rows = ours("bench_cuda_lora", ".*")
    for tokens in (1875, 32760):
        for name, inputs, outputs in (("up", dim, ffn), ("down", ffn, dim)):
            layer, dy = LoraLinear(inputs, outputs), randn(tokens, outputs)
            x = randn(tokens, inputs, requires_grad=True)

            def frozen():
                torch.autograd.grad(layer.base(x), (x,), dy)

            def adapted():
                torch.autograd.grad(layer(x), (x, layer.a, layer.b), dy)

            base, more = forms(frozen), forms(adapted)
            mine = {kind: rows[f"{kind}_{name}/tokens:{tokens}"]["ms"] for kind in ("frozen", "lora64")}
            report(f"LoRA-64 linear {inputs} -> {outputs}, {tokens} tokens", mine["lora64"], more,
                   over_frozen=mine["lora64"] / mine["frozen"], torch_over_frozen=min(more.values()) / min(base.values()))


def parity():
    """How far bf16 is from fp32, the same weights in both."""
    mine = json.loads(subprocess.run([os.path.join(args.folder, "bench_cuda_parity")], check=True,
                                     capture_output=True).stdout)
    torch.backends.cuda.matmul.allow_tf32 = False
    blocks = nn.ModuleList([Block() for _ in range(30)])
    data, target = inputs(1875), randn(1, 1875, dim)
    found = []
    for dtype in (bf16, torch.float32):
        model = copy.deepcopy(blocks).to(dtype) if dtype == torch.float32 else blocks
        y, text, e, cos, sin = (t.to(dtype) if t.dtype == bf16 else t for t in data)
        globals()["bf16"] = dtype  # the blocks cast to it
        for block in model:
            y = block(y, text, e, cos, sin)
        F.mse_loss(y.float(), target.float()).backward()
        found.append([y.detach().double()] + [p.grad.double() for p in model.parameters() if p.requires_grad])
    globals()["bf16"] = torch.bfloat16
    low, high = found
    distance = [(a - b).norm().item() for a, b in zip(low, high)]
    size = [b.norm().item() for b in high]
    theirs = {"output": distance[0] / size[0],
              "gradients": sum(d * d for d in distance[1:]) ** 0.5 / sum(s * s for s in size[1:]) ** 0.5,
              "worst": max(d / s for d, s in zip(distance[1:], size[1:]))}
    for key, value in theirs.items():
        print(f"bf16 against fp32, {key:10s} segue {mine[key]:.2e}  torch {value:.2e}  {mine[key] / value:.2f}x", flush=True)
        note({"case": f"bf16 against fp32, {key}", "segue": mine[key], "torch": value})


def torch_first_step():
    step, _, _ = step_of(1875, checkpointed=False)
    step()
    torch.cuda.synchronize()


def first_step():
    begin = time.time()
    subprocess.run([os.path.join(args.folder, "bench_cuda_models")], env={**os.environ, "SEGUE_BENCH_FIRST_STEP": "50"},
                   check=True, capture_output=True)
    mine = time.time() - begin
    begin = time.time()
    subprocess.run([sys.executable, __file__, args.folder, "--only", "torch_first_step"], check=True)
    report("process start to first step, 1875 tokens", mine * 1e3, {"eager": (time.time() - begin) * 1e3})


with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION],
                 set_priority=True):
    if "step" in parts or "forward" in parts:
        models()
    for part in (first_step, torch_first_step, lora, operators, parity):
        if part.__name__ in parts:
            part()
sys.exit(1 if failed else 0)
