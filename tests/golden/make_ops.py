# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Forward and gradients of every operator, by PyTorch: ops_*.safetensors.

Inputs are float32 values. Unless the case says otherwise ("computed_in": "float32") PyTorch evaluates the operator and
its gradients in float64 and the result is rounded once, so that a test measures the error of segue alone.
Gradients answer the upstream gradient `dy` (`loss = sum(y * dy)`).
"""

import math

from common import Golden

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import Timesteps
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

_generator = torch.Generator().manual_seed(20240501)


def rand(*shape, scale=1.0, offset=0.0):
    """Float32 values held in float64, a leaf that collects a gradient."""
    x = torch.randn(shape, generator=_generator, dtype=torch.float32) * scale + offset
    return x.double().requires_grad_()


def grads(y, dy, *leaves):
    return torch.autograd.grad(y, leaves, dy.detach(), allow_unused=True)


ACTIVATIONS = {
    "none": lambda x: x,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": lambda x: F.gelu(x),
    "silu": F.silu,
}


# --------------------------------------------------------------------------------------------------------------- linear
def linear_cases(g):
    shape = (2, 7, 24, 40)  # B, T, in, out
    for activation in ACTIVATIONS:
        for has_bias in (False, True):
            name = "linear" + ("_bias" if has_bias else "") + ("" if activation == "none" else f"_{activation}")
            linear_case(g, name, *shape, has_bias, activation)
    # Ragged against any tile: one row, one column, a K that no panel width divides.
    linear_case(g, "linear_bias_one_row", 1, 1, 33, 5, True, "none")
    linear_case(g, "linear_bias_one_column", 2, 3, 19, 1, True, "none")
    linear_case(g, "linear_bias_long_k_gelu_tanh", 1, 5, 517, 9, True, "gelu_tanh")


def linear_case(g, name, b, t, c_in, c_out, has_bias, activation):
    x = rand(b, t, c_in)
    weight = rand(c_out, c_in, scale=1 / math.sqrt(c_in))
    bias = rand(c_out, scale=0.5) if has_bias else None
    pre = F.linear(x, weight, bias)
    y = ACTIVATIONS[activation](pre)
    dy = rand(*y.shape)
    out = dict(x=x, weight=weight, y=y, pre=pre, dy=dy)
    leaves = [x, weight] + ([bias] if has_bias else [])
    for key, value in zip(("dx", "dweight", "dbias"), grads(y, dy, *leaves)):
        out[key] = value
    if has_bias:
        out["bias"] = bias
    g.add(name, {"bias": has_bias, "activation": activation}, **out)


def gemm_cases(g):
    for m, n, k, tag in ((17, 23, 31, ""), (3, 70, 300, "_long_k")):
        for ta in (False, True):
            for tb in (False, True):
                a = rand(*((k, m) if ta else (m, k)))
                b = rand(*((n, k) if tb else (k, n)))
                c = rand(m, n)
                product = (a.T if ta else a) @ (b.T if tb else b)
                name = f"gemm_{'t' if ta else 'n'}{'t' if tb else 'n'}{tag}"
                params = {"m": m, "n": n, "k": k, "trans_a": ta, "trans_b": tb, "alpha": 0.75, "beta": -0.5}
                g.add(name, params, a=a, b=b, c=c, ab=product, y=0.75 * product - 0.5 * c)


def lora_cases(g):
    b, t, c_in, c_out = 2, 7, 24, 40
    for name, rank, alpha, rslora, activation in (
        ("lora_linear_r4", 4, 8, False, "none"),
        ("lora_linear_r3_rslora_gelu_tanh", 3, 5, True, "gelu_tanh"),
    ):
        scale = alpha / math.sqrt(rank) if rslora else alpha / rank
        x, weight, bias = rand(b, t, c_in), rand(c_out, c_in, scale=0.2), rand(c_out, scale=0.5)
        lora_a, lora_b = rand(rank, c_in, scale=0.2), rand(c_out, rank, scale=0.2)
        pre = F.linear(x, weight, bias) + scale * F.linear(F.linear(x, lora_a), lora_b)
        y = ACTIVATIONS[activation](pre)
        dy = rand(*y.shape)
        dx, dweight, dbias, da, db = grads(y, dy, x, weight, bias, lora_a, lora_b)
        params = {"r": rank, "alpha": alpha, "use_rslora": rslora, "scale": scale, "activation": activation}
        g.add(name, params, x=x, weight=weight, bias=bias, lora_A=lora_a, lora_B=lora_b, pre=pre, y=y, dy=dy, dx=dx,
              dweight=dweight, dbias=dbias, dlora_A=da, dlora_B=db, merged=weight + scale * lora_b @ lora_a)


# ---------------------------------------------------------------------------------------------------------------- norms
def norm(kind, x, weight, bias, eps):
    if kind == "layer_norm":
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def statistics(kind, x, eps):
    if kind == "layer_norm":
        return {"mean": x.mean(-1), "rstd": torch.rsqrt(x.var(-1, unbiased=False) + eps)}
    return {"rstd": torch.rsqrt(x.square().mean(-1) + eps)}


def norm_cases(g):
    for kind in ("layer_norm", "rms_norm"):
        for affine in (False, True):
            for tag, scale, offset, eps in (("", 1.5, 0.3, 1e-6), ("_offset", 1.0, 100.0, 1e-6),
                                            ("_tiny", 1e-3, 0.0, 1e-5)):
                b, t, c = 2, 7, 37
                x = rand(b, t, c, scale=scale, offset=offset)
                weight = rand(c, scale=0.4, offset=1.0) if affine else None
                bias = rand(c, scale=0.3) if affine and kind == "layer_norm" else None
                y = norm(kind, x, weight, bias, eps)
                dy = rand(b, t, c)
                leaves = {"dx": x, "dweight": weight, "dbias": bias}
                leaves = {k: v for k, v in leaves.items() if v is not None}
                out = dict(zip(leaves, grads(y, dy, *leaves.values())))
                out |= {k: v for k, v in {"weight": weight, "bias": bias}.items() if v is not None}
                g.add(kind + ("_affine" if affine else "") + tag, {"eps": eps, "affine": affine}, x=x, y=y, dy=dy,
                      **statistics(kind, x, eps), **out)


def groups(b, t, count, shared):
    if shared:
        row = torch.randint(0, count, (1, t), generator=_generator, dtype=torch.int32)
        row[0, 0], row[0, -1] = 0, count - 1
        return row.expand(b, t).contiguous()
    index = torch.randint(0, count, (b, t), generator=_generator, dtype=torch.int32)
    index[:, 0], index[:, -1] = 0, count - 1
    return index


def pick(table, group, row):
    """table (B,G,6,D), group (B,T) -> (B,T,D)"""
    index = group.long()[:, :, None].expand(-1, -1, table.shape[-1])
    return torch.gather(table[:, :, row], 1, index)


def modulate_cases(g):
    eps = 1e-6
    for name, kind, affine, count, shared, rows in (
        ("modulate_layer_norm_g1", "layer_norm", False, 1, False, (0, 1)),
        ("modulate_layer_norm_g2", "layer_norm", False, 2, False, (3, 4)),
        ("modulate_layer_norm_g2_shared", "layer_norm", False, 2, True, (0, 1)),
        ("modulate_layer_norm_affine_g2", "layer_norm", True, 2, True, (0, 1)),
        ("modulate_rms_norm_g1", "rms_norm", False, 1, False, (0, 1)),
        ("modulate_rms_norm_affine_g2", "rms_norm", True, 2, True, (3, 4)),
        ("modulate_layer_norm_per_token", "layer_norm", False, 9, False, (0, 1)),
    ):
        b, t, c = 2, 9, 26
        x = rand(b, t, c, scale=1.5, offset=0.3)
        weight = rand(c, scale=0.4, offset=1.0) if affine else None
        bias = rand(c, scale=0.3) if affine and kind == "layer_norm" else None
        table = rand(b, count, 6, c, scale=0.5)
        if count == t:
            group = torch.arange(t, dtype=torch.int32).expand(b, t).contiguous()
        else:
            group = groups(b, t, count, shared)
        shift, scale = pick(table, group, rows[0]), pick(table, group, rows[1])
        y = norm(kind, x, weight, bias, eps) * (1 + scale) + shift
        dy = rand(b, t, c)
        leaves = {"dx": x, "dtable": table, "dweight": weight, "dbias": bias}
        leaves = {k: v for k, v in leaves.items() if v is not None}
        out = dict(zip(leaves, grads(y, dy, *leaves.values())))
        out |= {k: v for k, v in {"weight": weight, "bias": bias}.items() if v is not None}
        params = {"eps": eps, "norm": kind, "affine": affine, "groups": count, "shift_row": rows[0],
                  "scale_row": rows[1], "group_same_for_all_samples": bool((group == group[:1]).all())}
        g.add(name, params, x=x, table=table, group=group, y=y, dy=dy, dshift=out["dtable"][:, :, rows[0]],
              dscale=out["dtable"][:, :, rows[1]], **statistics(kind, x, eps), **out)


def gated_residual_cases(g):
    for name, count, shared, row in (
        ("gated_residual_g1", 1, False, 2),
        ("gated_residual_g2", 2, False, 5),
        ("gated_residual_g2_shared", 2, True, 2),
    ):
        b, t, c = 2, 9, 26
        x, branch, table = rand(b, t, c), rand(b, t, c), rand(b, count, 6, c, scale=0.5)
        group = groups(b, t, count, shared)
        y = x + pick(table, group, row) * branch
        dy = rand(b, t, c)
        dx, dbranch, dtable = grads(y, dy, x, branch, table)
        g.add(name, {"groups": count, "gate_row": row, "group_same_for_all_samples": bool((group == group[:1]).all())},
              x=x, branch=branch, table=table, group=group, y=y, dy=dy, dx=dx, dbranch=dbranch, dtable=dtable,
              dgate=dtable[:, :, row])
    # residual + gate + next norm: both outputs are used, so both upstream gradients count.
    b, t, c, eps = 2, 9, 26, 1e-6
    x, branch, table = rand(b, t, c), rand(b, t, c), rand(b, 2, 6, c, scale=0.5)
    group = groups(b, t, 2, True)
    h = x + pick(table, group, 2) * branch
    y = F.layer_norm(h, (c,), None, None, eps) * (1 + pick(table, group, 4)) + pick(table, group, 3)
    dh, dy = rand(b, t, c), rand(b, t, c)
    dx, dbranch, dtable = torch.autograd.grad((h, y), (x, branch, table), (dh.detach(), dy.detach()))
    g.add("gated_residual_modulate", {"eps": eps, "groups": 2, "gate_row": 2, "shift_row": 3, "scale_row": 4}, x=x,
          branch=branch, table=table, group=group, h=h, y=y, dh=dh, dy=dy, dx=dx, dbranch=dbranch, dtable=dtable)


# ----------------------------------------------------------------------------------------------------------------- rope
def rope_cases(g):
    eps = 1e-6
    for name, heads, dim, grid in (
        ("rms_norm_rope_d12", 3, 12, (2, 3, 4)),
        ("rms_norm_rope_d16", 2, 16, (3, 2, 3)),
        ("rms_norm_rope_d64", 1, 64, (2, 3, 2)),
        ("rms_norm_rope_d128", 2, 128, (2, 1, 3)),
    ):
        b, t = 2, math.prod(grid)
        rope = WanRotaryPosEmbed(dim, (1, 1, 1), 1024)
        cos, sin = rope(torch.zeros(1, 1, *grid))  # (1, T, 1, dim), every value twice
        x = rand(b, t, heads * dim, scale=1.5)
        weight = rand(heads * dim, scale=0.4, offset=1.0)
        normed = F.rms_norm(x, (heads * dim,), weight, eps)
        x1, x2 = normed.unflatten(2, (heads, dim)).unflatten(-1, (-1, 2)).unbind(-1)
        c, s = cos[..., 0::2].double(), sin[..., 1::2].double()
        y = torch.stack((x1 * c - x2 * s, x1 * s + x2 * c), -1).flatten(-2).flatten(2)
        dy = rand(b, t, heads * dim)
        dx, dweight = grads(y, dy, x, weight)
        params = {"eps": eps, "heads": heads, "head_dim": dim, "grid": grid, "theta": 10000.0,
                  "split": [rope.t_dim, rope.h_dim, rope.w_dim]}
        g.add(name, params, x=x, weight=weight, normed=normed, cos=c[0, :, 0].float(), sin=s[0, :, 0].float(), y=y,
              dy=dy,
              dx=dx, dweight=dweight, rstd=torch.rsqrt(x.square().mean(-1) + eps))


# ------------------------------------------------------------------------------------------------------------ attention
def attention_cases(g):
    for name, b, tq, tk, heads, dim, masked, scale_up in (
        ("attention_self", 2, 33, 33, 3, 8, False, 1.0),
        ("attention_cross", 2, 17, 9, 3, 8, False, 1.0),
        ("attention_cross_masked", 2, 17, 9, 3, 8, True, 1.0),
        ("attention_self_masked", 2, 33, 33, 3, 8, True, 1.0),
        ("attention_one_key", 2, 5, 1, 2, 12, False, 1.0),
        ("attention_self_d12", 1, 19, 19, 2, 12, False, 1.0),
        ("attention_large_scores", 1, 33, 33, 2, 8, False, 12.0),
        ("attention_self_d64", 1, 131, 131, 1, 64, False, 1.0),
        ("attention_cross_d128", 1, 7, 70, 1, 128, True, 1.0),
    ):
        q, k, v = rand(b, tq, heads, dim, scale=scale_up), rand(b, tk, heads, dim), rand(b, tk, heads, dim)
        mask = torch.ones(b, tk, dtype=torch.bool)
        if masked:
            mask[0, 1 + tk // 2:] = False
            mask[-1, 0::3] = False
        bias = torch.zeros(b, 1, 1, tk, dtype=torch.float64).masked_fill(~mask[:, None, None], -math.inf)
        o = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=bias)
        y = o.transpose(1, 2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(dim) + bias
        dy = rand(b, tq, heads, dim)
        dq, dk, dv = grads(y, dy, q, k, v)
        out = dict(q=q, k=k, v=v, y=y, dy=dy, dq=dq, dk=dk, dv=dv, lse=torch.logsumexp(scores, -1))
        if masked:
            out["mask"] = mask.to(torch.uint8)
        g.add(name, {"heads": heads, "head_dim": dim, "scale": 1 / math.sqrt(dim), "masked": masked}, **out)


# ---------------------------------------------------------------------------------------------------------------- patch
def patch_cases(g):
    for name, patch, c_in, c_out, size in (
        ("patch_embed_1x2x2", (1, 2, 2), 5, 26, (3, 4, 6)),
        ("patch_embed_1x8x8", (1, 8, 8), 3, 10, (2, 16, 8)),
        ("patch_embed_2x2x2", (2, 2, 2), 3, 14, (4, 4, 6)),
    ):
        b = 2
        x = rand(b, c_in, *size)
        weight = rand(c_out, c_in, *patch, scale=1 / math.sqrt(c_in * math.prod(patch)))
        bias = rand(c_out, scale=0.5)
        y = F.conv3d(x, weight, bias, stride=patch).flatten(2).transpose(1, 2)
        dy = rand(*y.shape)
        dx, dweight, dbias = grads(y, dy, x, weight, bias)
        (pt, ph, pw), (f, h, w) = patch, size
        tokens = x.reshape(b, c_in, f // pt, pt, h // ph, ph, w // pw, pw).permute(0, 2, 4, 6, 1, 3, 5, 7)
        tokens = tokens.reshape(b, -1, c_in * math.prod(patch))
        assert torch.allclose(tokens @ weight.flatten(1).T + bias, y)
        params = {"patch": patch, "in_channels": c_in, "out_channels": c_out, "token_columns": "c,pt,ph,pw"}
        g.add(name, params, x=x, weight=weight, bias=bias, tokens=tokens, y=y, dy=dy, dx=dx, dweight=dweight,
              dbias=dbias)
    for name, patch, channels, size in (
        ("unpatchify_1x2x2", (1, 2, 2), 5, (3, 4, 6)),
        ("unpatchify_1x8x8", (1, 8, 8), 3, (2, 16, 8)),
        ("unpatchify_2x2x2", (2, 2, 2), 3, (4, 4, 6)),
    ):
        b = 2
        (pt, ph, pw), (f, h, w) = patch, size
        x = rand(b, (f // pt) * (h // ph) * (w // pw), math.prod(patch) * channels)
        y = x.reshape(b, f // pt, h // ph, w // pw, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        y = y.flatten(6, 7).flatten(4, 5).flatten(2, 3)
        dy = rand(*y.shape)
        (dx,) = grads(y, dy, x)
        g.add(name, {"patch": patch, "channels": channels, "size": size, "token_columns": "pt,ph,pw,c"}, x=x, y=y,
              dy=dy,
              dx=dx)


# ----------------------------------------------------------------------------------------------------------------- time
def time_cases(g):
    t = torch.tensor([0.0, 0.5, 37.25, 999.5, 1000.0])
    for name, dim in (("timestep_embedding_256", 256), ("timestep_embedding_20", 20)):
        y = Timesteps(num_channels=dim, flip_sin_to_cos=True, downscale_freq_shift=0)(t)
        half = dim // 2
        arg = t.double()[:, None] * torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
        exact = torch.cat((arg.cos(), arg.sin()), -1).float()
        params = {"dim": dim, "flip_sin_to_cos": True, "downscale_freq_shift": 0, "max_period": 10000,
                  "computed_in": "float32"}
        g.add(name, params, t=t, y=y, y_exact=exact)


# ---------------------------------------------------------------------------------------------------------- elementwise
def elementwise_cases(g):
    b, t, c = 2, 5, 21
    edge = torch.tensor([0.0, -0.0, 1e-8, -1e-8, 0.5, -0.5, 3.0, -3.0, 6.0, -6.0, 12.0, -12.0, 40.0, -40.0, 90.0, -90.0,
                         1e-3, -1e-3, 1.0, -1.0, 2.0])
    unary = ACTIVATIONS | {"sigmoid": torch.sigmoid, "scale": lambda x: 0.37 * x}
    del unary["none"]
    for name, op in unary.items():
        with torch.no_grad():
            x = rand(b, t, c, scale=2.0)
            x[0, 0] = edge
        x.requires_grad_()
        y = op(x)
        dy = rand(b, t, c)
        (dx,) = grads(y, dy, x)
        g.add(f"elementwise_{name}", {"factor": 0.37} if name == "scale" else {}, x=x, y=y, dy=dy, dx=dx)
    for name, op in {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}.items():
        x, z = rand(b, t, c), rand(b, t, c)
        y = op(x, z)
        dy = rand(b, t, c)
        dx, dz = grads(y, dy, x, z)
        g.add(f"elementwise_{name}", {}, x=x, z=z, y=y, dy=dy, dx=dx, dz=dz)
    # a row vector over the last axis, as a bias is
    for name, op in {"add": lambda a, b: a + b, "mul": lambda a, b: a * b}.items():
        x, z = rand(b, t, c), rand(c)
        y = op(x, z)
        dy = rand(b, t, c)
        dx, dz = grads(y, dy, x, z)
        g.add(f"elementwise_{name}_row", {}, x=x, z=z, y=y, dy=dy, dx=dx, dz=dz)


# ----------------------------------------------------------------------------------------------------------- reductions
def reduction_cases(g):
    x32 = rand(3, 5, 7, 11, offset=0.5)
    for op in ("sum", "mean"):
        for axes in ((0,), (1,), (2,), (3,), (0, 1, 2), (2, 3), (0, 1, 2, 3)):
            y = getattr(x32, op)(dim=axes)
            dy = rand(*y.shape)
            (dx,) = grads(y, dy, x32)
            g.add(f"{op}_axes_{''.join(map(str, axes))}", {"axes": axes}, y=y, dy=dy, dx=dx)
    g.add("reduction_input", {}, x=x32)
    # long enough to punish a naive float32 running sum
    x = rand(40000, scale=1.0, offset=3.0)
    g.add("sum_long", {}, x=x, y=x.sum(), mean=x.mean(), sum_of_squares=x.square().sum())


def mse_cases(g):
    x, target = rand(2, 3, 5, 4, 6), rand(2, 3, 5, 4, 6)
    loss = F.mse_loss(x, target)
    dx, dtarget = torch.autograd.grad(loss, (x, target))
    g.add("mse", {}, x=x, target=target, loss=loss, per_sample=(x - target).square().mean((1, 2, 3, 4)), dx=dx,
          dtarget=dtarget)
    # frames from 1 on: the first frame is given, not learnt
    loss = F.mse_loss(x[:, :, 1:], target[:, :, 1:])
    (dx,) = torch.autograd.grad(loss, (x,))
    g.add("mse_skip_first_frame", {"frame_axis": 2}, loss=loss, dx=dx,
          per_sample=(x - target)[:, :, 1:].square().mean((1, 2, 3, 4)))


# ---------------------------------------------------------------------------------------------------------------- casts
def cast_cases(g):
    words = [0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000,
             0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF,
             0xFF7FFFFF]
    # bfloat16: ties to even on both sides, just above and below, carry into the exponent, rounding up to infinity
    words += [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x3F817FFF, 0x3F818001, 0x3FFF8000, 0x3FFF7FFF,
              0x3FFFFFFF, 0x7F7F8000, 0x7F7F7FFF, 0x7F7F0000, 0x00008000, 0x00018000, 0x00008001, 0x00007FFF,
              0x007F8000, 0xBF808000]
    # float16: ties in the mantissa, largest finite, overflow tie, normal/subnormal border, smallest subnormal ties
    words += [0x3F801000, 0x3F803000, 0x3F801001, 0x3F800FFF, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x477FF001,
              0x47800000, 0x38800000, 0x387FFFFF, 0x387FE000, 0x387FF000, 0x387FC000, 0x33800000, 0x33000000,
              0x33000001, 0x32FFFFFF, 0x33C00000, 0x34400000, 0x34200000, 0x34E00000, 0xB3000001, 0xB8800000,
              0xC77FF000, 0x38000000, 0x37FFE000]
    rng = torch.randint(-(2**31), 2**31, (400,), generator=_generator, dtype=torch.int64).to(torch.int32)
    near = torch.randint(0x32000000, 0x48000000, (400,), generator=_generator, dtype=torch.int64).to(torch.int32)
    bits = torch.cat((torch.tensor(words, dtype=torch.int64).to(torch.uint32).view(torch.int32), rng, near))
    x = bits.view(torch.float32)
    nan = x.isnan()
    out = {"bits": bits.view(torch.uint32), "is_nan": nan.to(torch.uint8)}
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        low = x.to(dtype)
        assert bool((low.isnan() == nan).all())
        out[name] = low.view(torch.int16).numpy().view("uint16")
        back = low.float().view(torch.int32).view(torch.uint32)
        out[f"{name}_to_f32_bits"] = back
    g.add("cast_from_f32", {"nan": "where is_nan is 1 only NaN-ness is defined, not the payload"}, **out)
    every = torch.arange(0, 65536, 7, dtype=torch.int32).to(torch.int16)
    g.add("cast_f16_to_f32", {"nan": "payload undefined"}, f16=every.numpy().view("uint16"),
          f32_bits=every.view(torch.float16).float().view(torch.int32).view(torch.uint32))


# ------------------------------------------------------------------------------------------------------------ optimizer
def optimizer_cases(g):
    shapes = [(7, 5), (13,), (3, 2, 4)]
    for name, clip in (("adamw", None), ("adamw_clipped", 1.0)):
        params = [torch.nn.Parameter(rand(*s).detach().float()) for s in shapes]
        steps, base_lr = 10, 1e-2
        optimizer = torch.optim.AdamW(params, lr=base_lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, foreach=False)
        lrs = [base_lr * min(1.0, (i + 1) / 3) * 0.5 * (1 + math.cos(math.pi * i / steps)) for i in range(steps)]
        out = {f"param{i}": [p.detach().clone()] for i, p in enumerate(params)}
        out |= {f"grad{i}": [] for i in range(len(params))}
        norms = []
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lrs[step]
            for i, p in enumerate(params):
                p.grad = rand(*p.shape, scale=0.1 * (1 + step % 3)).detach().float()
                out[f"grad{i}"].append(p.grad.clone())
            norm_value = torch.nn.utils.get_total_norm([p.grad for p in params], foreach=False)
            norms.append(norm_value)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(params, clip, foreach=False)
            optimizer.step()
            for i, p in enumerate(params):
                out[f"param{i}"].append(p.detach().clone())
        out = {k: torch.stack(v) for k, v in out.items()}
        for i, p in enumerate(params):
            state = optimizer.state[p]
            out[f"exp_avg{i}"], out[f"exp_avg_sq{i}"] = state["exp_avg"], state["exp_avg_sq"]
        out["lr_f64"] = torch.tensor(lrs, dtype=torch.float64)
        g.add(name, {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01, "steps": steps, "max_norm": clip,
                     "computed_in": "float32"}, grad_norm=torch.stack(norms), **out)
    for name, max_norm in (("clip_grad_norm", 1.0), ("clip_grad_norm_inactive", 100.0)):
        params = [torch.nn.Parameter(torch.zeros(*s)) for s in shapes]
        out = {}
        for i, p in enumerate(params):
            p.grad = rand(*p.shape).detach().float()
            out[f"grad{i}"] = p.grad.clone()
        out["total_norm"] = torch.nn.utils.clip_grad_norm_(params, max_norm, foreach=False)
        out |= {f"clipped{i}": p.grad for i, p in enumerate(params)}
        g.add(name, {"max_norm": max_norm, "coefficient": "min(1, max_norm / (total_norm + 1e-6))",
                     "computed_in": "float32"}, **out)


def guidance_cases(g):
    u, c, x = rand(2, 3, 4, 5, 6), rand(2, 3, 4, 5, 6), rand(2, 3, 4, 5, 6)
    sigma, sigma_next = 0.8125, 0.6875
    for name, scale in (("guidance_1", 1.0), ("guidance_5", 5.0), ("guidance_0", 0.0)):
        y = u + scale * (c - u)
        g.add(name, {"guidance_scale": scale, "sigma": sigma, "sigma_next": sigma_next}, uncond=u, cond=c, y=y, x=x,
              euler=x + (sigma_next - sigma) * y)


def main():
    for stem, cases in (
        ("ops_linear", (linear_cases, gemm_cases, lora_cases)),
        ("ops_norm", (norm_cases, modulate_cases, gated_residual_cases, rope_cases)),
        ("ops_attention", (attention_cases,)),
        ("ops_patch", (patch_cases,)),
        ("ops_elementwise", (time_cases, elementwise_cases, reduction_cases, mse_cases, cast_cases, guidance_cases)),
        ("ops_optimizer", (optimizer_cases,)),
    ):
        golden = Golden("make_ops.py", stem)
        for case in cases:
            case(golden)
        golden.write()


if __name__ == "__main__":
    main()
