#!/usr/bin/env python3
"""Writes the models of bench/peers/models.py as float ONNX files, each with calibration data, into a folder.

    make_models.py [--out bench/models/out] [NAME ...]        (no NAME: all; --list shows them)

Needs torch, onnx, torchvision and transformers from PyPI. Weights are random: what is measured is speed, the share of int8 and
the distance from the float model, not accuracy on a task. They are calibrated so that activations are sane: batch norms take
the statistics of passes over random data, the scores of attention have about unit variance.
For each NAME: NAME.onnx and NAME.npz (8 samples along the first axis, one array for each input).
"""
import argparse
import math
import os
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

OPSET = 17
SAMPLES = 8


def torchvision_models():
    try:
        from torchvision import models
    except RuntimeError:  # a torchvision built for another torch: its C++ operators are missing, and no model here needs them
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_models.library = library  # kept alive
        from torchvision import models
    return models


# ---- nets that no package has ---------------------------------------------------------------------------------------------


class ConvAct(nn.Sequential):
    def __init__(self, i, o, k=1, s=1):
        super().__init__(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU())


class Bottlenecks(nn.Module):
    """Cross-stage block: half of the channels pass `n` residual bottlenecks, all meet in a 1x1."""

    def __init__(self, i, o, n, residual=True):
        super().__init__()
        self.enter, self.leave = ConvAct(i, o), ConvAct(o // 2 * (n + 2), o)
        self.blocks = nn.ModuleList(nn.Sequential(ConvAct(o // 2, o // 2, 3), ConvAct(o // 2, o // 2, 3)) for _ in range(n))
        self.residual = residual

    def forward(self, x):
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            y = block(parts[-1])
            parts.append(parts[-1] + y if self.residual else y)
        return self.leave(torch.cat(parts, 1))


class Detector(nn.Module):
    """YOLO-style: a cross-stage backbone, pyramid pooling, a path-aggregation neck and one head for each of three scales."""

    def __init__(self, w=32, classes=80):
        super().__init__()
        self.s2 = nn.Sequential(ConvAct(3, w // 2, 3, 2), ConvAct(w // 2, w, 3, 2), Bottlenecks(w, w, 1))
        self.s3 = nn.Sequential(ConvAct(w, 2 * w, 3, 2), Bottlenecks(2 * w, 2 * w, 2))
        self.s4 = nn.Sequential(ConvAct(2 * w, 4 * w, 3, 2), Bottlenecks(4 * w, 4 * w, 2))
        self.s5 = nn.Sequential(ConvAct(4 * w, 8 * w, 3, 2), Bottlenecks(8 * w, 8 * w, 1))
        self.squeeze, self.spread = ConvAct(8 * w, 4 * w), ConvAct(16 * w, 8 * w)
        self.up4, self.up3 = Bottlenecks(12 * w, 4 * w, 1, False), Bottlenecks(6 * w, 2 * w, 1, False)
        self.to4, self.to5 = ConvAct(2 * w, 2 * w, 3, 2), ConvAct(4 * w, 4 * w, 3, 2)
        self.down4, self.down5 = Bottlenecks(6 * w, 4 * w, 1, False), Bottlenecks(12 * w, 8 * w, 1, False)
        self.heads = nn.ModuleList(
            nn.Sequential(ConvAct(c, c, 3), nn.Conv2d(c, 4 + classes, 1)) for c in (2 * w, 4 * w, 8 * w))

    def forward(self, x):
        p3 = self.s3(self.s2(x))
        p4 = self.s4(p3)
        p5 = self.squeeze(self.s5(p4))
        pools = [p5]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        p5 = self.spread(torch.cat(pools, 1))
        p4 = self.up4(torch.cat([F.interpolate(p5, scale_factor=2.0), p4], 1))
        p3 = self.up3(torch.cat([F.interpolate(p4, scale_factor=2.0), p3], 1))
        p4 = self.down4(torch.cat([self.to4(p3), p4], 1))
        p5 = self.down5(torch.cat([self.to5(p4), p5], 1))
        outputs = [head(p).flatten(2) for head, p in zip(self.heads, (p3, p4, p5))]
        boxes, scores = torch.cat(outputs, 2).split([4, outputs[0].shape[1] - 4], 1)
        return boxes, scores.sigmoid()


class SuperResolution(nn.Module):
    """Sub-pixel convolution, factor 3, on one luminance channel."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 64, 5, 1, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(),
                                  nn.Conv2d(64, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 9, 3, 1, 1), nn.PixelShuffle(3))

    def forward(self, x):
        return self.body(x)


class MultiHead(nn.Module):
    """Attention with linears of its own, written so that it exports as MatMul, Softmax, MatMul."""

    def __init__(self, d, heads, bias=True, scaled=True, inner=None):
        super().__init__()
        inner = inner or d
        self.heads, self.size, self.scaled = heads, inner // heads, scaled
        self.q, self.k, self.v = (nn.Linear(d, inner, bias) for _ in range(3))
        self.o = nn.Linear(inner, d, bias)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, self.size).transpose(1, 2)

    def forward(self, x, memory=None, bias=None, past=None):
        memory = x if memory is None else memory
        q, k, v = self.split(self.q(x)), self.split(self.k(memory)), self.split(self.v(memory))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        scores = q @ k.transpose(2, 3)
        if self.scaled:
            scores = scores / math.sqrt(self.size)
        if bias is not None:
            scores = scores + bias
        mixed = scores.softmax(-1) @ v
        y = self.o(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.heads * self.size))
        return y if past is None else (y, k, v)


class Bert(nn.Module):
    def __init__(self, layers=12, d=768, heads=12, vocabulary=30522, positions=512):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, d), nn.Embedding(positions, d)
        self.types, self.norm = nn.Embedding(2, d), nn.LayerNorm(d)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"attention": MultiHead(d, heads), "norm1": nn.LayerNorm(d), "up": nn.Linear(d, 4 * d),
                           "down": nn.Linear(4 * d, d), "norm2": nn.LayerNorm(d)}) for _ in range(layers))
        self.pool = nn.Linear(d, d)

    def forward(self, input_ids, attention_mask, token_type_ids):
        at = torch.arange(input_ids.shape[1]).unsqueeze(0)
        x = self.norm(self.words(input_ids) + self.positions(at) + self.types(token_type_ids))
        bias = (1 - attention_mask[:, None, None, :].float()) * -10000.0
        for layer in self.layers:
            x = layer["norm1"](x + layer["attention"](x, bias=bias))
            x = layer["norm2"](x + layer["down"](F.gelu(layer["up"](x))))
        return x, torch.tanh(self.pool(x[:, 0]))


class ViT(nn.Module):
    def __init__(self, layers=12, d=768, heads=12, patch=16, image=224, classes=1000):
        super().__init__()
        self.embed = nn.Conv2d(3, d, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (image // patch) ** 2 + 1, d) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm1": nn.LayerNorm(d, 1e-6), "attention": MultiHead(d, heads), "norm2": nn.LayerNorm(d, 1e-6),
                           "up": nn.Linear(d, 4 * d), "down": nn.Linear(4 * d, d)}) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d, 1e-6), nn.Linear(d, classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for layer in self.layers:
            x = x + layer["attention"](layer["norm1"](x))
            x = x + layer["down"](F.gelu(layer["up"](layer["norm2"](x))))
        return self.head(self.norm(x)[:, 0])


class Gpt(nn.Module):
    """GPT-2 small's shape, all logits of one prompt."""

    def __init__(self, layers=12, d=768, heads=12, vocabulary=50257, positions=1024):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, d), nn.Embedding(positions, d)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm1": nn.LayerNorm(d), "attention": MultiHead(d, heads), "norm2": nn.LayerNorm(d),
                           "up": nn.Linear(d, 4 * d), "down": nn.Linear(4 * d, d)}) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)

    def forward(self, input_ids):
        n = input_ids.shape[1]
        x = self.words(input_ids) + self.positions(torch.arange(n).unsqueeze(0))
        bias = torch.full((n, n), -10000.0).triu(1)
        for layer in self.layers:
            x = x + layer["attention"](layer["norm1"](x), bias=bias)
            x = x + layer["down"](F.gelu(layer["up"](layer["norm2"](x)), approximate="tanh"))
        return self.head(self.norm(x))


class RmsNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class T5Encoder(nn.Module):
    """T5-small: 6 layers of 512, 8 heads of 64, RMS norms, no biases, a learned bias for each head and distance."""

    def __init__(self, layers=6, d=512, heads=8, up=2048, vocabulary=32128, tokens=128):
        super().__init__()
        self.words = nn.Embedding(vocabulary, d)
        self.bias = nn.Parameter(torch.randn(1, heads, tokens, tokens))
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm1": RmsNorm(d), "attention": MultiHead(d, heads, False, False), "norm2": RmsNorm(d),
                           "up": nn.Linear(d, up, False), "down": nn.Linear(up, d, False)}) for _ in range(layers))
        self.norm = RmsNorm(d)

    def forward(self, input_ids):
        x = self.words(input_ids)
        for layer in self.layers:
            x = x + layer["attention"](layer["norm1"](x), bias=self.bias)
            x = x + layer["down"](F.relu(layer["up"](layer["norm2"](x))))
        return self.norm(x)


