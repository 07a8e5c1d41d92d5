# The peer: Block-AP of a few decoder layers of a Llama in PyTorch 2, one after the other, with all that belongs to it: what the
# float layer gives, training, validation after each epoch, what the quantized layer gives. Prints one JSON object; `stepMs` are
# the times of whole layers but the first, with which the compiler is busy; memory in MB.
# One argument, a JSON object: hidden, heads, keyValueHeads, intermediate; layers; windows, held (windows besides, by which the best
# state is kept), length; batch, epochs; weights, group; threads; precision, quantizer and compile as in torch-block-ap-step.py.
import json
import sys
import time

import torch
from torch.nn import functional as F

from llama_block import Block, QuantizedLinear, computing, optimizer_of, rotations
from process import allocator, peak_mb, resident_mb

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
torch.manual_seed(0)
windows, batch = options["windows"], options["batch"]
cos, sin = rotations(options)
before = resident_mb()


# One for all layers, which get its parameters one after the other: what is compiled for it serves all of them.
block = Block(options)


def forward(x):
    with computing(options):
        return block(x, cos, sin).float()


def loss_of(x, target):
    return F.mse_loss(forward(x), target)


if options["compile"] != "none":
    forward_alone, loss_of = torch.compile(forward, dynamic=False), torch.compile(loss_of, dynamic=False)
else:
    forward_alone = forward


def set_quantized(is_quantized):
    for module in block.modules():
        if isinstance(module, QuantizedLinear):
            module.is_quantized = is_quantized


@torch.no_grad()
def outputs_of(x):
    return torch.cat([forward_alone(part) for part in x.split(batch)])


@torch.no_grad()
def validation_of(x, target):
    return sum(loss_of(*part).item() for part in zip(x.split(batch), target.split(batch)))


def train(x, target):
    optimizer = optimizer_of(block)
    steps = options["epochs"] * (windows // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, best_state = float("inf"), None
    for _ in range(options["epochs"]):
        for chosen in torch.randperm(windows).split(batch):
            loss_of(x[chosen], target[chosen]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        validation = validation_of(x[windows:], target[windows:])
        if validation < best:
            best, best_state = validation, {name: p.clone() for name, p in block.state_dict().items()}
    block.load_state_dict(best_state)


float_stream = torch.randn(windows + options["held"], options["length"], options["hidden"])
quantized_stream = float_stream
times = []
for _ in range(options["layers"]):
    block.load_state_dict(Block(options).state_dict())
    start = time.perf_counter()
    set_quantized(False)
    float_stream = outputs_of(float_stream)
    set_quantized(True)
    train(quantized_stream, float_stream)
    quantized_stream = outputs_of(quantized_stream)
    times.append(1000 * (time.perf_counter() - start))
print(
    json.dumps(
        {
            "stepMs": times[1:],
            "peakMemoryMb": peak_mb(),
            "memoryBeforeModelMb": before,
            "torch": torch.__version__,
            "allocator": allocator(),
        }
    )
)
