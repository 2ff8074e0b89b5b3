"""Makes stored.txt, the known answers of shared/kernels/src/stored/tests.rs.

pip install numpy==2.* gguf==0.19.0 torch==2.15.0 bitsandbytes==0.50.2
python make_stored.py > stored.txt
"""
import numpy as np, torch
from gguf import GGMLQuantizationType as T, quants
from gguf.constants import GGML_QUANT_SIZES
import bitsandbytes.functional as F

rng = np.random.default_rng(7)

def line(name, array):
    print(name, np.ascontiguousarray(array).tobytes().hex())

for kind in [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]:
    block, size = GGML_QUANT_SIZES[kind]
    blocks = 8 if block == 1 else 2
    raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    # Scales of a plausible size: halves that are finite.
    halves = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
              T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}.get(kind, [])
    for at in halves:
        raw[:, at:at + 2] = rng.normal(0, 0.02, (blocks, 1)).astype(np.float16).view(np.uint8)
    if block == 1:
        values = rng.normal(0, 3, blocks).astype(np.float32)
        raw = quants.quantize(values, kind).view(np.uint8).reshape(blocks, size)
        expected = quants.dequantize(raw.reshape(-1) if kind == T.BF16 else raw.reshape(-1).view(np.float16), kind)
    else:
        expected = quants.dequantize(raw, kind)
    line(f"{kind.name}.bytes", raw)
    line(f"{kind.name}.values", expected.astype(np.float32))

values = rng.normal(0, 0.05, (4, 32)).astype(np.float32)
values[3] = 0
line("encode.values", values)
for kind in [T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]:
    line(f"encode.{kind.name}", quants.quantize(values, kind))

values = torch.from_numpy(rng.normal(0, 0.05, (8, 96)).astype(np.float32))
packed, state = F.quantize_4bit(values, blocksize=64, quant_type="nf4", compress_statistics=True)
line("nf4.values", values.numpy())
line("nf4.packed", packed.numpy())
line("nf4.absmax", state.absmax.numpy())
line("nf4.nested_absmax", state.state2.absmax.numpy())
line("nf4.offset", state.offset.reshape(1).numpy())
# By rows of whole blocks: on a CPU, bitsandbytes 0.50.2 takes the scales of other blocks where a row is not a multiple of 64.
packed, state = F.quantize_4bit(values.reshape(12, 64), blocksize=64, quant_type="nf4", compress_statistics=True)
line("nf4.dequantized", F.dequantize_4bit(packed, state).numpy())
