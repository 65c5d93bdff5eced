# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""The Wan family in tiny random models: T2V, I2V and FLF2V with the branch for an encoded image, TI2V with a timestep for
every token, and heads of 128 over an odd number of tokens. Folders as diffusers writes them, and what
diffusers and PEFT make of them: outputs of every block, gradients, three sets of LoRA targets, ten training steps."""

from common import Golden
import make_wan
from make_wan import CONFIGS, INPUTS, Rand, fresh, lora_config, lora_parameters, randomise, save_folder, watch

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel

# diffusers takes the last 512 tokens of a context for text and those before them for image.
SMALL = dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, text_dim=6, freq_dim=32, ffn_dim=40,
             num_layers=2)
IMAGE = dict(in_channels=9, out_channels=4, image_dim=20, added_kv_proj_dim=24)
FAMILY = {
    "wan_t2v_tiny": SMALL | dict(in_channels=4, out_channels=4),
    "wan_i2v_clip": SMALL | IMAGE,
    "wan_flf2v": SMALL | IMAGE | dict(pos_embed_seq_len=14),
    "wan_ti2v": SMALL | dict(in_channels=6, out_channels=6, text_dim=18),
    "wan_d128": SMALL | dict(in_channels=4, out_channels=4, num_attention_heads=1, attention_head_dim=128, num_layers=1),
}
SHAPES = {
    "wan_t2v_tiny": dict(size=(3, 4, 6), text_tokens=5, timestep=(712.5, 88.25)),
    "wan_i2v_clip": dict(size=(3, 4, 6), text_tokens=512, timestep=(37.25, 812.5), image_tokens=7),
    "wan_flf2v": dict(size=(3, 4, 6), text_tokens=512, timestep=(991.0, 402.5), image_tokens=7),
    "wan_ti2v": dict(size=(3, 6, 4), text_tokens=9, timestep=(412.75, 903.5)),
    "wan_d128": dict(size=(3, 6, 10), text_tokens=5, timestep=(640.0, 15.5)),
}
CONFIGS.update(FAMILY)
INPUTS.update(SHAPES)

BATCH = 2
ATTENTION, FFN = ["to_q", "to_k", "to_v", "to_out.0"], ["ffn.net.0.proj", "ffn.net.2"]
LORA = dict(lr=2e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01)


def target_sets(name):
    """(case, targets, rank, alpha)"""
    image = ["add_k_proj", "add_v_proj"] if "image_dim" in CONFIGS[name] else []
    return [("lora_r1", ATTENTION, 1, 1), ("lora_r4", ATTENTION + FFN + image, 4, 8), ("lora_r16", FFN, 16, 16)]


def inputs_of(name, rand):
    config, shape = CONFIGS[name], INPUTS[name]
    batch = {"hidden_states": rand(BATCH, config["in_channels"], *shape["size"]),
             "encoder_hidden_states": rand(BATCH, shape["text_tokens"], config["text_dim"])}
    if name == "wan_flf2v":  # the tokens of a clip's two images come as two samples
        batch["encoder_hidden_states_image"] = rand(2 * BATCH, shape["image_tokens"], config["image_dim"])
    elif "image_dim" in config:
        batch["encoder_hidden_states_image"] = rand(BATCH, shape["image_tokens"], config["image_dim"])
    return batch


def timesteps(name, values):
    """(B), or for TI2V (B, T): the first frame's tokens stand at 0."""
    if name != "wan_ti2v":
        return values
    frames, height, width = INPUTS[name]["size"]
    tokens = height // 2 * (width // 2)
    return torch.cat((torch.zeros(len(values), tokens), values[:, None].expand(-1, (frames - 1) * tokens)), 1)


def as_bf16(name):
    """The model as from_pretrained(torch_dtype=bfloat16) gives it: with islands in float32."""
    return WanTransformer3DModel.from_pretrained(make_wan.HERE / name, torch_dtype=torch.bfloat16).eval()


def run(model, batch, timestep, dtype=torch.float32):
    return model(timestep=timestep, **{k: v.to(dtype) for k, v in batch.items()}).sample


def forward_case(g, name, model, rand):
    config = CONFIGS[name]
    batch = inputs_of(name, rand)
    timestep = timesteps(name, torch.tensor(INPUTS[name]["timestep"]))
    target = rand(BATCH, config["out_channels"], *INPUTS[name]["size"])
    record = {}
    handles = watch(model, record)
    if "image_dim" in config:
        keep = lambda m, i, o: record.update({"condition_embedder.image_embedder": o})
        handles.append(model.condition_embedder.image_embedder.register_forward_hook(keep))
    hidden = batch["hidden_states"].requires_grad_()
    y = run(model, batch, timestep)
    loss = F.mse_loss(y, target)
    (dhidden,) = torch.autograd.grad(loss, [hidden])
    for handle in handles:
        handle.remove()
    batch["hidden_states"] = hidden.detach()
    kept = {k: v for k, v in record.items() if k.count(".") == 1 and "blocks" in k or "image_embedder" in k}
    with torch.no_grad():
        low = run(as_bf16(name), batch, timestep, torch.bfloat16)
    shown = {k: v.reshape(BATCH, -1, v.shape[-1]) if "image" in k else v for k, v in batch.items()}
    g.add("forward", {"config": config | {"patch_size": list(config["patch_size"])},
                      "bf16_error": error([low], [y])},
          timestep=timestep, y=y, target=target, loss=loss, dhidden_states=dhidden, **shown, **kept)
    if name == "wan_ti2v":
        values = torch.tensor(INPUTS[name]["timestep"])
        g.add("tokens", {"of": "forward.timestep", "rows": "2 b + group"},
              group=(timestep > 0).to(torch.int32), timestep_of_group=torch.stack((torch.zeros(BATCH), values), 1))
    return batch, timestep, target


