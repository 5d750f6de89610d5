"""The training loop of every bundled model: a fixed number of steps, seeded, resumable to the bit.

What is trained and what is lost is the recipe's; the loop knows modules, a loss and a schedule. A step's randomness comes from
(seed, step) alone, so a run that was stopped goes on as if it had not been, and nothing ever depends on the clock.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import TrainingError
from scanner.core.progress import Progress

if TYPE_CHECKING:
    import torch

CHECKPOINT = "checkpoint.pt"

Loss = Callable[[int, "torch.Generator"], "torch.Tensor"]
"""Of (step, a CPU generator for that step): a scalar to minimise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How to train.

    Attributes:
        steps: updates in all.
        seed: of every step's randomness.
        learning_rate: at its highest: reached after ``warmup_steps``, then falling along a cosine to ``final_share`` of it.
        weight_decay: of AdamW, on parameters of two or more axes.
        clip_norm: bound on the norm of the whole gradient.
        ema_decay: of the average that is returned; 0 returns the last weights. It warms up: step t averages with at most
            (1 + t) / (10 + t).
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    seed: int
    learning_rate: float
    warmup_steps: int = 100
    final_share: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    checkpoint_every: int = 250

    def rate_at(self, step: int) -> float:
        """Learning rate of the update of that number, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        along = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * along)))


def train(
    modules: Mapping[str, torch.nn.Module],
    loss: Loss,
    schedule: Schedule,
    *,
    folder: Path,
    name: str,
    progress: Progress,
    images_a_step: int = 1,
    is_bf16: bool = False,
) -> dict[str, dict[str, torch.Tensor]]:
    """Trains ``modules`` in place and returns their state dicts, averaged where the schedule says so.

    A checkpoint in ``folder`` of the same schedule is taken up; a finished one is only read.

    Args:
        modules: by name; all parameters that require gradients are trained together.
        loss: called once a step, with the modules in training mode.
        folder: of the checkpoint; made if need be.
        name: of the bar.
        images_a_step: what the bar counts.
        is_bf16: the loss is computed under bf16 autocast; weights and updates stay fp32. Where the hardware has no bf16 it is
            slower than fp32.

    Raises:
        TrainingError: the folder holds a checkpoint of another schedule or of other modules, or the loss is not finite.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    parameters = [(f"{m}.{n}", p) for m, module in modules.items() for n, p in module.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for _, p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for _, p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: of a small network's step on a CPU, updating hundreds of small tensors one by one was 8 %.
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=schedule.learning_rate, betas=schedule.betas, fused=True)
    average = _states(modules)
    start = _resume(folder / CHECKPOINT, schedule, modules, optimizer, average)
    for module in modules.values():
        module.train()
    total, recent = schedule.steps, math.nan
    device_type = parameters[0][1].device.type
    # What draws from the global generators (dropout) is seeded each step too; the caller's are left as they were.
    with progress.bar(name, total=total * images_a_step, unit="images") as bar, torch.random.fork_rng():
        bar.advance(start * images_a_step)
        for step in range(start, total):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            generator = torch.Generator().manual_seed((schedule.seed << 32) + step)
            torch.manual_seed((schedule.seed << 32) + step)
            with torch.autocast(device_type, torch.bfloat16, enabled=is_bf16):
                value = loss(step, generator)
            if not bool(torch.isfinite(value.detach())):
                raise TrainingError(
                    f"{name}: the loss is {float(value.detach())} at step {step}",
                    next_step="Lower the learning rate and begin anew.",
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([p for _, p in parameters], schedule.clip_norm)
            optimizer.step()
            _update_average(average, modules, min(schedule.ema_decay, (1 + step) / (10 + step)))
            current = float(value.detach())
            recent = current if math.isnan(recent) else 0.98 * recent + 0.02 * current
            bar.advance(images_a_step)
            if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == total:
                bar.say(f"{name}: step {step + 1:,} of {total:,}, loss {recent:.4f}")
                state = {
                    "schedule": _plain(schedule), "step": step + 1, "average": average, "optimizer": optimizer.state_dict(),
                    "modules": {m: module.state_dict() for m, module in modules.items()},
                }  # fmt: skip
                torch.save(state, folder / f".{CHECKPOINT}")
                os.replace(folder / f".{CHECKPOINT}", folder / CHECKPOINT)
    return average


def batch_rows(num_rows: int, batch_size: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Rows of the batch of that step, (batch_size,): epoch after epoch of all rows, each shuffled by (seed, epoch).

    Batches run over the ends of epochs, so that all are full and every row comes equally often.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // num_rows
    rows = np.empty(batch_size, np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        inside = epochs == epoch
        rows[inside] = np.random.default_rng([seed, epoch]).permutation(num_rows)[places[inside] % num_rows]
    return rows


def _states(modules: Mapping[str, torch.nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    return {m: {k: v.detach().clone() for k, v in module.state_dict().items()} for m, module in modules.items()}


def _update_average(average: dict[str, dict[str, torch.Tensor]], modules: Mapping[str, torch.nn.Module], decay: float) -> None:
    import torch

    with torch.no_grad():
        for m, module in modules.items():
            for key, value in module.state_dict().items():
                if decay and value.is_floating_point():
                    average[m][key].lerp_(value, 1 - decay)
                else:
                    average[m][key].copy_(value)


def _plain(schedule: Schedule) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(schedule).items()}


def _resume(
    path: Path,
    schedule: Schedule,
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    average: dict[str, dict[str, torch.Tensor]],
) -> int:
    """Steps that are done. Fills modules, optimizer and average from the checkpoint, where there is one."""
    import torch

    if not path.is_file():
        return 0
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        found = state["schedule"]
    except Exception as error:  # whatever torch makes of a damaged file
        raise TrainingError(f"{path} is no whole checkpoint: {error}", next_step="Delete it to begin anew.") from error
    if found != _plain(schedule):
        raise TrainingError(f"{path} is of another schedule: {found}", next_step="Give an empty folder, or the same settings.")
    try:
        for m, module in modules.items():
            module.load_state_dict(state["modules"][m])
            average[m] = {k: v.to(average[m][k].device) for k, v in state["average"][m].items()}
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{path} is of other modules: {error}", next_step="Give an empty folder.") from error
    return int(state["step"])
