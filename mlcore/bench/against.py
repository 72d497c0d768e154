"""Other people's kernels on the same arrays: what PyTorch and JAX take for the same operation.

Each runs as its users would run it for speed: PyTorch eager with its own fused operations, JAX
compiled. Their results are held against the reference like any backend's before they are timed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlcore.bench.verify import Call, Prepare
from mlcore.kernels.errors import MissingExtraError, unknown
from mlcore.kernels.table import Arguments

Peer = dict[str, Prepare]


@contextlib.contextmanager
def opened(names: Sequence[str]) -> Iterator[dict[str, Peer]]:
    """Import the peers that are named, and hold each to one thread meanwhile.

    JAX has no switch for that which it obeys, so its threads must be born on a single core: the
    calling thread stays on one until the end.

    Yields
    ------
    dict of str to dict
        By peer, and by kernel, what makes a call from the kernel's arguments.

    Raises
    ------
    InputError
        For an unknown name.
    MissingExtraError
        For one that is not installed.
    """
    for name in names:
        if name not in PEERS:
            raise unknown("peer", name, PEERS)
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"--against {name} needs {name}: pip install {name}")
    with contextlib.ExitStack() as stack:
        if "jax" in names:
            stack.enter_context(_one_core())
        yield {name: PEERS[name](stack) for name in names}


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    # Interrupts are served by the first core as a rule.
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _torch(stack: contextlib.ExitStack) -> Peer:
    torch: Any = importlib.import_module("torch")
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(1)

    def shared(arguments: Arguments, *names: str) -> list[Any]:
        return [torch.from_numpy(arguments[name]) for name in names]

    def linear(arguments: Arguments) -> Call:
        x, w, b = shared(arguments, "x", "w", "b")

        def call() -> dict[str, Any]:
            return {"out": torch.addmm(b, x, w).relu_()}

        return call

    def linear_backward(arguments: Arguments) -> Call:
        grad, x, w, stored = shared(arguments, "grad", "x", "w", "stored")

        def call() -> dict[str, Any]:
            dz = torch.ops.aten.threshold_backward(grad, stored, 0)
            return {"dz": dz, "dw": x.T @ dz, "db": dz.sum(0), "dx": dz @ w.T}

        return call

    def softmax_cross_entropy(arguments: Arguments) -> Call:
        logits, labels = shared(arguments, "logits", "labels")
        logits.requires_grad_()
        labels = labels.long()

        def call() -> dict[str, Any]:
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            (grad,) = torch.autograd.grad(losses.mean(), logits)
            return {"losses": losses.detach(), "grad": grad}

        return call

    def adam(arguments: Arguments) -> Call:
        parameters, gradients, first, second = shared(arguments, *ADAM_ARRAYS)
        parameters.grad = gradients
        optimizer = torch.optim.Adam(
            [parameters],
            lr=arguments["learning_rate"],
            betas=(arguments["beta_1"], arguments["beta_2"]),
            eps=arguments["epsilon"],
            weight_decay=arguments["weight_decay"],
            fused=True,
        )
        taken = torch.tensor(float(arguments["step"] - 1))
        optimizer.state[parameters] = {"step": taken, "exp_avg": first, "exp_avg_sq": second}

        def call() -> None:
            optimizer.step()

        return call

    made = (linear, linear_backward, softmax_cross_entropy, adam)
    return {prepare.__name__: prepare for prepare in made}


def _jax(stack: contextlib.ExitStack) -> Peer:
    jax: Any = importlib.import_module("jax")
    np: Any = importlib.import_module("jax.numpy")
    # Without this, float64 arrays become float32 ones.
    stack.callback(jax.config.update, "jax_enable_x64", jax.config.jax_enable_x64)
    jax.config.update("jax_enable_x64", True)

    def compiled(function: Callable[..., dict[str, Any]], *names: str) -> Prepare:
        fast = jax.jit(function)

        def prepare(arguments: Arguments) -> Call:
            arrays = [np.array(arguments[name]) for name in names]

            def call() -> dict[str, Any]:
                outputs: dict[str, Any] = jax.block_until_ready(fast(*arrays))
                return outputs

            return call

        return prepare

    def linear(x: Any, w: Any, b: Any) -> dict[str, Any]:
        return {"out": jax.nn.relu(x @ w + b)}

    def linear_backward(grad: Any, x: Any, w: Any, stored: Any) -> dict[str, Any]:
        dz = np.where(stored > 0, grad, 0)
        return {"dz": dz, "dw": x.T @ dz, "db": dz.sum(0), "dx": dz @ w.T}

    def softmax_cross_entropy(logits: Any, labels: Any) -> dict[str, Any]:
        def mean_loss(logits: Any) -> Any:
            logs = jax.nn.log_softmax(logits)
            losses = -np.take_along_axis(logs, labels[:, None], axis=1)[:, 0]
            return losses.mean(), losses

        grad, losses = jax.grad(mean_loss, has_aux=True)(logits)
        return {"losses": losses, "grad": grad}

    def adam(arguments: Arguments) -> Call:
        rate, beta_1, beta_2, epsilon = (
            arguments[name] for name in ("learning_rate", "beta_1", "beta_2", "epsilon")
        )

        def update(state: tuple[Any, Any, Any], gradients: Any, step: Any) -> tuple[Any, Any, Any]:
            parameters, first, second = state
            gradients = gradients + arguments["weight_decay"] * parameters
            first = beta_1 * first + (1 - beta_1) * gradients
            second = beta_2 * second + (1 - beta_2) * gradients**2
            scale = rate / (1 - beta_1**step)
            root = np.sqrt(second / (1 - beta_2**step).astype(second.dtype))
            parameters = parameters - scale.astype(parameters.dtype) * first / (root + epsilon)
            return parameters, first, second

        # Donated arrays are updated in place, as every training loop wants it.
        fast = jax.jit(update, donate_argnums=0)
        parameters, gradients, first, second = (np.array(arguments[name]) for name in ADAM_ARRAYS)
        state, step = (parameters, first, second), np.float64(arguments["step"])

        def call() -> dict[str, Any]:
            nonlocal state
            state = jax.block_until_ready(fast(state, gradients, step))
            return dict(zip(("parameters", "first_moment", "second_moment"), state, strict=True))

        return call

    return {
        "linear": compiled(linear, "x", "w", "b"),
        "linear_backward": compiled(linear_backward, "grad", "x", "w", "stored"),
        "softmax_cross_entropy": compiled(softmax_cross_entropy, "logits", "labels"),
        "adam": adam,
    }


ADAM_ARRAYS = ("parameters", "gradients", "first_moment", "second_moment")
PEERS: dict[str, Callable[[contextlib.ExitStack], Peer]] = {"jax": _jax, "torch": _torch}