def error(low, high):
    """|low - high| / |high| in norm, over all tensors together."""
    difference = sum((a.double() - b.double()).square().sum() for a, b in zip(low, high))
    return (difference / sum(b.double().square().sum() for b in high)).sqrt().item()


def bf16_lora(name, exact, targets, rank, alpha, batch, timestep, target):
    """The same adapter, in float32 as PEFT keeps it, on a trunk in bf16: output and gradients."""
    model = as_bf16(name)
    model.add_adapter(lora_config(r=rank, lora_alpha=alpha, target_modules=targets))
    parameters = lora_parameters(model)
    with torch.no_grad():
        for key, p in lora_parameters(exact).items():
            parameters[key].data = p.detach().clone()  # float32: diffusers leaves this cast to its training scripts
    y = run(model, batch, timestep, torch.bfloat16)
    return y, torch.autograd.grad(F.mse_loss(y.float(), target), list(parameters.values()))


def lora_cases(g, name, seed, batch, timestep, target):
    for number, (case, targets, rank, alpha) in enumerate(target_sets(name)):
        model, rand = fresh(name, seed), Rand(seed + 10 + number)
        model.add_adapter(lora_config(r=rank, lora_alpha=alpha, target_modules=targets))
        randomise(model, rand, 0.15)
        hidden = batch["hidden_states"].clone().requires_grad_()
        y = run(model, batch | {"hidden_states": hidden}, timestep)
        loss = F.mse_loss(y, target)
        parameters = lora_parameters(model)
        leaves = torch.autograd.grad(loss, [hidden, *parameters.values()])
        low_y, low_grads = bf16_lora(name, model, targets, rank, alpha, batch, timestep, target)
        g.add(case, {"r": rank, "alpha": alpha, "targets": targets, "inputs": "forward.*",
                     "bf16_error": error([low_y], [y]), "bf16_gradient_error": error(low_grads, leaves[1:])},
              y=y, loss=loss, dhidden_states=leaves[0])
        g.add(case + "_weight", {}, **parameters)
        g.add(case + "_grad", {"of": f"{case}.loss"}, **dict(zip(parameters, leaves[1:])))


def train_case(g, name, seed, batch):
    """Ten AdamW steps on fixed noise and sigmas from a random B, lora_r4's targets."""
    config, steps = CONFIGS[name], 10
    rand = Rand(seed + 20)
    _, targets, rank, alpha = target_sets(name)[1]
    model = fresh(name, seed)
    model.add_adapter(lora_config(r=rank, lora_alpha=alpha, target_modules=targets))
    randomise(model, rand, 0.15)
    size = (config["out_channels"], *INPUTS[name]["size"])
    x0, noise, sigma = rand(BATCH, *size), rand(steps, BATCH, *size), torch.sigmoid(rand(steps, BATCH))
    rest = config["in_channels"] - config["out_channels"]
    condition = rand(BATCH, rest, *INPUTS[name]["size"]) if rest else None
    parameters = lora_parameters(model)
    g.add("train_init", {}, **{k: p.detach().clone() for k, p in parameters.items()})
    optimizer = torch.optim.AdamW(parameters.values(), foreach=False, **LORA)
    losses = []
    for step in range(steps):
        s = sigma[step][:, None, None, None, None]
        noisy = (1.0 - s) * x0 + s * noise[step]
        if name == "wan_ti2v":  # the first frame is given, and stays as it is
            noisy[:, :, :1] = x0[:, :, :1]
        hidden = torch.cat((noisy, condition), 1) if rest else noisy
        v = run(model, batch | {"hidden_states": hidden}, timesteps(name, 1000.0 * sigma[step]))
        loss = F.mse_loss(v, noise[step] - x0)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
    g.add("train", LORA | {"r": rank, "alpha": alpha, "targets": targets, "steps": steps,
                           "hidden": "x_sigma" + (", condition" if rest else "")
                           + ("; x0 in its first frame" if name == "wan_ti2v" else "")},
          x0=x0, noise=noise, sigma=sigma, loss=torch.stack(losses), **({"condition": condition} if rest else {}))
    g.add("train_final", {}, **parameters)


@torch.no_grad()
def shipped_case():
    """The small Wan of examples/weights, as diffusers loads it."""
    folder = make_wan.HERE.parent.parent / "examples/weights/wan-small"
    model = WanTransformer3DModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    config, rand = model.config, Rand(101)
    hidden = rand(1, config.in_channels, 3, 32, 32)
    text, timestep = rand(1, 1, config.text_dim), torch.tensor([437.5])
    g = Golden("make_wan_family.py", "wan_small")
    g.add("forward", {"folder": "examples/weights/wan-small"}, hidden_states=hidden, encoder_hidden_states=text,
          timestep=timestep, y=model(hidden, timestep, text).sample)
    g.write()


def main():
    for seed, name in zip((91, 51, 61, 71, 81), FAMILY):
        golden, rand = Golden("make_wan_family.py", name), Rand(seed + 1)
        model = fresh(name, seed)
        save_folder(model, name)
        batch, timestep, target = forward_case(golden, name, model, rand)
        lora_cases(golden, name, seed, batch, timestep, target)
        train_case(golden, name, seed, batch)
        golden.write()
    shipped_case()


if __name__ == "__main__":
    main()
