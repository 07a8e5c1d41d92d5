# The peer: one QAT training step of ResNet-20 in PyTorch (learnable fake quantization per channel and per tensor, SGD and
# Adam included). Prints one JSON object. Arguments: batch, threads, steps, layout (channels_last or nchw), bits of weights, of activations.
import json
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

batch, threads, steps = (int(value) for value in sys.argv[1:4])
channels_last = sys.argv[4] == "channels_last"
weight_bits, activation_bits = (int(value) for value in sys.argv[5:7])
torch.set_num_threads(threads)
torch.manual_seed(0)


def blas() -> str:
    """The BLAS library that this process has mapped."""
    with open("/proc/self/maps") as maps:
        names = {line.split("/")[-1].strip() for line in maps if "blas" in line}
    return ", ".join(sorted(names))


class Quantized(nn.Module):
    """A layer whose weight and input are fake-quantized with learned scales and zero points."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.high = 2 ** (weight_bits - 1) - 1
        largest = layer.weight.detach().abs().flatten(1).max(1)[0]
        self.weight_scale = nn.Parameter(largest / self.high)
        self.register_buffer("weight_zero", torch.zeros(len(largest)))
        self.input_scale = nn.Parameter(torch.tensor([6.0 / (2**activation_bits - 1)]))
        self.input_zero = nn.Parameter(torch.tensor([0.0]))

    def forward(self, x):
        w = torch._fake_quantize_learnable_per_channel_affine(
            self.layer.weight, self.weight_scale, self.weight_zero, 0, -self.high, self.high, 1.0
        )
        x = torch._fake_quantize_learnable_per_tensor_affine(
            x, self.input_scale, self.input_zero, 0, 2**activation_bits - 1, 1.0
        )
        if isinstance(self.layer, nn.Conv2d):
            return F.conv2d(x, w, None, self.layer.stride, self.layer.padding)
        return F.linear(x, w, self.layer.bias)


def conv(inputs, outputs, stride):
    return Quantized(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 1), nn.BatchNorm2d(outputs)
        self.pad = outputs // 4 if stride != 1 else 0

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 1), nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(3):
                blocks.append(Block(inputs, outputs, stride if index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.linear = Quantized(nn.Linear(64, 10))

    def forward(self, x):
        return self.linear(self.blocks(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = ResNet20()
if channels_last:
    model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
qparams = [p for name, p in model.named_parameters() if name.endswith(("_scale", "_zero"))]
known = {id(p) for p in qparams}
sgd = torch.optim.SGD([p for p in model.parameters() if id(p) not in known], lr=1e-3, momentum=0.9, weight_decay=1e-4)
adam = torch.optim.Adam(qparams, lr=1e-6)
times = []
for _ in range(steps + 3):
    start = time.perf_counter()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    sgd.step()
    adam.step()
    sgd.zero_grad(set_to_none=True)
    adam.zero_grad(set_to_none=True)
    times.append(1000 * (time.perf_counter() - start))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "stepMs": times[3:], "medianMs": statistics.median(times[3:]), "peakMemoryMb": peak / 1024,
    "memoryBeforeModelMb": before / 1024, "torch": torch.__version__, "blas": blas(), "threads": threads,
}))
