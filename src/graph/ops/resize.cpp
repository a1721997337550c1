// Resize (opset 10 on) and its older form Upsample: separable interpolation, one dimension inside the other.
#include <cmath>
#include <limits>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

enum class Mode : uint8_t { nearest, linear, cubic };
enum class Coordinates : uint8_t { half_pixel, symmetric, pytorch, align_corners, asymmetric, tf_half_pixel, crop };
enum class Nearest : uint8_t { prefer_floor, prefer_ceil, floor, ceil };

// How output index i of one dimension reads the input.
struct Axis {
  int64_t in = 1, out = 1;
  double scale = 1;           // out / in, as given
  double start = 0, end = 1;  // the crop, of the input's extent
  bool active = false;        // false: out index = in index
};

struct Plan {
  Mode mode = Mode::nearest;
  Coordinates coordinates = Coordinates::half_pixel;
  Nearest nearest = Nearest::prefer_floor;
  bool antialias = false, exclude_outside = false;
  float cubic_a = -0.75f, extrapolation = 0;
  int rank = 0;
  Axis axis[kMaxRank];
};

template <class T>
bool look_up(std::string_view name, std::initializer_list<std::pair<const char*, T>> names, T& value) {
  for (const auto& [key, v] : names)
    if (name == key) {
      value = v;
      return true;
    }
  return false;
}

Status read_modes(const Node& node, int64_t opset, Plan& p) {
  const bool old = opset < 11 || node.op_type == "Upsample";
  if (!look_up(string_attribute(node, "mode", "nearest"),
               {{"nearest", Mode::nearest}, {"linear", Mode::linear}, {"cubic", Mode::cubic}}, p.mode))
    return fail(node, Code::unsupported, "unknown mode");
  if (old) {
    p.coordinates = Coordinates::asymmetric;
    p.nearest = Nearest::floor;
    return {};
  }
  if (!look_up(string_attribute(node, "coordinate_transformation_mode", "half_pixel"),
               {{"half_pixel", Coordinates::half_pixel},
                {"half_pixel_symmetric", Coordinates::symmetric},
                {"pytorch_half_pixel", Coordinates::pytorch},
                {"align_corners", Coordinates::align_corners},
                {"asymmetric", Coordinates::asymmetric},
                {"tf_half_pixel_for_nn", Coordinates::tf_half_pixel},
                {"tf_crop_and_resize", Coordinates::crop}},
               p.coordinates))
    return fail(node, Code::unsupported, "unknown coordinate_transformation_mode");
  if (!look_up(string_attribute(node, "nearest_mode", "round_prefer_floor"),
               {{"round_prefer_floor", Nearest::prefer_floor},
                {"round_prefer_ceil", Nearest::prefer_ceil},
                {"floor", Nearest::floor},
                {"ceil", Nearest::ceil}},
               p.nearest))
    return fail(node, Code::unsupported, "unknown nearest_mode");
  p.antialias = int_attribute(node, "antialias", 0) != 0 && p.mode != Mode::nearest;
  p.exclude_outside = int_attribute(node, "exclude_outside", 0) != 0;
  p.cubic_a = float_attribute(node, "cubic_coeff_a", -0.75f);
  p.extrapolation = float_attribute(node, "extrapolation_value", 0);
  return {};
}

// A short list of floats, from a constant (infer) or a view (eval).
struct Floats {
  int n = 0;
  double v[2 * kMaxRank] = {};
};

Status read_floats(const Node& node, DType dtype, const void* data, int64_t count, Floats& out) {
  if (dtype != DType::f32 || count > 2 * kMaxRank)
    return fail(node, Code::invalid_argument, "scales and roi must be f32, at most %d of them", 2 * kMaxRank);
  out.n = int(count);
  for (int i = 0; i < out.n; ++i) out.v[i] = double(static_cast<const float*>(data)[i]);
  return {};
}

Status read_floats(const InferContext& ctx, size_t i, Floats& out) {
  if (!input_of(ctx, i)) return {};
  const Tensor* t = constant_of(ctx, i);
  if (!t) return fail(ctx.node, Code::unsupported, "input %zu must be a constant: the output's shape depends on it", i);
  return read_floats(ctx.node, t->dtype(), t->data(), t->count(), out);
}

Status read_floats(const EvalContext& ctx, size_t i, Floats& out) {
  const View v = view_of(ctx, i);
  return v.data ? read_floats(ctx.node, v.dtype, v.data, v.count(), out) : Status();
}

