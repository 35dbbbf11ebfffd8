"""Writes python.safetensors, which the tests read: values that binary16 and
bfloat16 both hold exactly, the corners of binary16 as bits, a scalar, an empty
tensor, and one of a type that is not converted. Made with numpy 2.4.6 and
safetensors 0.8.0:

    python make.py
"""

import numpy as np
from safetensors import TensorSpec, serialize_file

exact = np.array([[0.0, -0.0, 1.0], [-2.5, 0.15625, 96.0]], "<f4")
corners = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xC248, 0x7BFF, 0x7C00, 0xFC00]

tensors = {
    "exact": ("float32", exact),
    "exact/f16": ("float16", exact.astype("<f2")),
    "exact/bf16": ("bfloat16", (exact.view("<u4") >> 16).astype("<u2")),
    "corners": ("float16", np.array(corners, "<u2")),
    "scalar": ("float32", np.array(0.07, "<f4")),
    "empty": ("float32", np.zeros((0, 3), "<f4")),
    "position_ids": ("int64", np.arange(4, dtype="<i8")[None]),
}

serialize_file(
    {
        name: TensorSpec(dtype=dtype, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
        for name, (dtype, a) in tensors.items()
    },
    "python.safetensors",
    metadata={"format": "np", "note": "größer"},
)
