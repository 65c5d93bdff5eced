# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0
"""Time grids, Euler trajectories, time densities and learning-rate schedules, by diffusers: schedulers.safetensors."""

from common import Golden

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_density_for_timestep_sampling

_generator = torch.Generator().manual_seed(20240502)

# v = a * x + b * sigma: a linear field, so that a wrong step shows in every element and grows.
A, B = -0.75, 0.5


def euler_cases(g):
    start = torch.randn((2, 3, 4), generator=_generator)
    for shift in (1.0, 3.0, 5.0):
        for n in (4, 20):
            for path in ("default", "sigmas"):
                scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
                if path == "default":
                    # The constructor shifts its 1000 sigmas, and set_timesteps shifts a line between their two ends
                    # once more: the upper end stays 1, the lower end is shifted twice.
                    scheduler.set_timesteps(n)
                    base = np.linspace(scheduler.sigma_max, scheduler.sigma_min, n)
                else:
                    # What pipelines do: a line from 1 to 1/n, shifted once.
                    base = np.linspace(1.0, 1 / n, n)
                    scheduler.set_timesteps(sigmas=base.tolist())
                x, trajectory = start.clone(), [start.clone()]
                for i, t in enumerate(scheduler.timesteps):
                    v = A * x + B * scheduler.sigmas[i]
                    x = scheduler.step(v, t, x).prev_sample
                    trajectory.append(x.clone())
                params = {"shift": shift, "steps": n, "path": path, "num_train_timesteps": 1000, "velocity_a": A,
                          "velocity_b": B, "sigma_min": scheduler.sigma_min, "sigma_max": scheduler.sigma_max}
                g.add(f"euler_{path}_shift{shift:g}_n{n}", params, base_f64=base, sigmas=scheduler.sigmas,
                      timesteps=scheduler.timesteps, trajectory=torch.stack(trajectory))
    for shift in (1.0, 3.0, 5.0):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        g.add(f"euler_constructor_shift{shift:g}", {"shift": shift, "num_train_timesteps": 1000},
              sigmas=scheduler.sigmas, timesteps=scheduler.timesteps)


def noise_cases(g):
    x0, noise = (torch.randn((2, 3, 4, 5, 6), generator=_generator) for _ in range(2))
    sigma = torch.tensor([0.8125, 0.171875])
    s = sigma[:, None, None, None, None]
    g.add("linear_path", {"x_sigma": "(1 - sigma) x0 + sigma noise", "target": "noise - x0",
                          "x0_from_v": "x - sigma v"},
          x0=x0, noise=noise, sigma=sigma, x=s * noise + (1.0 - s) * x0, target=noise - x0)


def density_cases(g):
    u = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    edge = torch.tensor([1e-6, 1e-3, 0.999, 1 - 1e-6], dtype=torch.float64)
    u = torch.cat((u, edge))
    for mean, std in ((0.0, 1.0), (-0.5, 1.5), (0.95, 1.0)):
        z = torch.special.ndtri(u)
        g.add(f"logit_normal_mean{mean:g}_std{std:g}", {"mean": mean, "std": std,
                                                        "sigma": "sigmoid(mean + std ndtri(u))"},
              u_f64=u, ndtri_f64=z, sigma_f64=torch.sigmoid(mean + std * z))
    for shift in (1.0, 3.0, 5.0):
        g.add(f"uniform_shift{shift:g}", {"shift": shift, "sigma": "s u / (1 + (s - 1) u)"}, u_f64=u,
              sigma_f64=shift * u / (1 + (shift - 1) * u))
    # diffusers' own draw, for the histogram only: its generator is not ours.
    torch.manual_seed(7)
    drawn = compute_density_for_timestep_sampling("logit_normal", 4096, logit_mean=0.0, logit_std=1.0)
    quantiles = torch.linspace(0.05, 0.95, 19)
    g.add("logit_normal_drawn", {"mean": 0.0, "std": 1.0, "draws": 4096, "what": "quantiles of diffusers' own draws"},
          u=quantiles, sigma=torch.quantile(drawn, quantiles))


def learning_rate_cases(g):
    steps, warmup, base = 20, 5, 1e-3
    for name in ("constant", "constant_with_warmup", "linear", "cosine"):
        p = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([p], lr=base)
        schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        g.add(f"lr_{name}", {"steps": steps, "warmup": warmup if name != "constant" else 0, "base": base,
                             "what": "the rate used by step i = 0 .. steps - 1"},
              lr_f64=torch.tensor(rates, dtype=torch.float64))


def main():
    golden = Golden("make_schedulers.py", "schedulers")
    for case in (euler_cases, noise_cases, density_cases, learning_rate_cases):
        case(golden)
    golden.write()


if __name__ == "__main__":
    main()
