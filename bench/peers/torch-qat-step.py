# The peer: QAT training steps in PyTorch (learnable fake quantization per channel and per tensor, SGD and Adam included).
# One argument, a JSON object: model (resnet20 or encoder), batch, threads, steps, weights, activations (bits), layout
# (channels_last or nchw), precision (float32 or bfloat16, which is autocast). Prints one JSON object; times in ms.
import contextlib
import json
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
torch.manual_seed(0)


def blas():
    """The BLAS library that this process has mapped."""
    with open("/proc/self/maps") as maps:
        names = {line.split("/")[-1].strip() for line in maps if "blas" in line}
    return ", ".join(sorted(names))


def resident_mb():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


class Quantized(nn.Module):
    """A layer whose weight and input are fake-quantized with learned scales and zero points."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.high = 2 ** (options["weights"] - 1) - 1
        self.levels = 2 ** options["activations"] - 1
        largest = layer.weight.detach().abs().flatten(1).max(1)[0]
        self.weight_scale = nn.Parameter(largest / self.high)
        self.register_buffer("weight_zero", torch.zeros(len(largest)))
        self.input_scale = nn.Parameter(torch.tensor([6.0 / self.levels]))
        self.input_zero = nn.Parameter(torch.tensor([0.0]))

    def forward(self, x):
        w = torch._fake_quantize_learnable_per_channel_affine(
            self.layer.weight, self.weight_scale, self.weight_zero, 0, -self.high, self.high, 1.0
        )
        # Fake quantization takes float32 alone, under autocast too.
        x = torch._fake_quantize_learnable_per_tensor_affine(
            x.float(), self.input_scale, self.input_zero, 0, self.levels, 1.0
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


class Encoder(nn.Module):
    """One encoder layer, then the mean over the sequence and a classifier: bench/support/encoder.ts is the same graph."""

    def __init__(self, hidden=768, heads=12, inner=3072):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (Quantized(nn.Linear(hidden, hidden)) for _ in range(4))
        self.inner, self.outer = Quantized(nn.Linear(hidden, inner)), Quantized(nn.Linear(inner, hidden))
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.classifier = Quantized(nn.Linear(hidden, 10))

    def split(self, x):
        batch, length, hidden = x.shape
        return x.view(batch, length, self.heads, hidden // self.heads).transpose(1, 2)

    def forward(self, x):
        query, key, value = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        context = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + self.out(context))
        x = self.norm2(x + self.outer(F.gelu(self.inner(x))))
        return self.classifier(x.mean(1))


batch = options["batch"]
shape = (batch, 3, 32, 32) if options["model"] == "resnet20" else (batch, 384, 768)
inputs, labels = 4 * torch.rand(shape) - 2, torch.arange(batch) % 10
before = resident_mb()
model = ResNet20() if options["model"] == "resnet20" else Encoder()
if options["layout"] == "channels_last":
    model, inputs = model.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
qparams = [p for name, p in model.named_parameters() if name.endswith(("_scale", "_zero"))]
known = {id(p) for p in qparams}
sgd = torch.optim.SGD([p for p in model.parameters() if id(p) not in known], lr=1e-3, momentum=0.9, weight_decay=1e-4)
adam = torch.optim.Adam(qparams, lr=1e-6)
is_autocast = options["precision"] == "bfloat16"
times = {"stepMs": [], "forwardMs": [], "backwardMs": []}
for step in range(options["steps"] + 3):
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16) if is_autocast else contextlib.nullcontext():
        loss = F.cross_entropy(model(inputs).float(), labels)
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    sgd.step()
    adam.step()
    sgd.zero_grad(set_to_none=True)
    adam.zero_grad(set_to_none=True)
    end = time.perf_counter()
    if step >= 3:
        for name, seconds in (("stepMs", end - start), ("forwardMs", forward - start), ("backwardMs", backward - forward)):
            times[name].append(1000 * seconds)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({**times, "peakMemoryMb": peak, "memoryBeforeModelMb": before, "torch": torch.__version__, "blas": blas()}))
