# The peer: QAT training steps in PyTorch 2, SGD and Adam included. Prints one JSON object; times in ms, memory in MB.
# One argument, a JSON object:
#   model      resnet20, resnet50 or encoder
#   batch, threads, steps
#   weights, activations   bits
#   precision  float32, or bfloat16, which is autocast
#   layout     channels_last or nchw
#   quantizer  "library": torch's own learnable fake quantization; "autograd": plain tensor operations, rounding passed straight
#              through, the gradients by autograd; "function": plain tensor operations with a backward pass written by hand, which
#              keeps the input alone. The last two can be fused by the compiler.
#   compile    "none", or a mode of torch.compile: "default", "max-autotune"
#   attention  "products": two products and a softmax; "fused": scaled_dot_product_attention
import contextlib
import json
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from process import allocator, forget_peak, peak_mb, resident_mb

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
torch.manual_seed(0)


is_autocast = options["precision"] == "bfloat16"
computed = torch.bfloat16 if is_autocast else torch.float32


class FakeQuantize(torch.autograd.Function):
    """Quantized values, dequantized again. The gradients are those of torch._fake_quantize_learnable_per_tensor_affine, and of
    _per_channel_affine where scale and zero point have an element a row."""

    @staticmethod
    def forward(ctx, x, scale, zero, low, high, dtype):
        ctx.save_for_backward(x, scale, zero)
        ctx.bounds = low, high
        rounded = zero.round()
        return (((x.float() / scale).round() + rounded).clamp(low, high).sub(rounded) * scale).to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        x, scale, zero = ctx.saved_tensors
        low, high = ctx.bounds
        g, rounded = gradient.float(), zero.round()
        real = x.float() / scale
        unbounded = real.round() + rounded
        inside = (unbounded >= low) & (unbounded <= high)
        bounded = unbounded.clamp(low, high) - rounded
        of_scale = g * (bounded - torch.where(inside, real, 0.0))
        of_zero = -torch.where(inside, 0.0, g) * scale if ctx.needs_input_grad[2] else None
        sums = [None if t is None else sum_to(t, scale) for t in (of_scale, of_zero)]
        return torch.where(inside, g, 0.0).to(x.dtype), *sums, None, None, None


def sum_to(x, like):
    """The sum over the axes along which `like` has one element."""
    if like.numel() == 1:
        return x.sum().reshape(like.shape)
    return x.sum([i for i in range(x.dim()) if like.shape[i] == 1], keepdim=True)


def straight(x):
    """Rounded; the gradient passes."""
    return x + (x.round() - x).detach()


def fake_quantize(x, scale, zero, low, high):
    """Of one scale, or of a scale a row."""
    rows = scale.view(-1, *[1] * (x.dim() - 1)) if scale.numel() > 1 else scale
    zeros = zero.view_as(rows)
    if options["quantizer"] == "function":
        return FakeQuantize.apply(x, rows, zeros, low, high, computed)
    if options["quantizer"] == "autograd":
        rounded = straight(zeros)
        # Bounded before rounding, a little inside of what rounds beyond: clamp passes no gradient at a bound itself.
        bounded = (x.float() / rows + rounded).clamp(low - 0.499, high + 0.499)
        return ((straight(bounded) - rounded) * rows).to(computed)
    # The library's takes float32 alone, under autocast too.
    if scale.numel() > 1:
        return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero, 0, low, high, 1.0)
    return torch._fake_quantize_learnable_per_tensor_affine(x.float(), scale, zero, low, high, 1.0)


