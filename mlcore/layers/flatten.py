"""Samples in a row."""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore.layers.reshape import Reshape


class Flatten(Reshape):
    """Samples of any shape as rows, which is what `Dense` takes; nothing is copied.

    As Keras's Flatten and ``torch.nn.Flatten``; the last axis varies fastest. Keras's Dense would
    act on the last axis of what is not flattened, ours refuses it.
    """

    kind: ClassVar[str] = "flatten"

    def __init__(self) -> None:
        super().__init__(-1)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}
