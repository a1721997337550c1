#include "octavo/quant.h"

#include <algorithm>

namespace octavo {

QParams choose_qparams(float lo, float hi, int32_t qmin, int32_t qmax, bool symmetric, float eps) noexcept {
  // A range that says nothing (a NaN, an infinity, no samples) becomes [0, 0]: a valid scale of eps.
  double a = lo, b = hi;
  if (!std::isfinite(a) || !std::isfinite(b)) a = b = 0;
  if (a > b) std::swap(a, b);
  a = std::min(a, 0.0);
  b = std::max(b, 0.0);
  const double steps = double(qmax) - double(qmin), least = eps > 0 ? eps : std::numeric_limits<float>::min();
  QParams q;
  if (symmetric) {
    q.scale = float(std::max(std::max(-a, b) / (steps / 2), least));
    q.zero_point = qmin < 0 ? 0 : (qmax - qmin + 1) / 2;
  } else {
    const double scale = std::max((b - a) / steps, least);
    q.scale = float(scale);
    q.zero_point = int32_t(std::clamp(double(qmin) - std::nearbyint(a / scale), double(qmin), double(qmax)));
  }
  return q;
}

}  // namespace octavo