class Quantized(nn.Module):
    """A layer whose weight and input are fake-quantized with learned scales, the input with a learned zero point."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.high = 2 ** (options["weights"] - 1) - 1
        self.levels = 2 ** options["activations"] - 1
        largest = layer.weight.detach().abs().flatten(1).max(1)[0]
        # A little more than the largest, which would lie on a bound, where rounding errors decide whether its gradient passes.
        self.weight_scale = nn.Parameter(1.01 * largest / self.high)
        self.register_buffer("weight_zero", torch.zeros(len(largest)))
        self.input_scale = nn.Parameter(torch.tensor([6.0 / self.levels]))
        self.input_zero = nn.Parameter(torch.tensor([0.0]))

    def forward(self, x):
        w = fake_quantize(self.layer.weight, self.weight_scale, self.weight_zero, -self.high, self.high)
        x = fake_quantize(x, self.input_scale, self.input_zero, 0, self.levels)
        if isinstance(self.layer, nn.Conv2d):
            return F.conv2d(x, w, None, self.layer.stride, self.layer.padding)
        return F.linear(x, w, self.layer.bias)


def conv(inputs, outputs, stride, size=3):
    return Quantized(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False))


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


class Bottleneck(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        outputs = 4 * channels
        shapes = [(inputs, channels, 1, 1), (channels, channels, stride, 3), (channels, outputs, 1, 1)]
        self.convs = nn.ModuleList(conv(*shape) for shape in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[1]) for shape in shapes)
        self.short = inputs != outputs
        if self.short:
            self.short_conv, self.short_norm = conv(inputs, outputs, stride, 1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = x
        for i, (layer, norm) in enumerate(zip(self.convs, self.norms)):
            y = norm(layer(y))
            y = F.relu(y) if i < 2 else y
        return F.relu(y + (self.short_norm(self.short_conv(x)) if self.short else x))


class ResNet50(nn.Module):
    """bench/support/resnet50.ts is the same graph."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 2, 7), nn.BatchNorm2d(64)
        blocks, inputs = [], 64
        for channels, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(count):
                blocks.append(Bottleneck(inputs, channels, stride if index == 0 else 1))
                inputs = 4 * channels
        self.blocks = nn.Sequential(*blocks)
        self.linear = Quantized(nn.Linear(2048, 1000))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.linear(self.blocks(x).mean((2, 3)))


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
        if options["attention"] == "fused":
            context = F.scaled_dot_product_attention(query, key, value)
        else:
            context = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), -1) @ value
        context = context.transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + self.out(context))
        x = self.norm2(x + self.outer(F.gelu(self.inner(x))))
        return self.classifier(x.mean(1))


networks = {"resnet20": (ResNet20, (3, 32, 32)), "resnet50": (ResNet50, (3, 224, 224)), "encoder": (Encoder, (384, 768))}
network, sizes = networks[options["model"]]
batch = options["batch"]
inputs, labels = 4 * torch.rand(batch, *sizes) - 2, torch.arange(batch) % 10
before = resident_mb()
model = network()
if options["layout"] == "channels_last":
    model, inputs = model.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
qparams = [p for name, p in model.named_parameters() if name.endswith(("_scale", "_zero"))]
known = {id(p) for p in qparams}
rest = [p for p in model.parameters() if id(p) not in known]
optimizers = [
    torch.optim.SGD(rest, lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True),
    torch.optim.Adam(qparams, lr=1e-6, fused=True),
]


def loss_of(x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16) if is_autocast else contextlib.nullcontext():
        return F.cross_entropy(model(x).float(), y)


if options["compile"] != "none":
    mode = None if options["compile"] == "default" else options["compile"]
    loss_of = torch.compile(loss_of, mode=mode, dynamic=False)
def gradient_norms():
    """By kind of parameter: that variants compute the same thing."""
    kinds = {"weights": ".weight", "scales": "_scale", "zeros": "_zero"}
    norms = {kind: [p.grad.float().norm() for n, p in model.named_parameters() if n.endswith(end)] for kind, end in kinds.items()}
    return {kind: torch.stack(values).norm().item() for kind, values in norms.items()}


times = {"stepMs": [], "forwardMs": [], "backwardMs": []}
warm_up = 3
for step in range(options["steps"] + warm_up):
    if step == warm_up:  # What the compiler took is not the step's: its memory is forgotten.
        forget_peak()
    start = time.perf_counter()
    loss = loss_of(inputs, labels)
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    if step == 0:
        gradients = {"loss": loss.item(), **gradient_norms()}
    for optimizer in optimizers:
        optimizer.step()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    end = time.perf_counter()
    if step >= warm_up:
        for name, seconds in (("stepMs", end - start), ("forwardMs", forward - start), ("backwardMs", backward - forward)):
            times[name].append(1000 * seconds)


print(
    json.dumps(
        {
            **times,
            "gradients": gradients,
            "peakMemoryMb": peak_mb(),
            "memoryBeforeModelMb": before,
            "torch": torch.__version__,
            "allocator": allocator(),
        }
    )
)