class T5DecoderStep(nn.Module):
    """One new token: its keys and values join the caches; the encoder's output is read through cross attention."""

    def __init__(self, layers=6, d=512, heads=8, up=2048, vocabulary=32128):
        super().__init__()
        self.words = nn.Embedding(vocabulary, d)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm1": RmsNorm(d), "self": MultiHead(d, heads, False, False), "norm2": RmsNorm(d),
                           "cross": MultiHead(d, heads, False, False), "norm3": RmsNorm(d), "up": nn.Linear(d, up, False),
                           "down": nn.Linear(up, d, False)}) for _ in range(layers))
        self.norm, self.head = RmsNorm(d), nn.Linear(d, vocabulary, False)

    def forward(self, input_ids, memory, past_keys, past_values):
        x = self.words(input_ids)
        keys, values = [], []
        for i, layer in enumerate(self.layers):
            y, k, v = layer["self"](layer["norm1"](x), past=(past_keys[:, i], past_values[:, i]))
            keys.append(k)
            values.append(v)
            x = x + y
            x = x + layer["cross"](layer["norm2"](x), memory)
            x = x + layer["down"](F.relu(layer["up"](layer["norm3"](x))))
        return self.head(self.norm(x)), torch.stack(keys, 1), torch.stack(values, 1)


