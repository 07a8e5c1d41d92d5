"""A step of Block-AP in PyTorch: one decoder layer of a Llama, everything in it trained against given outputs.

Prints a line of JSON: processor milliseconds of one thread for a step, and for the forward pass alone.

  python torch-block-ap-step.py --precision float32|bfloat16 [--batch 2] [--length 512] [--steps 10] [--threads 1]
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


class RoundStraight(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.round()

    @staticmethod
    def backward(_, dy):
        return dy


class QuantizedLinear(nn.Module):
    """Groups along the inputs, with scale and zero point, as EfficientQAT trains them."""

    def __init__(self, inputs, outputs, bits, group):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * 0.04)
        self.high = 2**bits - 1
        grouped = self.weight.detach().view(-1, group)
        low, high = grouped.amin(1, keepdim=True), grouped.amax(1, keepdim=True)
        self.scale = nn.Parameter((high - low) / self.high)
        self.zero = nn.Parameter((-low / self.scale.detach()).round())

    def forward(self, x):
        s = self.scale.clamp(1e-4, 1e4)
        z = RoundStraight.apply(self.zero).clamp(0, self.high)
        grouped = self.weight.view(s.shape[0], -1)
        q = (RoundStraight.apply(grouped / s) + z).clamp(0, self.high)
        return F.linear(x, ((q - z) * s).view_as(self.weight))


class Block(nn.Module):
    def __init__(self, hidden, heads, kv_heads, intermediate, bits, group):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, hidden // heads
        linear = lambda i, o: QuantizedLinear(i, o, bits, group)
        self.q, self.k = linear(hidden, hidden), linear(hidden, kv_heads * self.size)
        self.v, self.o = linear(hidden, kv_heads * self.size), linear(hidden, hidden)
        self.gate, self.up, self.down = linear(hidden, intermediate), linear(hidden, intermediate), linear(intermediate, hidden)
        self.norms = nn.ModuleList([nn.RMSNorm(hidden, eps=1e-5), nn.RMSNorm(hidden, eps=1e-5)])

    def forward(self, x, cos, sin):
        h = self.norms[0](x)
        split = lambda y, n: y.view(*y.shape[:2], n, self.size).transpose(1, 2)
        turn = lambda y: y * cos + torch.cat([-y[..., self.size // 2 :], y[..., : self.size // 2]], -1) * sin
        q, k, v = turn(split(self.q(h), self.heads)), turn(split(self.k(h), self.kv_heads)), split(self.v(h), self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True, enable_gqa=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        h = self.norms[1](x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    for name, value in [("batch", 2), ("length", 512), ("steps", 10), ("threads", 1)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    block = Block(576, 9, 3, 1536, bits=2, group=64)
    rates = [
        {"params": [p for n, p in block.named_parameters() if "scale" in n or "zero" in n], "lr": 1e-3},
        {"params": [p for n, p in block.named_parameters() if not ("scale" in n or "zero" in n)], "lr": 3e-3},
    ]
    optimizer = torch.optim.AdamW(rates, weight_decay=0)
    x, target = (torch.randn(given.batch, given.length, 576) for _ in range(2))
    angles = torch.outer(torch.arange(given.length), 1e5 ** (-torch.arange(0, 64, 2) / 64)).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bfloat16"):
            return F.mse_loss(block(x, cos, sin).float(), target)

    def step():
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()

    def time_of(work):
        for _ in range(2):
            work()
        start, wall = time.process_time(), time.perf_counter()
        for _ in range(given.steps):
            work()
        return [1000 * (end - at) / given.steps for end, at in [(time.process_time(), start), (time.perf_counter(), wall)]]

    stepped = time_of(step)
    with torch.no_grad():
        ran = time_of(forward)
    print(json.dumps({**vars(given), "stepMs": stepped[0], "stepWallMs": stepped[1], "forwardMs": ran[0], "torch": torch.__version__}))


main()
