# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Two tiny random WanTransformer3DModel folders and what diffusers and PEFT make of them.

wan_t2v/, wan_i2v/: folders as diffusers writes them; wan_t2v_sharded/ holds the weights of wan_t2v in several files.
wan_t2v.safetensors, wan_i2v.safetensors: inputs, every intermediate worth a look, outputs, gradients, LoRA, training.
adapters/: the trained adapter of wan_t2v as diffusers and PEFT write it.
"""

import math
import shutil

from common import HERE, Golden, settle

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
RANK, ALPHA = 4, 8

CONFIGS = {
    "wan_t2v": dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
                    text_dim=20, freq_dim=256, ffn_dim=56, num_layers=2),
    "wan_i2v": dict(patch_size=(1, 8, 8), num_attention_heads=1, attention_head_dim=64, in_channels=7, out_channels=3,
                    text_dim=64, freq_dim=256, ffn_dim=112, num_layers=2),
}
INPUTS = {
    "wan_t2v": dict(size=(3, 6, 8), text_tokens=5, timestep=(37.25, 812.5)),
    "wan_i2v": dict(size=(5, 16, 16), text_tokens=1, timestep=(640.0, 15.5)),
}


class Rand:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, scale=1.0, offset=0.0):
        return torch.randn(shape, generator=self.generator) * scale + offset


def make_model(name, rand):
    """Every tensor random: a zero or a one left by an initialiser would hide a missing term."""
    model = WanTransformer3DModel(**CONFIGS[name]).eval()
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            if "norm" in key and key.endswith("weight"):
                p.copy_(rand(*p.shape, scale=0.2, offset=1.0))
            elif key.endswith("bias"):
                p.copy_(rand(*p.shape, scale=0.15))
            elif key.endswith("scale_shift_table"):
                p.copy_(rand(*p.shape, scale=0.3))
            else:
                p.copy_(rand(*p.shape, scale=0.9 / math.sqrt(p[0].numel())))
    return model


def fresh(name, rand_seed):
    return make_model(name, Rand(rand_seed))


def save_folder(model, folder, **kwargs):
    shutil.rmtree(HERE / folder, ignore_errors=True)
    model.save_pretrained(HERE / folder, **kwargs)


def watch(model, record):
    """Hooks that keep outputs by the names of the modules, and the input of proj_out."""
    names = ["patch_embedding", "condition_embedder.time_embedder", "condition_embedder.time_proj",
             "condition_embedder.text_embedder", "proj_out"]
    for i in range(len(model.blocks)):
        names += [f"blocks.{i}"] + [f"blocks.{i}.{part}" for part in ("norm1", "attn1", "norm2", "attn2", "norm3",
                                                                      "ffn")]
    handles = []
    for name in names:
        def keep(module, inputs, output, name=name):
            record[name] = output.flatten(2).transpose(1, 2) if name == "patch_embedding" else output
        handles.append(model.get_submodule(name).register_forward_hook(keep))
    handles.append(model.proj_out.register_forward_hook(lambda m, i, o: record.update({"proj_out.input": i[0]})))
    return handles


def flow_inputs(name, rand, batch=2):
    config, size = CONFIGS[name], INPUTS[name]["size"]
    hidden = rand(batch, config["in_channels"], *size)
    text = rand(batch, INPUTS[name]["text_tokens"], config["text_dim"])
    return hidden, torch.tensor(INPUTS[name]["timestep"]), text


def forward_case(g, name, model, rand):
    config = CONFIGS[name]
    hidden, timestep, text = flow_inputs(name, rand)
    target = rand(2, config["out_channels"], *INPUTS[name]["size"])
    record = {}
    handles = watch(model, record)
    hidden.requires_grad_()
    text.requires_grad_()
    y = model(hidden, timestep, text).sample
    loss = F.mse_loss(y, target)
    parameters = dict(model.named_parameters())
    leaves = torch.autograd.grad(loss, [hidden, text, *parameters.values()])
    for handle in handles:
        handle.remove()
    cos, sin = model.rope(hidden)
    g.add("forward", {"config": config | {"patch_size": list(config["patch_size"])}}, hidden_states=hidden,
          timestep=timestep, encoder_hidden_states=text, y=y, target=target, loss=loss, dhidden_states=leaves[0],
          dencoder_hidden_states=leaves[1], rope_cos=cos[0, :, 0, 0::2], rope_sin=sin[0, :, 0, 1::2],
          timestep_sinusoid=model.condition_embedder.timesteps_proj(timestep), **record)
    if name == "wan_t2v":
        g.add("full_grad", {"of": "forward.loss"}, **dict(zip(parameters, leaves[2:])))
    return hidden.detach(), timestep, text.detach(), target


def per_token_case(g, model, hidden, text, target):
    """Wan2.2: tokens of the first frame stand at timestep 0, so a sample has two groups of tokens."""
    tokens = 3 * 3 * 4
    values = torch.tensor([[0.0, 412.75], [0.0, 903.5]])
    group = (torch.arange(tokens) >= 3 * 4).to(torch.int32).expand(2, tokens).contiguous()
    timestep = torch.gather(values, 1, group.long())
    hidden = hidden.clone().requires_grad_()
    y = model(hidden, timestep, text).sample
    loss = F.mse_loss(y, target)
    parameters = {k: p for k,
                  p in model.named_parameters() if "scale_shift_table" in k or "condition_embedder.time" in k}
    leaves = torch.autograd.grad(loss, [hidden, *parameters.values()])
    g.add("per_token", {"inputs": "forward.hidden_states, forward.encoder_hidden_states, forward.target"},
          timestep=timestep, timestep_of_group=values, group=group, y=y, loss=loss, dhidden_states=leaves[0])
    g.add("per_token_grad", {"of": "per_token.loss"}, **dict(zip(parameters, leaves[1:])))


def lora_config(**kwargs):
    return LoraConfig(**(dict(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), init_lora_weights=True) | kwargs))


def lora_parameters(model):
    """name in the file -> parameter; PEFT adds the name of the adapter before `.weight`."""
    return {k.replace(".default.", "."): p for k, p in model.named_parameters() if "lora_" in k}


def randomise(model, rand, b_scale):
    with torch.no_grad():
        for key, p in sorted(lora_parameters(model).items()):
            p.copy_(rand(*p.shape, scale=1 / math.sqrt(p.shape[1]) if "lora_A" in key else b_scale))


def lora_case(g, name, model, rand, hidden, timestep, text, target):
    model.add_adapter(lora_config())
    randomise(model, rand, 0.15)
    hidden = hidden.clone().requires_grad_()
    y = model(hidden, timestep, text).sample
    loss = F.mse_loss(y, target)
    parameters = lora_parameters(model)
    leaves = torch.autograd.grad(loss, [hidden, *parameters.values()])
    params = {"r": RANK, "alpha": ALPHA, "scale": ALPHA / RANK, "targets": TARGETS,
              "inputs": "forward.hidden_states, forward.timestep, forward.encoder_hidden_states, forward.target"}
    g.add("lora", params, y=y, loss=loss, dhidden_states=leaves[0])
    g.add("lora_weight", {}, **parameters)
    g.add("lora_grad", {"of": "lora.loss"}, **dict(zip(parameters, leaves[1:])))


def model_input(name, noisy, x0):
    """I2V by channels: noisy video, a mask that is 1 on the given frame, the given frame followed by zero frames."""
    if name == "wan_t2v":
        return noisy
    mask, first = torch.zeros_like(x0[:, :1]), torch.zeros_like(x0)
    mask[:, :, 0] = 1.0
    first[:, :, 0] = x0[:, :, 0]
    return torch.cat((noisy, mask, first), 1)


def train_case(g, name, model, rand):
    """Ten AdamW steps on fixed noise. wan_i2v starts from B = 0 as a real run does, wan_t2v from a random B.

    wan_i2v has one text token: a softmax over one key is 1 whatever q and k are, so their gradients in attn2 are zero.
    PyTorch leaves rounding noise there, which AdamW would blow up to full steps; the recorded run takes the exact zero.
    """
    config, steps = CONFIGS[name], 10
    size = (config["out_channels"], *INPUTS[name]["size"])
    randomise(model, rand, 0.15 if name == "wan_t2v" else 0.0)
    x0, noise = rand(2, *size), rand(steps, 2, *size)
    text = rand(2, INPUTS[name]["text_tokens"], config["text_dim"])
    sigma = torch.sigmoid(rand(steps, 2))
    parameters = lora_parameters(model)
    one_key = [k for k in parameters if name == "wan_i2v" and ("attn2.to_q" in k or "attn2.to_k" in k)]
    g.add("train_init", {}, **{k: p.detach().clone() for k, p in parameters.items()})
    options = dict(lr=2e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01)
    optimizer = torch.optim.AdamW(parameters.values(), foreach=False, **options)
    losses, norms = [], []
    for step in range(steps):
        s = sigma[step][:, None, None, None, None]
        noisy = (1.0 - s) * x0 + s * noise[step]
        v = model(model_input(name, noisy, x0), 1000.0 * sigma[step], text).sample
        loss = F.mse_loss(v, noise[step] - x0)
        optimizer.zero_grad()
        loss.backward()
        for key in one_key:
            assert parameters[key].grad.abs().max() < 1e-6
            parameters[key].grad.zero_()
        losses.append(loss.detach())
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in parameters.values()], foreach=False))
        optimizer.step()
    params = options | {"r": RANK, "alpha": ALPHA, "steps": steps, "timestep": "1000 sigma",
                        "x_sigma": "(1 - sigma) x0 + sigma noise", "target": "noise - x0", "zero_gradient": one_key,
                        "input_channels": "x_sigma" if name == "wan_t2v" else "x_sigma, mask, first frame then zeros"}
    g.add("train", params, x0=x0, noise=noise, sigma=sigma, encoder_hidden_states=text, loss=torch.stack(losses),
          grad_norm=torch.stack(norms))
    g.add("train_final", {}, **parameters)


@torch.no_grad()
def sample_case(g, name, model, rand):
    """Euler, four steps, shift 3, guidance 3 against a second text, with the trained adapter."""
    config = CONFIGS[name]
    x0 = rand(2, config["out_channels"], *INPUTS[name]["size"])
    x = rand(*x0.shape)
    cond, uncond = (rand(2, INPUTS[name]["text_tokens"], config["text_dim"]) for _ in range(2))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.25, 4).tolist())
    trajectory = [x]
    for t in scheduler.timesteps:
        inputs = model_input(name, x, x0)
        c = model(inputs, t.expand(2), cond).sample
        u = model(inputs, t.expand(2), uncond).sample
        x = scheduler.step(u + 3.0 * (c - u), t, x).prev_sample
        trajectory.append(x)
    g.add("sample", {"steps": 4, "shift": 3.0, "guidance_scale": 3.0, "adapter": "train_final"}, x0=x0, cond=cond,
          uncond=uncond, sigmas=scheduler.sigmas, timesteps=scheduler.timesteps, trajectory=torch.stack(trajectory))


def adapter_files(g, model, seed, hidden, timestep, text):
    """The same adapter by three writers, and one with patterns and rsLoRA, each with the output it must give."""
    root = HERE / "adapters"
    shutil.rmtree(root, ignore_errors=True)
    state = get_peft_model_state_dict(model)
    WanLoraLoaderMixin.save_lora_weights(root / "diffusers", transformer_lora_layers=state,
                                         **_collate_lora_metadata({"transformer": model}))
    model.save_lora_adapter(root / "diffusers_model")
    with torch.no_grad():
        g.add("adapter", {"folders": ["adapters/diffusers", "adapters/diffusers_model", "adapters/peft"],
                          "inputs": "forward.*", "weights": "train_final"}, y=model(hidden, timestep, text).sample)
    wrapped = get_peft_model(fresh("wan_t2v", seed), lora_config())
    set_peft_model_state_dict(wrapped, {f"base_model.model.{k}": v for k, v in state.items()})
    wrapped.save_pretrained(root / "peft")
    with torch.no_grad():
        assert torch.equal(wrapped(hidden, timestep, text).sample, model(hidden, timestep, text).sample)
    pattern = lora_config(use_rslora=True, target_modules=["to_q", "to_v", "ffn.net.0.proj"],
                          rank_pattern={"blocks.0.attn1.to_q": 2}, alpha_pattern={"blocks.1.attn2.to_v": 3})
    wrapped = get_peft_model(fresh("wan_t2v", seed), pattern)
    randomise(wrapped, Rand(seed + 3), 0.15)
    wrapped.save_pretrained(root / "peft_pattern")
    with torch.no_grad():
        g.add("adapter_pattern", {"folders": ["adapters/peft_pattern"], "inputs": "forward.*"},
              y=wrapped(hidden, timestep, text).sample)
    for readme in root.glob("*/README.md"):  # PEFT's empty model card
        readme.unlink()
    for path in root.glob("*/*.safetensors"):
        settle(path)


def main():
    for seed, name in ((31, "wan_t2v"), (41, "wan_i2v")):
        golden, rand = Golden("make_wan.py", name), Rand(seed + 1)
        model = fresh(name, seed)
        save_folder(model, name)
        if name == "wan_t2v":
            save_folder(model, "wan_t2v_sharded", max_shard_size="48KB")
        hidden, timestep, text, target = forward_case(golden, name, model, rand)
        if name == "wan_t2v":
            per_token_case(golden, model, hidden, text, target)
        lora_case(golden, name, model, rand, hidden, timestep, text, target)
        train_case(golden, name, model, rand)
        sample_case(golden, name, model, rand)
        if name == "wan_t2v":
            adapter_files(golden, model, seed, hidden, timestep, text)
        golden.write()


if __name__ == "__main__":
    main()