// The number of elements of a dimension; fails beyond what any tensor can have.
Status round_size(const Node& node, double size, int64_t& out) {
  if (!(size >= 0 && size < 4e9)) return fail(node, Code::invalid_argument, "an output dimension of %g", size);
  out = int64_t(size);
  return {};
}

template <class Context>
Status make_plan(const Context& ctx, const int64_t* dims, int rank, Plan& p) {
  if (Status s = read_modes(ctx.node, ctx.opset, p); !s.ok()) return s;
  p.rank = rank;
  const bool upsample = ctx.node.op_type == "Upsample", old = upsample || ctx.opset < 11;
  Floats scales, roi;
  Ints sizes;
  bool has_sizes = false;
  const auto* attribute_scales = upsample ? attribute<std::vector<float>>(ctx.node, "scales") : nullptr;
  if (attribute_scales) {
    if (Status s = read_floats(ctx.node, DType::f32, attribute_scales->data(), int64_t(attribute_scales->size()), scales);
        !s.ok())
      return s;
  } else {
    if (Status s = read_floats(ctx, old ? 1 : 2, scales); !s.ok()) return s;
  }
  if (!old) {
    if (p.coordinates == Coordinates::crop)
      if (Status s = read_floats(ctx, 1, roi); !s.ok()) return s;
    if (Status s = read_ints(ctx, 3, sizes, has_sizes); !s.ok()) return s;
    has_sizes = has_sizes && sizes.n > 0;
  }
  Ints axes;
  if (const auto* given = attribute<std::vector<int64_t>>(ctx.node, "axes"); given && !old) {
    if (!to_ints(*given, axes)) return fail(ctx.node, Code::invalid_argument, "too many axes");
  } else {
    axes.n = rank;
    for (int d = 0; d < rank; ++d) axes.v[d] = d;
  }
  const int n = has_sizes ? sizes.n : scales.n;
  if (n != axes.n || (scales.n > 0) == has_sizes || (p.coordinates == Coordinates::crop && roi.n != 2 * n))
    return fail(ctx.node, Code::invalid_argument, "one scale or one size for each axis is needed");
  const std::string_view policy = string_attribute(ctx.node, "keep_aspect_ratio_policy", "stretch");
  double common = 0;  // the scale of all axes where the aspect ratio is kept
  for (int i = 0; i < n; ++i) {
    if (!normalize_axis(axes.v[i], rank) || p.axis[axes.v[i]].active)
      return fail(ctx.node, Code::invalid_argument, "an axis is out of range or occurs twice");
    Axis& a = p.axis[axes.v[i]];
    a.active = true;
    if (!has_sizes || dims[axes.v[i]] == 0) continue;
    const double scale = double(sizes[i]) / double(dims[axes.v[i]]);
    common = i == 0 ? scale : policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
  }
  for (int d = 0; d < rank; ++d) p.axis[d].in = p.axis[d].out = dims[d];
  for (int i = 0; i < n; ++i) {
    Axis& a = p.axis[axes.v[i]];
    if (p.coordinates == Coordinates::crop) a.start = roi.v[i], a.end = roi.v[i + n];
    if (has_sizes) {
      const bool stretch = policy == "stretch";
      if (Status s = round_size(ctx.node, stretch ? double(sizes[i]) : std::floor(common * double(a.in) + 0.5), a.out); !s.ok())
        return s;
      a.scale = !stretch ? common : a.in > 0 ? double(a.out) / double(a.in) : 1;
    } else {
      const double extent = p.coordinates == Coordinates::crop ? a.end - a.start : 1;
      if (Status s = round_size(ctx.node, std::floor(double(a.in) * extent * scales.v[i]), a.out); !s.ok()) return s;
      a.scale = scales.v[i];
    }
    if (a.out > 0 && (a.in == 0 || !(a.scale > 0))) return fail(ctx.node, Code::invalid_argument, "a scale of %g", a.scale);
    // An output that repeats the input needs no interpolation, unless a crop shifts it.
    a.active = p.coordinates == Coordinates::crop || a.in != a.out || a.scale != 1;
  }
  return {};
}

