// Fake quantization for training: what a value becomes by quantizing and dequantizing it, and the gradients of that.
//   forward        n = rne(x / scale) + zero_point;  y = (clamp(n, qmin, qmax) - zero_point) * scale
//   straight       dx = dy where qmin <= n <= qmax, else 0 (the straight-through estimator)
//   learned (LSQ)  also d scale = factor * sum of dy * { y / scale - x / scale inside;  qmin - zero_point below;  qmax - zero_point above }
//                  and  d zero_point = factor * sum of dy * { 0 inside;  -scale outside }
// as in PyTorch's fake_quantize and _fake_quantize_learnable, but that x is divided by the scale and not multiplied with its
// reciprocal: so the forward pass has the bits of the INT8 model. x that is not a number counts as 0 and is outside.
// Sums are in double, in the order of the elements. Nothing checks its arguments: 0 < scale, qmin <= zero_point <= qmax.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/quant.h"

namespace octavo {

struct FakeQuantizer {
  QParams q;
  int32_t qmin = 0, qmax = 255;
};

// A tensor as [outer][channels][inner], with a quantizer for each channel. One channel: the whole tensor.
struct FakeQuantizeShape {
  int64_t outer = 1, channels = 1, inner = 0;
};

// y may be x.
void fake_quantize(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, const float* x, float* y) noexcept;

// dx may be dy.
void fake_quantize_backward(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, const float* x, const float* dy,
                            float* dx) noexcept;

// The same, and the gradients of scales and zero points, [channels] each. zero_point_gradients may be null.
void fake_quantize_learned_backward(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, float factor, const float* x,
                                    const float* dy, float* dx, float* scale_gradients, float* zero_point_gradients) noexcept;

// LSQ's factor, 1 / sqrt(count * qmax), and its first scale, 2 * mean |x| / sqrt(qmax).
float lsq_gradient_factor(int64_t count, int32_t qmax) noexcept;
float lsq_initial_scale(const float* x, size_t count, int32_t qmax) noexcept;

}  // namespace octavo
