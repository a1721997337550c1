#!/usr/bin/env python3
"""Trains the demo model and writes the demo data, next to this file:

  digits_float.onnx   float CNN, opset 17: image [N, 1, 8, 8] float32 in 0..1 -> logits [N, 10]
  digits_calib.npz    image: 500 digits of the training part, for calibration
  digits_test.npz     image, labels: the 450 held-out digits

Needs torch, onnx, scikit-learn and numpy. Half a minute on one core; the same versions give the same files.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 8
EPOCHS = 60
BATCH = 64


def conv(ic, oc, kernel, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(ic, oc, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(oc),
    )


class Digits(nn.Module):
    """Every pattern that the graph layer fuses: batch norm, ReLU, ReLU6, a residual add, a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(1, 32, 3), nn.ReLU())
        self.block = nn.Sequential(conv(32, 32, 3), nn.ReLU(), conv(32, 32, 3))
        self.depthwise = nn.Sequential(conv(32, 32, 3, stride=2, groups=32), nn.ReLU6())
        self.pointwise = nn.Sequential(conv(32, 64, 1), nn.ReLU())
        self.tail = nn.Sequential(conv(64, 64, 3), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.block(x))
        x = self.tail(self.pointwise(self.depthwise(x)))
        return self.classifier(torch.flatten(self.pool(x), 1))


def shifted(images, generator):
    """Each image moved by up to one pixel in both directions."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, offsets.tolist())])


def train(model, images, labels):
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * ((len(images) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(
                model(shifted(images[batch], generator)), labels[batch], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def export(model, path):
    """Batch norm stays a node of its own (training mode keeps the exporter from folding it): folding is Octavo's work."""
    torch.onnx.export(
        model, torch.zeros(1, 1, 8, 8), path, dynamo=False, opset_version=17,
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )  # fmt: skip
    onnx.checker.check_model(onnx.load(path), full_check=True)


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=450, random_state=SEED, stratify=labels
    )

    model = Digits()
    train(model, torch.from_numpy(train_x), torch.from_numpy(train_y))
    with torch.no_grad():
        top1 = (model(torch.from_numpy(test_x)).argmax(1).numpy() == test_y).mean()

    export(model, HERE / "digits_float.onnx")
    np.savez_compressed(HERE / "digits_calib.npz", image=train_x[:500])
    np.savez_compressed(HERE / "digits_test.npz", image=test_x, labels=test_y)
    print(f"float top-1 on {len(test_y)} held-out digits: {top1:.4f}")


if __name__ == "__main__":
    main()
