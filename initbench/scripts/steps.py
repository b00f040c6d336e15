"""The lines of a script about its steps: the learning rate's schedule, clipping, and what is seeded in each epoch."""

from initbench.spec.cell import Cell, warmup_steps


def epoch_lines(cell: Cell, is_random: bool) -> list[str]:
    """Return the lines before the steps of an epoch."""
    lines = []
    if is_random:  # dropout, or an own function
        seed = "np.random.SeedSequence(SEED, spawn_key=(4, epoch)).generate_state(1, np.uint64)[0]"
        lines.append(f"torch.manual_seed(int({seed}))")
    if cell.lr_schedule == "exponential" and not cell.has_step_rates:
        lines.append(_set_rate(f"RATE * {1 - cell.lr_decay!r} ** (epoch - 1)"))
    return lines


def step_lines(cell: Cell) -> list[str]:
    """Return the lines before a step, in terms of `epoch` and `step`."""
    if not cell.has_step_rates:
        return []
    steps = cell.steps_per_epoch
    warmup, end = warmup_steps(cell.warmup_epochs, steps), cell.epochs * steps
    factor = "1.0"
    if cell.lr_schedule == "cosine" and warmup < end:
        done = f"(t - {warmup}) / {end - warmup}" if warmup else f"t / {end}"
        factor = f"(1 + math.cos(math.pi * {done})) / 2"
    if warmup:
        factor = f"(t + 1) / {warmup} if t < {warmup} else {factor}"
    rate = f"RATE * {1 - cell.lr_decay!r} ** (epoch - 1)" if cell.lr_schedule == "exponential" else "RATE"
    return [f"t = (epoch - 1) * {steps} + step", f"factor = {factor}", _set_rate(f"{rate} * factor")]


def _set_rate(rate: str) -> str:
    """Return the line that sets the learning rate, rounded as in the plain loop, which keeps the ratios of groups."""
    return f'optimizer.param_groups[0]["lr"] = RATE * ({rate} / RATE)'


def gradient_lines(cell: Cell) -> list[str]:
    """Return the lines between the backward pass and the step."""
    if not cell.gradient_clipping:
        return []
    return [f"nn.utils.clip_grad_norm_(model.parameters(), {cell.gradient_clipping!r})"]