class Sequence(nn.Module):
    """Two recurrent layers and a classifier at each time step."""

    def __init__(self, kind, i=80, h=256, classes=64):
        super().__init__()
        self.body, self.head = kind(i, h, num_layers=2, batch_first=True), nn.Linear(h, classes)

    def forward(self, x):
        return self.head(self.body(x)[0])


# ---- the list -------------------------------------------------------------------------------------------------------------


def vision(name, size=224, **options):
    def build():
        kwargs = dict(weights=None, **options)
        return getattr(torchvision_models(), name)(**kwargs), images(size)

    return build


def images(size, channels=3):
    """Smooth random pictures, normalized as ImageNet models want them."""

    def draw(generator):
        coarse = torch.randn(1, channels, 8, 8, generator=generator)
        fine = torch.randn(1, channels, size, size, generator=generator)
        return {"input": F.interpolate(coarse, size=(size, size), mode="bicubic") + 0.3 * fine}

    return draw


def tokens(names, vocabulary, length):
    def draw(generator):
        inputs = {names[0]: torch.randint(0, vocabulary, (1, length), generator=generator)}
        if len(names) == 3:
            inputs[names[1]] = torch.ones(1, length, dtype=torch.long)
            inputs[names[1]][0, length - int(torch.randint(0, length // 4, (1,), generator=generator)):] = 0
            inputs[names[2]] = torch.zeros(1, length, dtype=torch.long)
        return inputs

    return draw


def decoder_inputs(generator, layers=6, heads=8, size=64, past=32, memory=128):
    cache = lambda: torch.randn(1, layers, heads, past, size, generator=generator)
    return {"input_ids": torch.randint(0, 32128, (1, 1), generator=generator),
            "memory": torch.randn(1, memory, 512, generator=generator), "past_keys": cache(), "past_values": cache()}


def frames(generator):
    return {"input": torch.randn(1, 64, 80, generator=generator)}


MODELS = {
    "resnet18": vision("resnet18"),
    "resnet50": vision("resnet50"),
    "resnext50": vision("resnext50_32x4d"),
    "densenet121": vision("densenet121"),
    "googlenet": vision("googlenet", aux_logits=False, init_weights=False),
    "inception_v3": vision("inception_v3", 299, aux_logits=False, init_weights=False),
    "mobilenet_v1": lambda: (mobilenet_v1(), images(224)),
    "mobilenet_v2": vision("mobilenet_v2"),
    "mobilenet_v3": vision("mobilenet_v3_large"),
    "shufflenet_v2": vision("shufflenet_v2_x1_0"),
    "efficientnet_b0": vision("efficientnet_b0"),
    "squeezenet": vision("squeezenet1_1"),
    "yolo": lambda: (Detector(), images(320)),
    "super_resolution": lambda: (SuperResolution(), images(224, 1)),
    "bert_base": lambda: (Bert(), tokens(["input_ids", "attention_mask", "token_type_ids"], 30522, 128)),
    "vit_b16": lambda: (ViT(), images(224)),
    "t5_small_encoder": lambda: (T5Encoder(), tokens(["input_ids"], 32128, 128)),
    "t5_small_decoder": lambda: (T5DecoderStep(), decoder_inputs),
    "gpt2": lambda: (Gpt(), tokens(["input_ids"], 50257, 64)),
    "lstm": lambda: (Sequence(nn.LSTM), frames),
    "gru": lambda: (Sequence(nn.GRU), frames),
}


def mobilenet_v1(width=1.0, classes=1000):
    def conv(i, o, k, s, groups=1):
        return [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU6()]

    c = [int(v * width) for v in (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)]
    layers = conv(3, c[0], 3, 2)
    for i, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)):
        layers += conv(c[i], c[i], 3, stride, c[i]) + conv(c[i], c[i + 1], 1, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c[-1], classes))


