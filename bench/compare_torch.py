# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU operators and the small Wan's LoRA step beside PyTorch's, on the same cores in the same run.

    taskset -c 0,1 python3 bench/compare_torch.py build/bench/bench --threads 2 --out table.json

The folder holds bench_gemm, bench_attention and bench_models. Rounds alternate between the two sides; the table shows
the median of the rounds, their spread, and the ratio of speeds (above 1: segue is faster). Where others use the same
processor, many short rounds tell more than few long ones: --rounds 15 --seconds 0.3. The Wan step needs diffusers and
peft; without them its row is left out."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", help="where the bench_ programs are")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=1.0, help="at least this long a case and round")
parser.add_argument("--only", default="", help="the cases whose name has this in it")
parser.add_argument("--out", help="a JSON file for the table")
args = parser.parse_args()

import torch  # noqa: E402  (after --help)
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(0)


def median_ms(call):
    """As Google Benchmark times the other side: the median of five means."""
    for _ in range(3):
        call()
    means = []
    for _ in range(5):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() < start + args.seconds / 5:
            call()
            calls += 1
        means.append((time.perf_counter() - start) * 1e3 / calls)
    return statistics.median(means)


def linear(m, n, k, dtype=torch.float32):
    x, w = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
    return lambda: F.linear(x, w)


def attention(backward, dtype=torch.float32):
    q, k, v = (torch.randn(1, 6, 2304, 64, dtype=dtype, requires_grad=backward) for _ in range(3))
    dy = torch.randn(1, 6, 2304, 64, dtype=dtype)

    def run():
        y = F.scaled_dot_product_attention(q, k, v)
        if backward:
            torch.autograd.grad(y, (q, k, v), dy)

    return run


def wan_step():
    from diffusers import WanTransformer3DModel
    from peft import LoraConfig

    model = WanTransformer3DModel(patch_size=(1, 8, 8), num_attention_heads=5, attention_head_dim=64, in_channels=7,
                                  out_channels=3, text_dim=64, ffn_dim=960, num_layers=6)
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=["to_q", "to_k", "to_v", "to_out.0",
                                                                      "ffn.net.0.proj", "ffn.net.2"]))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    x, target = torch.randn(8, 7, 5, 64, 64), torch.randn(8, 3, 5, 64, 64)
    t, text = torch.full((8,), 500.0), torch.zeros(8, 1, 64)

    def run():
        loss = F.mse_loss(model(x, t, text, return_dict=False)[0], target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def segue_ms(program, name):
    """Median real time in ms of one case of a Google Benchmark program."""
    out = subprocess.run([os.path.join(args.folder, program), f"--benchmark_filter=^{name}(/|$)", "--benchmark_format=json",
                          "--benchmark_repetitions=5", f"--benchmark_min_time={args.seconds / 5}"],
                         env={**os.environ, "SEGUE_BENCH_THREADS": str(args.threads)}, check=True, capture_output=True)
    rows = [b for b in json.loads(out.stdout)["benchmarks"] if b.get("aggregate_name") == "median"]
    row = rows[0]
    return row["real_time"] * {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}[row["time_unit"]]


cases = [("linear 2048x384 -> 384", linear(2048, 384, 384), "bench_gemm", "product_f32/linear/2048/384/384"),
         ("linear 2048x1024 -> 1024", linear(2048, 1024, 1024), "bench_gemm", "product_f32/linear/2048/1024/1024"),
         ("linear 2048x384 -> 384, bf16", linear(2048, 384, 384, torch.bfloat16), "bench_gemm",
          "product_bf16/linear/2048/384/384"),
         ("linear 2048x1024 -> 1024, bf16", linear(2048, 1024, 1024, torch.bfloat16), "bench_gemm",
          "product_bf16/linear/2048/1024/1024"),
         ("attention 2304x6x64 forward", attention(False), "bench_attention", "attention_f32/forward/1/2304/2304/6/64"),
         ("attention 2304x6x64 forward+backward", attention(True), "bench_attention",
          "attention_f32/forward_backward/1/2304/2304/6/64"),
         ("attention 2304x6x64 forward, bf16", attention(False, torch.bfloat16), "bench_attention",
          "attention_bf16/forward/1/2304/2304/6/64"),
         ("attention 2304x6x64 forward+backward, bf16", attention(True, torch.bfloat16), "bench_attention",
          "attention_bf16/forward_backward/1/2304/2304/6/64")]
wan_cases = {"small Wan LoRA-16 step, batch 8": "small_wan_lora_step/8",
             "the same, our weights in bf16": "small_wan_lora_step_bf16_weights/8"}
if any(args.only in label for label in wan_cases):
    try:
        step = wan_step()
        cases += [(label, step, "bench_models", name) for label, name in wan_cases.items()]
    except ImportError as error:
        print(f"no Wan row: {error}")

table = []
for label, call, program, name in cases:
    if args.only not in label:
        continue
    ours, theirs = [], []
    for _ in range(args.rounds):
        theirs.append(median_ms(call))
        ours.append(segue_ms(program, name))
    row = {"case": label, "segue_ms": statistics.median(ours), "torch_ms": statistics.median(theirs),
           "segue_range": [min(ours), max(ours)], "torch_range": [min(theirs), max(theirs)]}
    row["speed_over_torch"] = row["torch_ms"] / row["segue_ms"]
    table.append(row)
    print(f"{label:44s} segue {row['segue_ms']:9.3f} ms ({min(ours):.3f} to {max(ours):.3f})   "
          f"torch {row['torch_ms']:9.3f} ms ({min(theirs):.3f} to {max(theirs):.3f})   {row['speed_over_torch']:.2f}x",
          flush=True)
result = {"date": time.strftime("%Y-%m-%d"), "threads": args.threads, "torch": torch.__version__,
          "machine": platform.processor() or platform.machine(), "rows": table}
if args.out:
    with open(args.out, "w") as file:
        json.dump(result, file, indent=1)
