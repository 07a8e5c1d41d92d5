"""Writes torch-models/: small networks as torch.onnx.export writes them, with PyTorch's gradients of one batch.

Made with PyTorch 1.13: python3 test/oracles/torch-models.py
Each NAME.onnx has the inputs of a free batch and the output "logits"; NAME.safetensors holds one batch ("input",
"labels"), the logits and the loss of it, every parameter and its gradient ("parameter/…", "gradient/…") in float64
arithmetic, and the input's gradient where it has one. Normalization uses its running statistics. NAME-folded.onnx is
the same network with its normalization folded into the convolutions, as PyTorch exports it by default.
"""

import json
import math
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

OUT = Path(__file__).parent / "torch-models"
CLASSES = 4


def conv_norm(inputs, outputs, kernel, stride=1, groups=1, active=None):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([active] if active else []))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expand):
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            conv_norm(inputs, hidden, 1, active=nn.ReLU6(inplace=True)),
            conv_norm(hidden, hidden, 3, stride, hidden, nn.ReLU6(inplace=True)),
            conv_norm(hidden, outputs, 1),
        )

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 6, 3, 2, active=nn.ReLU6(inplace=True)),
            InvertedResidual(6, 8, 2, 2),
            InvertedResidual(8, 8, 1, 3),
            conv_norm(8, 16, 1, active=nn.ReLU6(inplace=True)),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, CLASSES))

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        scale = self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1))))
        return torch.sigmoid(scale) * x


class MBConv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expand):
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.block = nn.Sequential(
            conv_norm(inputs, hidden, 1, active=nn.SiLU(inplace=True)),
            conv_norm(hidden, hidden, kernel, stride, hidden, nn.SiLU(inplace=True)),
            SqueezeExcitation(hidden, 3),
            conv_norm(hidden, outputs, 1),
        )

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class EfficientNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 6, 3, 2, active=nn.SiLU(inplace=True)),
            MBConv(6, 8, 5, 2, 2),
            MBConv(8, 8, 3, 1, 2),
            conv_norm(8, 16, 1, active=nn.SiLU(inplace=True)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Attention(nn.Module):
    """As timm writes it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, width * 3)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class VisionTransformer(nn.Module):
    def __init__(self, width=12, heads=3):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.2)
        self.pos_embed = nn.Parameter(torch.randn(1, 10, width) * 0.2)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm(x)[:, 0])


class BertLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, self.size)).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size) + mask
        mixed = torch.matmul(nn.functional.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        mixed = mixed.view(mixed.size()[:-2] + (self.heads * self.size,))
        x = self.norm1(self.dense(mixed) + x)
        return self.norm2(self.output(F.gelu(self.intermediate(x))) + x)


class Bert(nn.Module):
    """Token 0 pads."""

    def __init__(self, words=20, width=12, heads=3, length=6):
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(length, width)
        self.register_buffer("position_ids", torch.arange(length).expand((1, -1)))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(2))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, ids):
        dtype = self.word_embeddings.weight.dtype
        mask = (1.0 - ids.ne(0)[:, None, None, :].to(dtype)) * -10000.0
        positions = self.position_ids[:, : ids.shape[1]]
        x = self.norm(self.word_embeddings(ids) + self.position_embeddings(positions))
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


def images(generator, labels):
    noise = torch.randn(len(labels), 3, 12, 12, generator=generator)
    return noise + F.one_hot(labels, CLASSES).repeat(1, 3 * 36).view(-1, 3, 12, 12)


def sentences(generator, labels):
    ids = torch.randint(1, 20, (len(labels), 6), generator=generator)
    ids[:, 1] = labels + 3
    ids[::3, 4:] = 0
    return ids


def write_safetensors(path, tensors):
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header, blobs, end = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(blob)],
        }
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def settle(model):
    """Statistics and parameters as after training, not as after initialization."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)


def write_model(name, make, draw, opset, folded=True):
    torch.manual_seed(7)
    model = make()
    with torch.no_grad():
        settle(model)
    model.eval()
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, CLASSES, (5,), generator=generator)
    batch = draw(generator, labels)
    torch.onnx.export(
        model,
        batch,
        str(OUT / f"{name}.onnx"),
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        opset_version=opset,
        do_constant_folding=folded,
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
    )
    if name.endswith("-folded"):
        return
    parameters = {key: value.detach().clone() for key, value in model.named_parameters()}
    model.double()
    given = batch.double().requires_grad_() if batch.is_floating_point() else batch
    logits = model(given)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    tensors = {"input": batch, "labels": labels, "logits": logits.float(), "loss": loss.float()}
    if batch.is_floating_point():
        tensors["gradient/input"] = given.grad.float()
    for key, parameter in model.named_parameters():
        tensors[f"parameter/{key}"] = parameters[key]
        tensors[f"gradient/{key}"] = parameter.grad.float()
    write_safetensors(OUT / f"{name}.safetensors", tensors)


OUT.mkdir(exist_ok=True)
write_model("mobilenetv2", MobileNetV2, images, 13, folded=False)
write_model("mobilenetv2-folded", MobileNetV2, images, 11)
write_model("efficientnet", EfficientNet, images, 14, folded=False)
write_model("efficientnet-folded", EfficientNet, images, 9)
write_model("vit", VisionTransformer, images, 17)
write_model("bert", Bert, sentences, 13)
