// GridSample (opset 16; names of the modes since 20): an image read at computed positions, between its pixels.
#include <cmath>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

constexpr int kMaxSpatial = 3;

enum class Mode : uint8_t { nearest, linear, cubic };
enum class Padding : uint8_t { zeros, border, reflection };

struct Sampling {
  Mode mode = Mode::linear;
  Padding padding = Padding::zeros;
  bool align_corners = false;
};

Status read_sampling(const Node& node, Sampling& s) {
  const std::string_view mode = string_attribute(node, "mode", "linear"), padding = string_attribute(node, "padding_mode", "zeros");
  if (mode == "linear" || mode == "bilinear") s.mode = Mode::linear;
  else if (mode == "nearest") s.mode = Mode::nearest;
  else if (mode == "cubic" || mode == "bicubic") s.mode = Mode::cubic;
  else return fail(node, Code::unsupported, "unknown mode");
  if (padding == "zeros") s.padding = Padding::zeros;
  else if (padding == "border") s.padding = Padding::border;
  else if (padding == "reflection") s.padding = Padding::reflection;
  else return fail(node, Code::unsupported, "unknown padding_mode");
  s.align_corners = int_attribute(node, "align_corners", 0) != 0;
  return {};
}

// X [n, c, spatial...], grid [n, positions..., coordinates: the last spatial dimension first]
Inferred infer_grid_sample(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape &x = ctx.inputs[0]->shape, &grid = ctx.inputs[1]->shape;
  if (x.size() < 3 || x.size() > 2 + kMaxSpatial || grid.size() != x.size() || grid[0] != x[0] ||
      grid.back() != int64_t(x.size()) - 2)
    return misshapen(ctx, "an image of 1 to 3 spatial dimensions and a grid of as many coordinates are needed");
  Sampling sampling;
  if (Status s = read_sampling(ctx.node, sampling); !s.ok()) return s;
  Shape y = {x[0], x[1]};
  y.insert(y.end(), grid.begin() + 1, grid.end() - 1);
  return std::vector<TypeShape>{{DType::f32, std::move(y)}};
}

// The pixel that stands for position `at` (an integer) of a dimension of n; -1: zero.
int64_t pixel(const Sampling& s, double at, int64_t n) {
  const double last = double(n - 1);
  if (at >= 0 && at <= last) return int64_t(at);
  if (s.padding == Padding::zeros) return -1;
  if (s.padding == Padding::border) return at < 0 ? 0 : n - 1;
  const double lo = s.align_corners ? 0 : -0.5, hi = s.align_corners ? last : last + 0.5, range = hi - lo;
  if (!(range > 0)) return 0;
  const double away = at < lo ? lo - at : at - hi, turns = std::floor(away / range), rest = away - turns * range;
  const bool from_low = (at < lo) == (std::fmod(turns, 2) == 0);
  return int64_t(std::min(std::max(from_low ? lo + rest : hi - rest, 0.0), last));
}

double cubic(double distance) {
  constexpr double kA = -0.75;
  const double x = std::fabs(distance);
  return x <= 1 ? ((kA + 2) * x - (kA + 3)) * x * x + 1 : ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA;
}

// What one position reads of an image: offsets and weights over all spatial dimensions.
struct Taps {
  static constexpr int kMax = 64;
  int n = 0;
  int64_t offset[kMax];
  double weight[kMax];

  // One more dimension, `x` along it: every tap so far is read at up to four places.
  void extend(const Sampling& s, double x, int64_t size, int64_t stride) {
    const double left = s.mode == Mode::nearest ? std::nearbyint(x) : std::floor(x);
    const int first = s.mode == Mode::cubic ? -1 : 0, count = s.mode == Mode::nearest ? 1 : s.mode == Mode::linear ? 2 : 4;
    Taps next;
    for (int t = first; t < first + count; ++t) {
      const double at = left + t, distance = at - x;
      const double w = s.mode == Mode::nearest ? 1 : s.mode == Mode::linear ? 1 - std::fabs(distance) : cubic(distance);
      const int64_t p = pixel(s, at, size);
      if (p < 0 || w == 0) continue;
      for (int i = 0; i < n; ++i) {
        next.offset[next.n] = offset[i] + p * stride;
        next.weight[next.n++] = weight[i] * w;
      }
    }
    *this = next;
  }
};

// From [-1, 1] to pixels; what is no number, or lies where floats have no fractions, is far outside.
double position(const Sampling& s, double x, int64_t n) {
  const double p = s.align_corners ? (x + 1) / 2 * double(n - 1) : ((x + 1) * double(n) - 1) / 2;
  constexpr double kFar = 1e9;
  return p == p ? std::min(std::max(p, -kFar), kFar) : -kFar;
}

Status eval_grid_sample(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &grid = ctx.inputs[1], &y = ctx.outputs[0];
  Sampling s;
  if (Status status = read_sampling(ctx.node, s); !status.ok()) return status;
  const int spatial = x.rank - 2;
  const int64_t channels = x.dims[1], size = product(x.dims, 2, x.rank), positions = product(y.dims, 2, y.rank);
  if (size == 0) {
    std::fill_n(f32_out(y), y.count(), 0.0f);
    return {};
  }
  int64_t strides[kMaxRank];
  dense_strides(x, strides);
  for (int64_t n = 0; n < x.dims[0]; ++n) {
    for (int64_t i = 0; i < positions; ++i) {
      const float* coordinates = f32(grid) + (n * positions + i) * spatial;
      Taps taps;
      taps.n = 1, taps.offset[0] = 0, taps.weight[0] = 1;
      for (int d = 0; d < spatial; ++d)
        taps.extend(s, position(s, double(coordinates[spatial - 1 - d]), x.dims[2 + d]), x.dims[2 + d], strides[2 + d]);
      for (int64_t c = 0; c < channels; ++c) {
        const float* in = f32(x) + (n * channels + c) * size;
        double sum = 0;
        for (int t = 0; t < taps.n; ++t) sum += taps.weight[t] * double(in[taps.offset[t]]);
        f32_out(y)[(n * channels + c) * positions + i] = float(sum);
      }
    }
  }
  return {};
}

constexpr OpInfo kOps[] = {{"GridSample", "", infer_grid_sample, eval_grid_sample}};

}  // namespace

std::span<const OpInfo> grid_ops() noexcept { return kOps; }

}  // namespace octavo::ops