Inferred infer_resize(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, ctx.opset < 11 || ctx.node.op_type == "Upsample" ? 2 : 4); !s.ok()) return s;
  Plan p;
  TypeShape y = *ctx.inputs[0];
  if (Status s = make_plan(ctx, y.shape.data(), int(y.shape.size()), p); !s.ok()) return s;
  const bool interpolates = y.dtype == DType::f32 || y.dtype == DType::u8 || y.dtype == DType::s8;
  if (!interpolates && !(p.mode == Mode::nearest && p.coordinates != Coordinates::crop)) return bad_type(ctx, 0);
  if (p.antialias && p.coordinates == Coordinates::crop) return fail(ctx.node, Code::unsupported, "antialias with a crop");
  if (p.antialias)  // the window grows as the scale shrinks
    for (int d = 0; d < p.rank; ++d)
      if (p.axis[d].active && p.axis[d].scale < 1.0 / 4096)
        return fail(ctx.node, Code::unsupported, "a scale of %g", p.axis[d].scale);
  for (int d = 0; d < p.rank; ++d) y.shape[size_t(d)] = p.axis[d].out;
  return std::vector<TypeShape>{std::move(y)};
}

// Where output index i lies on the input's axis.
double source(const Plan& p, const Axis& a, int64_t i) {
  const double x = double(i);
  switch (p.coordinates) {
    case Coordinates::half_pixel:
      return (x + 0.5) / a.scale - 0.5;
    case Coordinates::symmetric: {
      const double ideal = a.scale * double(a.in);
      return double(a.in) / 2 * (1 - double(a.out) / ideal) + (x + 0.5) / a.scale - 0.5;
    }
    case Coordinates::pytorch:
      return a.out > 1 ? (x + 0.5) / a.scale - 0.5 : 0;
    case Coordinates::align_corners: {
      const double ideal = a.scale * double(a.in);
      return a.out > 1 && ideal != 1 ? x * double(a.in - 1) / (ideal - 1) : 0;
    }
    case Coordinates::asymmetric:
      return x / a.scale;
    case Coordinates::tf_half_pixel:
      return (x + 0.5) / a.scale;
    case Coordinates::crop:
      break;
  }
  const double last = double(a.in - 1);
  return a.out > 1 ? a.start * last + x * (a.end - a.start) * last / double(a.out - 1) : 0.5 * (a.start + a.end) * last;
}

int64_t clamp_index(double x, int64_t n) { return x <= 0 ? 0 : x >= double(n - 1) ? n - 1 : int64_t(x); }

int64_t nearest_index(const Plan& p, const Axis& a, int64_t i) {
  if (!a.active) return i;
  const double x = source(p, a, i);
  switch (p.nearest) {
    case Nearest::prefer_floor:
      return clamp_index(std::ceil(x - 0.5), a.in);
    case Nearest::prefer_ceil:
      return clamp_index(std::floor(x + 0.5), a.in);
    case Nearest::floor:
      return clamp_index(std::floor(x), a.in);
    case Nearest::ceil:
      break;
  }
  return clamp_index(std::ceil(x), a.in);
}

