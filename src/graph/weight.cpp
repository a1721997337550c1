#include "weight.h"

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

// A tensor as [outer][channels][inner].
struct Split {
  int64_t outer = 1, channels = 1, inner = 1;
};

Split split(const Tensor& t, int64_t axis) {
  Split s;
  for (int64_t i = 0; i < int64_t(t.shape().size()); ++i)
    (i < axis ? s.outer : i == axis ? s.channels : s.inner) *= t.shape()[size_t(i)];
  return s;
}

constexpr double kMaxBias = 1 << 30;

}  // namespace

Expected<std::vector<float>> weight_scales(const Tensor& weight, int64_t axis, const TensorConfig& config, const Tensor* bias,
                                           float x_scale) {
  const Split s = split(weight, axis);
  const size_t count = config.per_channel ? size_t(s.channels) : 1;
  std::vector<std::unique_ptr<Observer>> observers;
  for (size_t j = 0; j < count; ++j) observers.push_back(Observer::create(config.observer));
  const float* w = weight.as<float>();
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t j = 0; j < s.channels; ++j, w += s.inner)
      observers[config.per_channel ? size_t(j) : 0]->observe(w, size_t(s.inner));
  std::vector<float> scales;
  for (const auto& observer : observers) {
    const Expected<QParams> q = observer->qparams(config);
    if (!q) return q.status();
    scales.push_back(q->scale);
  }
  if (!bias) return scales;
  for (int64_t j = 0; j < bias->count(); ++j) {
    float& scale = scales[config.per_channel ? size_t(j) : 0];
    const double needed = std::fabs(double(bias->as<float>()[j])) / (double(x_scale) * kMaxBias);
    if (needed > scale) scale = std::nextafter(float(needed), INFINITY);
  }
  return scales;
}

Tensor quantize_weights(const Tensor& weight, int64_t axis, const std::vector<float>& scales, QRange range) {
  const Split s = split(weight, axis);
  std::vector<int8_t> q(size_t(weight.count()));
  const float* w = weight.as<float>();
  size_t i = 0;
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t j = 0; j < s.channels; ++j) {
      const float scale = scales[scales.size() > 1 ? size_t(j) : 0];
      for (int64_t k = 0; k < s.inner; ++k, ++i)
        q[i] = int8_t(std::clamp(std::nearbyint(w[i] / scale), float(range.lo), float(range.hi)));
    }
  return Tensor::from(DType::s8, weight.shape(), q);
}

Tensor transpose(const Tensor& matrix) {
  const size_t rows = size_t(matrix.shape()[0]), cols = size_t(matrix.shape()[1]);
  std::vector<int8_t> t(rows * cols);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < cols; ++j) t[j * rows + i] = matrix.as<int8_t>()[i * cols + j];
  return Tensor::from(DType::s8, {int64_t(cols), int64_t(rows)}, t);
}

Tensor quantize_bias(const Tensor& bias, const std::vector<float>& scales) {
  std::vector<int32_t> q(size_t(bias.count()));
  for (size_t j = 0; j < q.size(); ++j) {
    const double scale = double(scales[scales.size() > 1 ? j : 0]);
    q[j] = int32_t(std::nearbyint(double(bias.as<float>()[j]) / scale));
  }
  return Tensor::from(DType::s32, bias.shape(), q);
}

}  // namespace octavo
