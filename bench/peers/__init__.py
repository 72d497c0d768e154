"""The sides that `train.py` compares, one file each, and the processes they run in."""

SIDES = {
    "mlcore": "peers.mlcore_",
    "torch": "peers.torch_",
    "jax": "peers.jax_",
    "sklearn": "peers.sklearn_",
    "numpy": "peers.numpy_",
}