double kernel(const Plan& p, double distance) {
  const double x = std::fabs(distance), a = double(p.cubic_a);
  if (p.mode == Mode::linear) return std::max(0.0, 1 - x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

// How many pixels one output reads along an axis: those around the pixel on the left, which an exact hit is to the right of.
int64_t tap_count(const Plan& p, double scale) {
  if (p.mode == Mode::nearest) return 1;
  const double support = p.mode == Mode::linear ? 1 : 2, shrink = p.antialias ? std::min(1.0, scale) : 1.0;
  return 2 * int64_t(std::ceil(support / shrink));
}

// Pixels and weights of each output index of an axis: tap t of index i at [i * count + t].
struct Taps {
  int64_t count = 1;
  int64_t* pixel = nullptr;
  float* weight = nullptr;
};

size_t tap_bytes(int64_t outputs, int64_t count) { return size_t(outputs * count) * (sizeof(int64_t) + sizeof(float)); }

// Takes its tables from `memory`; returns what is behind them, a multiple of 8 bytes on.
char* fill_taps(const Plan& p, const Axis& a, char* memory, Taps& taps) {
  taps.count = tap_count(p, a.scale);
  taps.pixel = reinterpret_cast<int64_t*>(memory);
  taps.weight = reinterpret_cast<float*>(taps.pixel + a.out * taps.count);
  const double shrink = p.antialias ? std::min(1.0, a.scale) : 1.0;
  for (int64_t i = 0; i < a.out; ++i) {
    if (p.mode == Mode::nearest) {
      taps.pixel[i] = nearest_index(p, a, i);
      continue;
    }
    const double x = source(p, a, i), first = std::ceil(x) - double(taps.count / 2);
    const auto weight = [&](int64_t t) {
      const double at = first + double(t);
      return p.exclude_outside && (at < 0 || at > double(a.in - 1)) ? 0 : kernel(p, (at - x) * shrink);
    };
    double total = p.antialias || p.exclude_outside ? 0 : 1;
    for (int64_t t = 0; t < taps.count && (p.antialias || p.exclude_outside); ++t) total += weight(t);
    for (int64_t t = 0; t < taps.count; ++t) {
      taps.pixel[i * taps.count + t] = clamp_index(first + double(t), a.in);
      taps.weight[i * taps.count + t] = float(weight(t) / total);
    }
  }
  return memory + (tap_bytes(a.out, taps.count) + 7) / 8 * 8;
}

// Bytes round to nearest, ties to even; cubic interpolation may overshoot their range.
template <class T>
T to_element(float x) {
  if constexpr (std::is_same_v<T, float>) return x;
  else return T(std::min(std::max(std::nearbyint(x), float(std::numeric_limits<T>::min())), float(std::numeric_limits<T>::max())));
}

bool outside(const Plan& p, const int64_t* index) {
  for (int d = 0; d < p.rank; ++d) {
    const double x = p.axis[d].active ? source(p, p.axis[d], index[d]) : 0;
    if (x < 0 || x > double(p.axis[d].in - 1)) return true;
  }
  return false;
}

// f(index, flat) for each element of y.
template <class F>
void for_each_index(const View& y, F&& f) {
  int64_t index[kMaxRank] = {};
  for (int64_t i = 0, n = y.count(); i < n; ++i) {
    f(index, i);
    for (int d = y.rank - 1; d >= 0; --d) {
      if (++index[d] < y.dims[d]) break;
      index[d] = 0;
    }
  }
}

// The last dimension that is resized; behind it lie whole blocks of elements that are read alike. -1: none.
int last_active(const Plan& p) {
  int d = p.rank - 1;
  while (d >= 0 && !p.axis[d].active) --d;
  return d;
}

// Tables for every axis, and one row of the input. Axes that change their size are active for certain, so that a row is no longer
// than from the last of them on.
size_t resize_scratch(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  Plan p;
  if (!read_modes(ctx.node, ctx.opset, p).ok()) return 0;
  size_t bytes = 0;
  int last = 0;
  for (int d = 0; d < x.rank; ++d) {
    const double scale = x.dims[d] > 0 ? (double(y.dims[d]) - 0.5) / double(x.dims[d]) : 1;  // no more than the real one
    if (y.dims[d] > 0) bytes += (tap_bytes(y.dims[d], tap_count(p, scale)) + 7) / 8 * 8;
    if (x.dims[d] != y.dims[d]) last = d;
  }
  return bytes + size_t(product(x.dims, last, x.rank)) * sizeof(float);
}

// sum[j] += weight * in[j]
template <class T>
void add_scaled(const T* in, float weight, float* sum, int64_t n) {
  for (int64_t j = 0; j < n; ++j) sum[j] += weight * float(in[j]);
}

// Rows of the last active dimension: those of the input that the outer dimensions choose are summed into one, which then is
// interpolated along itself.
template <class T>
void resize_rows(const Plan& p, const View& x, const View& y, const int64_t* strides, void* scratch) {
  Taps taps[kMaxRank];
  char* memory = static_cast<char*>(scratch);
  for (int d = 0; d < p.rank; ++d)
    if (p.axis[d].active) memory = fill_taps(p, p.axis[d], memory, taps[d]);
  float* row = reinterpret_cast<float*>(memory);
  const int last = last_active(p);
  const int64_t inner = product(y.dims, last + 1, y.rank), n = x.dims[last] * inner;
  const Taps& along = taps[last];
  View rows = y;
  rows.rank = last;
  for_each_index(rows, [&](const int64_t* index, int64_t at) {
    std::fill_n(row, n, 0.0f);
    for (int64_t tap[kMaxRank] = {};;) {  // every choice of a tap for each of the outer dimensions
      int64_t offset = 0;
      float weight = 1;
      for (int d = 0; d < last; ++d) {
        const int64_t i = index[d] * taps[d].count + tap[d];
        offset += (p.axis[d].active ? taps[d].pixel[i] : index[d]) * strides[d];
        if (p.axis[d].active) weight *= taps[d].weight[i];
      }
      if (weight != 0) add_scaled(static_cast<const T*>(x.data) + offset, weight, row, n);
      int d = last - 1;
      while (d >= 0 && ++tap[d] == taps[d].count) tap[d--] = 0;
      if (d < 0) break;
    }
    T* out = static_cast<T*>(y.data) + at * y.dims[last] * inner;
    for (int64_t i = 0; i < y.dims[last]; ++i, out += inner) {
      const int64_t* pixel = along.pixel + i * along.count;
      const float* weight = along.weight + i * along.count;
      if constexpr (std::is_same_v<T, float>) {
        if (inner > 1) {
          std::fill_n(out, inner, 0.0f);
          for (int64_t t = 0; t < along.count; ++t) add_scaled(row + pixel[t] * inner, weight[t], out, inner);
          continue;
        }
      }
      for (int64_t j = 0; j < inner; ++j) {
        float sum = 0;
        for (int64_t t = 0; t < along.count; ++t) sum += weight[t] * row[pixel[t] * inner + j];
        out[j] = to_element<T>(sum);
      }
    }
  });
}

// Blocks behind the last active dimension are copied.
void resize_nearest(const Plan& p, const View& x, const View& y, const int64_t* strides, void* scratch) {
  Taps taps[kMaxRank];
  char* memory = static_cast<char*>(scratch);
  for (int d = 0; d < p.rank; ++d)
    if (p.axis[d].active) memory = fill_taps(p, p.axis[d], memory, taps[d]);
  const int last = last_active(p);
  const int64_t inner = product(y.dims, last + 1, y.rank), width = y.dims[last], *along = taps[last].pixel;
  View rows = y;
  rows.rank = last;
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    for_each_index(rows, [&](const int64_t* index, int64_t row) {
      int64_t base = 0;
      for (int d = 0; d < last; ++d) base += (p.axis[d].active ? taps[d].pixel[index[d]] : index[d]) * strides[d];
      const T* in = static_cast<const T*>(x.data) + base;
      T* out = static_cast<T*>(y.data) + row * width * inner;
      if (inner == 1) {
        for (int64_t i = 0; i < width; ++i) out[i] = in[along[i]];
      } else {
        for (int64_t i = 0; i < width; ++i) std::memcpy(out + i * inner, in + along[i] * inner, size_t(inner) * sizeof(T));
      }
    });
  });
}

