"""A vector for each of a number of things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlcore import initializers, regularizers
from mlcore.initializers import Initializer
from mlcore.kernels.errors import InputError
from mlcore.layers.base import (
    Backward,
    Layer,
    ParameterSpec,
    ParameterView,
    Shape,
    check_size,
    config_of,
)
from mlcore.regularizers import Regularizer

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering

# Whole numbers go through float32, which knows them all up to here.
MOST = 2**24


class Embedding(Layer):
    """weight[x]: a vector of numbers to be learned for each whole number from 0 to input_dim - 1.

    (length,) becomes (length, output_dim); as Keras's Embedding and ``torch.nn.Embedding``. The
    first layer, but for Flatten and Reshape. What is looked up is checked once, before `fit`,
    `evaluate` or `predict` begin.

    Parameters
    ----------
    input_dim : int
        How many things there are, at most 2**24.
    output_dim : int
        The length of their vectors.
    embeddings_initializer : str or Initializer
        As in Keras, uniform in [-0.05, 0.05) by default.
    embeddings_regularizer : str, dict or Regularizer, optional
        A penalty on the vectors, as for `Dense`.
    trainable : bool
        False freezes the vectors.

    Attributes
    ----------
    weight : ndarray (input_dim, output_dim)
        A view into the model's parameters; writing to it changes the model.
    """

    kind: ClassVar[str] = "embedding"
    weight = ParameterView()

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        embeddings_initializer: str | Initializer | dict[str, Any] = "uniform",
        embeddings_regularizer: str | Regularizer | dict[str, Any] | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(trainable=trainable)
        self.input_dim = self.input_limit = check_size(input_dim, "input_dim of Embedding")
        if self.input_dim > MOST:
            raise InputError(f"input_dim of Embedding is at most {MOST:,}, not {input_dim:,}")
        self.output_dim = check_size(output_dim, "output_dim of Embedding")
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for a weight (input_dim, output_dim)."""
        if len(input_shape) != 1:
            raise InputError(
                f"{self.name} looks up rows of whole numbers, not samples of shape {input_shape}: "
                "put Flatten() before it"
            )
        shape = (self.input_dim, self.output_dim)
        self.input_shape, self.output_shape = input_shape, (*input_shape, self.output_dim)
        return [
            ParameterSpec(
                "weight", shape, self.embeddings_initializer, *shape,
                regularizer=self.embeddings_regularizer,
            )
        ]  # fmt: skip

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``embedding`` and, behind it, ``embedding_backward``."""
        out = plan.batch_buffer(f"{self.name}.out", *x.sample, self.output_dim)
        plan.add("embedding", self.name, "forward", x=x, w=plan.parameter(self, "weight"), out=out)

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if wanted:
                raise InputError(f"{self.name}: whole numbers have no gradient")
            if self.trainable:
                plan.add(
                    "embedding_backward", self.name, "backward",
                    grad=grad, x=x, dw=plan.gradient(self, "weight"),
                )  # fmt: skip
            return None

        return out, backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": self.embeddings_initializer.config(),
            "embeddings_regularizer": config_of(self.embeddings_regularizer),
            "trainable": self.trainable,
        }