def initialize(model):
    """He's normal for what feeds rectifiers, unit-variance mixing for linears, small embeddings."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
    for module in model.modules():  # without T5's scaling the queries must be small
        if isinstance(module, MultiHead) and not module.scaled:
            with torch.no_grad():
                module.q.weight.div_(math.sqrt(module.size))


def calibrate_norms(model, draw, generator):
    """Running statistics from passes over random data; dropout stays off."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model.eval()
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all passes
        norm.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.cat([draw(generator)["input"] for _ in range(4)]))
    model.eval()


def make(name, folder):
    torch.manual_seed(sum(map(ord, name)))
    generator = torch.Generator().manual_seed(1)
    model, draw = MODELS[name]()
    initialize(model)
    calibrate_norms(model, draw, generator)
    sample = draw(generator)
    with torch.no_grad():
        result = model(*sample.values())
        outputs = result if isinstance(result, tuple) else (result,)
    path = os.path.join(folder, name + ".onnx")
    names = ["output"] if len(outputs) == 1 else [f"output_{i}" for i in range(len(outputs))]
    torch.onnx.export(model, tuple(sample.values()), path, dynamo=False, opset_version=OPSET, input_names=list(sample),
                      output_names=names)
    samples = [sample] + [draw(generator) for _ in range(SAMPLES - 1)]
    np.savez(os.path.join(folder, name + ".npz"), **{k: np.concatenate([s[k].numpy() for s in samples]) for k in sample})
    spread = ", ".join(f"{tuple(o.shape)} std {o.float().std():.3g}" for o in outputs)
    print(f"{name}: {os.path.getsize(path) / 1e6:.1f} MB, {spread}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(MODELS))
        return
    unknown = [n for n in options.names if n not in MODELS]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}")
    warnings.filterwarnings("ignore")
    os.makedirs(options.out, exist_ok=True)
    for name in options.names or MODELS:
        make(name, options.out)


if __name__ == "__main__":
    main()
