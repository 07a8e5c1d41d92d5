"""ONNX Runtime's quantize_dynamic with its defaults, beside which docs/results/without-data.md puts the form q8.

    pip install onnxruntime onnx
    python3 bench/peers/quantize-dynamic.py model.onnx out.onnx
"""

import sys
import time

from onnxruntime.quantization import quantize_dynamic

started = time.process_time()
quantize_dynamic(sys.argv[1], sys.argv[2])
print(f"{time.process_time() - started:.1f} s of processor time")
