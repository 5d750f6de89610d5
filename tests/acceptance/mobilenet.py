"""A peer: the MobileNet-v1 embedder of the shared data, a real pretrained image network, as an encoder of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scanner.core.preprocess import Preprocess


class MobileNetEncoder:
    """1,024 numbers an image of 224 x 224, ImageNet features; dequantised and of unit norm."""

    name, device, precision, dim = "mobilenet-v1", "cpu", "uint8", 1024
    weights_digest = "f409ef4f73fcbb9667841965623c5c8524aac33d41b9bf5f3667161fb4a76319"
    preprocess = Preprocess(size=(224, 224), resize_mode="squash")

    def __init__(self, folder: Path) -> None:
        litert = pytest.importorskip("ai_edge_litert.interpreter")
        self._net = litert.Interpreter(str(next(folder.glob("*.tflite"))), num_threads=2)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._output = self._net.get_output_details()[0]["index"]

    def encode(self, pixels):
        rows = []
        for image in pixels:
            self._net.set_tensor(self._input, image[None])
            self._net.invoke()
            rows.append(self._net.get_tensor(self._output).reshape(-1).astype(np.float32))
        vectors = np.stack(rows)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
