"""Writes arrays.npz and arrays-compressed.npz, as numpy.savez and numpy.savez_compressed do.

Made with NumPy 2.4: python3 test/oracles/arrays.py
"""

from pathlib import Path

import numpy as np

OUT = Path(__file__).parent
IMAGES = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)
LABELS = np.arange(6, dtype=np.uint8).reshape(6, 1) % 3

np.savez(OUT / "arrays.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2] + 100, y_test=LABELS[:2])
np.savez_compressed(OUT / "arrays-compressed.npz", ids=IMAGES.astype(np.int64), mask=IMAGES > 3, labels=LABELS)
