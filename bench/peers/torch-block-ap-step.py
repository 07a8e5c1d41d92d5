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
import json
import sys
import time

import torch
from torch.nn import functional as F

from llama_block import Block, computing, optimizer_of, parameters_of, rotations
from process import allocator, forget_peak, peak_mb, resident_mb

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
torch.manual_seed(0)
x, target = (torch.randn(options["batch"], options["length"], options["hidden"]) for _ in range(2))
cos, sin = rotations(options)
before = resident_mb()
block = Block(options)
named = parameters_of(block)
optimizer = optimizer_of(block)


def loss_of(x, target):
    with computing(options):
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
