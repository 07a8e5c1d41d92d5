# A decoder layer of a Llama of which everything trains, as Block-AP trains it. `options` of its makers: those that the scripts
# which import this say.
import contextlib

import torch
from torch import nn
from torch.nn import functional as F


def computed_type(options):
    return torch.bfloat16 if options["precision"] == "bfloat16" else torch.float32


def computing(options):
    return torch.autocast("cpu", dtype=torch.bfloat16) if options["precision"] == "bfloat16" else contextlib.nullcontext()


def rotations(options):
    """Cosines and sines [length, size of a head]."""
    length, size = options["length"], options["hidden"] // options["heads"]
    angles = torch.outer(torch.arange(length), 1e5 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
    return angles.cos().to(computed_type(options)), angles.sin().to(computed_type(options))


kinds = {"weights": ("weight",), "scales": ("scale",), "zeros": ("zero",)}


def parameters_of(block):
    """By kind. The norms' are weights."""
    return {kind: [p for name, p in block.named_parameters() if name.endswith(ends)] for kind, ends in kinds.items()}


def optimizer_of(block):
    named = parameters_of(block)
    rates = [{"params": named["scales"] + named["zeros"], "lr": 1e-3}, {"params": named["weights"], "lr": 3e-3}]
    return torch.optim.AdamW(rates, weight_decay=0, fused=True)


class FakeQuantize(torch.autograd.Function):
    """Of rows that share a scale and a zero point, in codes up to `high`."""

    @staticmethod
    def forward(ctx, w, scale, zero, high):
        ctx.save_for_backward(w, scale, zero)
        ctx.high = high
        z = zero.round().clamp(0, high)
        return (((w / scale).round() + z).clamp(0, high) - z) * scale

    @staticmethod
    def backward(ctx, gradient):
        w, scale, zero = ctx.saved_tensors
        high = ctx.high
        g, z, real = gradient.float(), zero.round().clamp(0, high), w / scale
        unbounded = real.round() + z
        inside = (unbounded >= 0) & (unbounded <= high)
        bounded = unbounded.clamp(0, high) - z
        of_scale = (g * (bounded - torch.where(inside, real, 0.0))).sum(1, keepdim=True)
        of_zero = -(torch.where(inside, 0.0, g) * scale).sum(1, keepdim=True)
        return torch.where(inside, g, 0.0), of_scale, of_zero, None


def straight(x):
    """Rounded; the gradient passes."""
    return x + (x.round() - x).detach()


def fake_quantize(w, scale, zero, options):
    high = 2 ** options["weights"] - 1
    if options["quantizer"] == "function":
        return FakeQuantize.apply(w, scale, zero, high)
    z = straight(zero.clamp(-0.499, high + 0.499))
    # Bounded before rounding, a little inside of what rounds beyond: clamp passes no gradient where rounding errors go over a bound.
    return (straight((w / scale + z).clamp(-0.499, high + 0.499)) - z) * scale


class QuantizedLinear(nn.Module):
    """Groups along the inputs, with scale and zero point, as EfficientQAT trains them."""

    def __init__(self, inputs, outputs, options):
        super().__init__()
        self.options, high = options, 2 ** options["weights"] - 1
        self.weight = nn.Parameter((2 * torch.rand(outputs, inputs) - 1) * inputs**-0.5)
        grouped = self.weight.detach().view(-1, options["group"])
        low, top = grouped.amin(1, keepdim=True), grouped.amax(1, keepdim=True)
        # A little more than the range, whose ends would lie on a bound, where rounding errors decide whether a gradient passes.
        self.scale = nn.Parameter(1.01 * (top - low) / high)
        self.zero = nn.Parameter((-low / self.scale.detach()).round())
        self.is_quantized = True

    def forward(self, x):
        w = self.weight
        if self.is_quantized:
            w = fake_quantize(w.view(self.scale.shape[0], -1), self.scale, self.zero, self.options).view_as(w)
        return F.linear(x, w.to(computed_type(self.options)))


class Block(nn.Module):
    def __init__(self, options):
        super().__init__()
        hidden, intermediate = options["hidden"], options["intermediate"]
        self.heads, self.kv_heads, self.size = options["heads"], options["keyValueHeads"], hidden // options["heads"]

        def linear(inputs, outputs):
            return QuantizedLinear(inputs, outputs, options)

        self.q, self.k = linear(hidden, hidden), linear(hidden, self.kv_heads * self.size)
        self.v, self.o = linear(hidden, self.kv_heads * self.size), linear(hidden, hidden)
        self.gate, self.up = (linear(hidden, intermediate) for _ in range(2))
        self.down = linear(intermediate, hidden)
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
