#include "octavo/qat.h"

#include <cmath>

namespace octavo {
namespace {

// The quantized integer before it is clamped, without the zero point; as a float, so that nothing overflows.
float units(float x, const FakeQuantizer& f) noexcept { return std::isnan(x) ? 0 : std::nearbyint(x / f.q.scale); }

enum class Side : uint8_t { below, inside, above };

Side side_of(float x, float n, const FakeQuantizer& f) noexcept {
  if (std::isnan(x) || n < float(f.qmin - f.q.zero_point)) return Side::below;
  return n > float(f.qmax - f.q.zero_point) ? Side::above : Side::inside;
}

// body(channel, first, last) for each run of elements of one channel.
template <class Body>
void for_runs(const FakeQuantizeShape& s, const Body& body) noexcept {
  int64_t i = 0;
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t c = 0; c < s.channels; ++c, i += s.inner) body(c, i, i + s.inner);
}

}  // namespace

void fake_quantize(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, const float* x, float* y) noexcept {
  for_runs(shape, [&](int64_t c, int64_t first, int64_t last) {
    const FakeQuantizer f = quantizers[c];
    const float lo = float(f.qmin - f.q.zero_point), hi = float(f.qmax - f.q.zero_point);
    for (int64_t i = first; i < last; ++i) {
      const float n = units(x[i], f);
      y[i] = (n < lo ? lo : n > hi ? hi : n) * f.q.scale;
    }
  });
}

void fake_quantize_backward(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, const float* x, const float* dy,
                            float* dx) noexcept {
  for_runs(shape, [&](int64_t c, int64_t first, int64_t last) {
    const FakeQuantizer f = quantizers[c];
    for (int64_t i = first; i < last; ++i) dx[i] = side_of(x[i], units(x[i], f), f) == Side::inside ? dy[i] : 0;
  });
}

void fake_quantize_learned_backward(const FakeQuantizer* quantizers, const FakeQuantizeShape& shape, float factor, const float* x,
                                    const float* dy, float* dx, float* scale_gradients, float* zero_point_gradients) noexcept {
  for (int64_t c = 0; c < shape.channels; ++c) {
    const FakeQuantizer f = quantizers[c];
    const double lo = f.qmin - f.q.zero_point, hi = f.qmax - f.q.zero_point;
    double scale = 0, zero_point = 0;
    for (int64_t o = 0; o < shape.outer; ++o) {
      const int64_t first = (o * shape.channels + c) * shape.inner;
      for (int64_t i = first; i < first + shape.inner; ++i) {
        const float n = units(x[i], f);
        const double g = double(dy[i]);  // dx may be dy
        const Side side = side_of(x[i], n, f);
        dx[i] = side == Side::inside ? dy[i] : 0;
        if (std::isnan(x[i])) continue;
        scale += g * (side == Side::below ? lo : side == Side::above ? hi : double(n) - double(x[i]) / double(f.q.scale));
        if (side != Side::inside) zero_point -= g * double(f.q.scale);
      }
    }
    scale_gradients[c] = float(double(factor) * scale);
    if (zero_point_gradients) zero_point_gradients[c] = float(double(factor) * zero_point);
  }
}

float lsq_gradient_factor(int64_t count, int32_t qmax) noexcept { return float(1 / std::sqrt(double(count) * double(qmax))); }

float lsq_initial_scale(const float* x, size_t count, int32_t qmax) noexcept {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::fabs(double(x[i]));
  return count == 0 ? 1 : float(2 * sum / double(count) / std::sqrt(double(qmax)));
}

}  // namespace octavo
