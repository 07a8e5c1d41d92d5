# The peer: steps of Block-AP in PyTorch 2, one decoder layer of a Llama of which everything trains against given outputs, AdamW
# included. Prints one JSON object; times in ms, memory in MB.
# One argument, a JSON object:
#   hidden, heads, keyValueHeads, intermediate
#   batch, length   windows, and tokens of each
#   weights, group  bits, and inputs that share a scale
#   threads, steps
#   precision  float32, or bfloat16, which is autocast
#   quantizer  "autograd": plain tensor operations, rounding passed straight through, the gradients by autograd; "function": a
#              backward pass written by hand, which keeps weight, scale and zero point alone
#   compile    "none", or a mode of torch.compile: "default", "max-autotune"
import contextlib
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

from process import allocator, forget_peak, peak_mb, resident_mb

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
torch.manual_seed(0)
is_autocast = options["precision"] == "bfloat16"
computed = torch.bfloat16 if is_autocast else torch.float32
high = 2 ** options["weights"] - 1


class FakeQuantize(torch.autograd.Function):
    """Of rows that share a scale and a zero point."""

    @staticmethod
    def forward(ctx, w, scale, zero):
        ctx.save_for_backward(w, scale, zero)
        z = zero.round().clamp(0, high)
        return (((w / scale).round() + z).clamp(0, high) - z) * scale

    @staticmethod
    def backward(ctx, gradient):
        w, scale, zero = ctx.saved_tensors
        g, z, real = gradient.float(), zero.round().clamp(0, high), w / scale
        unbounded = real.round() + z
        inside = (unbounded >= 0) & (unbounded <= high)
        bounded = unbounded.clamp(0, high) - z
        of_scale = (g * (bounded - torch.where(inside, real, 0.0))).sum(1, keepdim=True)
        of_zero = -(torch.where(inside, 0.0, g) * scale).sum(1, keepdim=True)
        return torch.where(inside, g, 0.0), of_scale, of_zero


def straight(x):
    """Rounded; the gradient passes."""
    return x + (x.round() - x).detach()


def fake_quantize(w, scale, zero):
    if options["quantizer"] == "function":
        return FakeQuantize.apply(w, scale, zero)
    z = straight(zero.clamp(-0.499, high + 0.499))
    # Bounded before rounding, a little inside of what rounds beyond: clamp passes no gradient where rounding errors go over a bound.
    return (straight((w / scale + z).clamp(-0.499, high + 0.499)) - z) * scale


class QuantizedLinear(nn.Module):
    """Groups along the inputs, with scale and zero point, as EfficientQAT trains them."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter((2 * torch.rand(outputs, inputs) - 1) * inputs**-0.5)
        grouped = self.weight.detach().view(-1, options["group"])
        low, top = grouped.amin(1, keepdim=True), grouped.amax(1, keepdim=True)
        # A little more than the range, whose ends would lie on a bound, where rounding errors decide whether a gradient passes.
        self.scale = nn.Parameter(1.01 * (top - low) / high)
        self.zero = nn.Parameter((-low / self.scale.detach()).round())

    def forward(self, x):
        w = fake_quantize(self.weight.view(self.scale.shape[0], -1), self.scale, self.zero)
        return F.linear(x, w.to(computed).view_as(self.weight))


class Block(nn.Module):
    def __init__(self, hidden, heads, kv_heads, intermediate):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, hidden // heads
        self.q, self.k = QuantizedLinear(hidden, hidden), QuantizedLinear(hidden, kv_heads * self.size)
        self.v, self.o = QuantizedLinear(hidden, kv_heads * self.size), QuantizedLinear(hidden, hidden)
        self.gate, self.up = (QuantizedLinear(hidden, intermediate) for _ in range(2))
        self.down = QuantizedLinear(intermediate, hidden)
        self.norms = nn.ModuleList([nn.RMSNorm(hidden, eps=1e-5), nn.RMSNorm(hidden, eps=1e-5)])

    def split(self, y, heads):
        return y.view(*y.shape[:2], heads, self.size).transpose(1, 2)

    def turn(self, y, cos, sin):
        half = self.size // 2
        return y * cos + torch.cat([-y[..., half:], y[..., :half]], -1) * sin

    def forward(self, x, cos, sin):
        h = self.norms[0](x)
        q, k = self.turn(self.split(self.q(h), self.heads), cos, sin), self.turn(self.split(self.k(h), self.kv_heads), cos, sin)
        v = self.split(self.v(h), self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True, enable_gqa=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        h = self.norms[1](x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


hidden, batch, length = options["hidden"], options["batch"], options["length"]
x, target = (torch.randn(batch, length, hidden) for _ in range(2))
size = hidden // options["heads"]
angles = torch.outer(torch.arange(length), 1e5 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
cos, sin = angles.cos().to(computed), angles.sin().to(computed)
before = resident_mb()
block = Block(hidden, options["heads"], options["keyValueHeads"], options["intermediate"])
kinds = {"weights": ("weight",), "scales": ("scale",), "zeros": ("zero",)}
named = {kind: [p for name, p in block.named_parameters() if name.endswith(ends)] for kind, ends in kinds.items()}
rates = [{"params": named["scales"] + named["zeros"], "lr": 1e-3}, {"params": named["weights"], "lr": 3e-3}]
optimizer = torch.optim.AdamW(rates, weight_decay=0, fused=True)


def loss_of(x, target):
    with torch.autocast("cpu", dtype=torch.bfloat16) if is_autocast else contextlib.nullcontext():
        return F.mse_loss(block(x, cos, sin).float(), target)


if options["compile"] != "none":
    mode = None if options["compile"] == "default" else options["compile"]
    loss_of = torch.compile(loss_of, mode=mode, dynamic=False)
times = {"stepMs": [], "forwardMs": [], "backwardMs": []}
warm_up = 3
for step in range(options["steps"] + warm_up):
    if step == warm_up:  # What the compiler took is not the step's: its memory is forgotten.
        forget_peak()
    start = time.perf_counter()
    loss = loss_of(x, target)
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    if step == 0:
        norms = {kind: torch.stack([p.grad.float().norm() for p in found]).norm().item() for kind, found in named.items()}
        gradients = {"loss": loss.item(), **norms}
    optimizer.step()
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
