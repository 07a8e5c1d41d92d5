"""Writes formats.json: blocks and a file of GGUF by the gguf package, and words of integers by compressed-tensors.

    pip install gguf compressed-tensors torch
    python3 test/oracles/formats.py
"""

import json
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

root = Path(__file__).parent
random = np.random.default_rng(3)

blocks = {}
for name in ["Q4_0", "Q4_1", "Q8_0"]:
    kind = gguf.GGMLQuantizationType[name]
    values = random.normal(size=(2, 64)).astype(np.float32)
    encoded = gguf.quants.quantize(values, kind)
    blocks[name.lower()] = dict(
        bytes=encoded.tobytes().hex(), values=gguf.quants.dequantize(encoded, kind).flatten().tolist()
    )

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_array("tokenizer.ggml.tokens", ["<unk>", "\u2581a", "b"])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.0, -2.5])
    writer.add_array("tokenizer.ggml.token_type", [2, 1, 1])
    writer.add_tensor("output_norm.weight", np.arange(5, dtype=np.float32))
    writer.add_tensor("token_embd.weight", np.arange(6, dtype=np.float16).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    container = path.read_bytes().hex()

words = []
for bits in [2, 3, 4, 5, 8]:
    integers = random.integers(0, 2**bits, size=(3, 37))
    signed = torch.tensor(integers - 2 ** (bits - 1), dtype=torch.int8)
    words.append(
        dict(bits=bits, integers=integers.flatten().tolist(), words=pack_to_int32(signed, bits).flatten().tolist())
    )

(root / "formats.json").write_text(json.dumps(dict(blocks=blocks, container=container, words=words)) + "\n")
