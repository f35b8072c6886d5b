"""The values that no paper publishes."""

#: No paper's: off unless asked for.
OFF = {
    "pack": 1,
    "lr_decay": "constant",
    "ema_decay": 0.0,
    "precision": "float32",
    "compile": False,
    "cuda_graph": False,
}