// What a crop reads beyond the input.
template <class T>
void extrapolate(const Plan& p, const View& y) {
  for_each_index(y, [&](const int64_t* index, int64_t i) {
    if (outside(p, index)) static_cast<T*>(y.data)[i] = to_element<T>(p.extrapolation);
  });
}

Status eval_resize(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  Plan p;
  if (Status s = make_plan(ctx, x.dims, x.rank, p); !s.ok()) return s;
  for (int d = 0; d < p.rank; ++d)
    if (p.axis[d].out != y.dims[d])
      return fail(ctx.node, Code::invalid_argument, "scales or sizes are not those that the shapes were inferred from");
  if (y.count() == 0) return {};
  const bool crop = p.coordinates == Coordinates::crop;
  if (last_active(p) < 0) {
    std::memcpy(y.data, x.data, byte_count(y));
    return {};
  }
  int64_t strides[kMaxRank];
  dense_strides(x, strides);
  if (p.mode == Mode::nearest) resize_nearest(p, x, y, strides, ctx.scratch);
  if (p.mode == Mode::nearest && !crop) return {};
  const auto run = [&](auto type) {
    using T = decltype(type);
    if (p.mode != Mode::nearest) resize_rows<T>(p, x, y, strides, ctx.scratch);
    if (crop) extrapolate<T>(p, y);
  };
  if (x.dtype == DType::u8) run(uint8_t{});
  else if (x.dtype == DType::s8) run(int8_t{});
  else run(float{});
  return {};
}

constexpr OpInfo kOps[] = {
    {"Resize", "", infer_resize, eval_resize, 0b1110, resize_scratch},
    {"Upsample", "", infer_resize, eval_resize, 0b10, resize_scratch},
};

}  // namespace

bool copies_pixels(const Node& node) noexcept {
  return string_attribute(node, "mode", "nearest") == "nearest" &&
         string_attribute(node, "coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize";
}

std::span<const OpInfo> resize_ops() noexcept { return kOps; }

}  // namespace octavo::ops
