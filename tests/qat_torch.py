"""Compares the formulas of include/octavo/qat.h, written out in numpy, with PyTorch's fake quantization. Prints the figures.

Exit code 77, with a reason, where torch or numpy is not installed.
"""
import sys

try:
    import numpy as np
    import torch
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)


def formulas(x, dy, scale, zero_point, qmin, qmax, factor):
    n = np.rint(x / scale)
    lo, hi = qmin - zero_point, qmax - zero_point
    below, above = n < lo, n > hi
    inside = ~(below | above)
    y = np.clip(n, lo, hi) * scale
    d_scale = factor * np.sum(dy * np.where(below, lo, np.where(above, hi, n - x / scale)))
    d_zero_point = factor * np.sum(np.where(inside, 0, -dy * scale))
    return y, np.where(inside, dy, 0), d_scale, d_zero_point


def compare(x, dy, scale, zero_point, qmin, qmax, factor):
    y, dx, d_scale, d_zero_point = formulas(x, dy, scale, zero_point, qmin, qmax, factor)
    tx = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    ty = torch.fake_quantize_per_tensor_affine(tx, float(scale), int(zero_point), qmin, qmax)
    ty.backward(torch.tensor(dy, dtype=torch.float32))
    np.testing.assert_allclose(ty.detach().numpy(), y, rtol=1e-6)
    np.testing.assert_array_equal(tx.grad.numpy(), dx.astype(np.float32))

    if zero_point < 0:
        return None  # the learnable form truncates zero_point + 0.5, so that -5 becomes -4

    lx = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    ls = torch.tensor([scale], dtype=torch.float32, requires_grad=True)
    lz = torch.tensor([float(zero_point)], dtype=torch.float32, requires_grad=True)
    ly = torch._fake_quantize_learnable_per_tensor_affine(lx, ls, lz, qmin, qmax, factor)
    ly.backward(torch.tensor(dy, dtype=torch.float32))
    np.testing.assert_allclose(ly.detach().numpy(), y, rtol=1e-6)
    np.testing.assert_array_equal(lx.grad.numpy(), dx.astype(np.float32))
    np.testing.assert_allclose(ls.grad.item(), d_scale, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(lz.grad.item(), d_zero_point, rtol=1e-4, atol=1e-4)
    return ls.grad.item(), lz.grad.item()


x = np.array([-3, -1.9, -0.3, 0.1, 0.6, 1.2, 4])
dy = np.array([1, -2, 3, 0.5, -1, 2, 4])
print("the figures of qat_test: d scale %.6f, d zero point %.6f" % compare(x, dy, 0.25, 1, -8, 7, 0.5))
rng = np.random.default_rng(1)
for scale, zero_point, qmin, qmax in [(0.031, 37, 0, 127), (0.25, 0, -8, 7), (0.5, 128, 0, 255), (0.02, -5, -128, 127)]:
    x = rng.uniform(-6, 6, 5000).astype(np.float32).astype(np.float64)
    units = x / scale
    x = x[np.abs(units - np.floor(units) - 0.5) > 1e-3]  # PyTorch multiplies with 1 / scale: ties fall either way
    compare(x, rng.normal(size=x.shape).astype(np.float32).astype(np.float64), scale, zero_point, qmin, qmax, 0.01)
print(f"equal to PyTorch {torch.__version__}")
