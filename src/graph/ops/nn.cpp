// Convolutions, pools and matrix products. Program lowers most of them to plans; the loops here are what
// folding and odd cases use: plain, and in one fixed order.
#include <cmath>
#include <limits>

#include "ops/common.h"
#include "ops/linear.h"

namespace octavo::ops {
namespace {

// ---- Conv, ConvTranspose

template <bool kTransposed>
Inferred infer_conv(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 3); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape &x = ctx.inputs[0]->shape, &w = ctx.inputs[1]->shape;
  ConvShape c;
  if (Status s = conv_shape(ctx.node, x.data(), int(x.size()), w.data(), int(w.size()), kTransposed, c); !s.ok()) return s;
  if (const TypeShape* bias = input_of(ctx, 2))
    if (bias->shape != Shape{c.out_channels}) return misshapen(ctx, "one bias for each output channel is needed");
  Shape y = {c.batch, c.out_channels};
  const int64_t* spatial = kTransposed ? c.window.wide : c.window.narrow;
  y.insert(y.end(), spatial, spatial + c.window.rank);
  return std::vector<TypeShape>{{DType::f32, std::move(y)}};
}

template <bool kTransposed>
Status eval_conv(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &w = ctx.inputs[1], bias = view_of(ctx, 2), &y = ctx.outputs[0];
  ConvShape c;
  if (Status s = conv_shape(ctx.node, x.dims, x.rank, w.dims, w.rank, kTransposed, c); !s.ok()) return s;
  const int64_t taps = c.window.taps(), in_size = kTransposed ? c.window.narrow_count() : c.window.wide_count();
  const int64_t out_size = kTransposed ? c.window.wide_count() : c.window.narrow_count();
  const int64_t ic_group = c.in_channels / c.groups, oc_group = c.out_channels / c.groups;
  const int64_t stride = c.window.stride[c.window.rank - 1];
  for (int64_t n = 0; n < c.batch; ++n) {
    for (int64_t oc = 0; oc < c.out_channels; ++oc) {
      float* out = f32_out(y) + (n * c.out_channels + oc) * out_size;
      std::fill_n(out, out_size, bias.data ? f32(bias)[oc] : 0.0f);
      const int64_t group = oc / oc_group;
      for (int64_t i = 0; i < ic_group; ++i) {
        const int64_t ic = group * ic_group + i;
        const float* in = f32(x) + (n * c.in_channels + ic) * in_size;
        const float* weights = f32(w) + (kTransposed ? ic * oc_group + oc % oc_group : oc * ic_group + i) * taps;
        for_taps(c.window, [&](const int64_t* tap, int64_t flat) {
          const float weight = weights[flat];
          for_tap_rows(c.window, tap, [&](int64_t wide, int64_t narrow, int64_t count) {
            if constexpr (kTransposed) {
              for (int64_t j = 0; j < count; ++j) out[wide + j * stride] += weight * in[narrow + j];
            } else {
              for (int64_t j = 0; j < count; ++j) out[narrow + j] += weight * in[wide + j * stride];
            }
          });
        });
      }
    }
  }
  return {};
}

// ---- pools

Status pool_window(const Node& node, const int64_t* x, int rank, Window& w) {
  const auto* kernel = attribute<std::vector<int64_t>>(node, "kernel_shape");
  if (rank < 3 || !kernel || int(kernel->size()) != rank - 2)
    return fail(node, Code::invalid_argument, "kernel_shape does not fit an input of rank %d", rank);
  w.rank = rank - 2;
  std::copy_n(kernel->data(), w.rank, w.kernel);
  std::copy_n(x + 2, w.rank, w.wide);
  // A window has no weights that would bound it: a few bytes of file must not ask for hours of work.
  constexpr int64_t kMaxTaps = int64_t(1) << 20;
  int64_t taps = 1;
  for (int d = 0; d < w.rank; ++d) {
    if (w.kernel[d] < 1 || w.kernel[d] > kMaxTaps / taps) return fail(node, Code::unsupported, "a window of more than 2^20 elements");
    taps *= w.kernel[d];
  }
  return resolve_window(node, int_attribute(node, "ceil_mode", 0) != 0, w);
}

Inferred infer_pool(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const DType dtype = ctx.inputs[0]->dtype;
  const bool max = ctx.node.op_type == "MaxPool";
  if (dtype != DType::f32 && !(max && (dtype == DType::u8 || dtype == DType::s8))) return bad_type(ctx, 0);
  TypeShape y = *ctx.inputs[0];
  Window w;
  if (Status s = pool_window(ctx.node, y.shape.data(), int(y.shape.size()), w); !s.ok()) return s;
  std::copy_n(w.narrow, w.rank, y.shape.begin() + 2);
  std::vector<TypeShape> outputs = {y};
  if (max) outputs.push_back({DType::s64, y.shape});
  return outputs;
}

// The index that MaxPool reports: into the whole tensor, the spatial dimensions reversed for storage_order 1.
int64_t reported_index(const Window& w, int64_t plane, int64_t offset, bool column_major) {
  if (!column_major) return plane * w.wide_count() + offset;
  int64_t index[kMaxRank], flat = 0;
  for (int d = w.rank - 1; d >= 0; --d) {
    index[d] = offset % w.wide[d];
    offset /= w.wide[d];
  }
  for (int d = w.rank - 1; d >= 0; --d) flat = flat * w.wide[d] + index[d];
  return plane * w.wide_count() + flat;
}

template <class T>
void max_pool(const EvalContext& ctx, const Window& w) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t* indices = ctx.outputs.size() > 1 ? static_cast<int64_t*>(ctx.outputs[1].data) : nullptr;
  const bool column_major = int_attribute(ctx.node, "storage_order", 0) != 0;
  const int64_t in_size = w.wide_count(), out_size = w.narrow_count(), planes = x.dims[0] * x.dims[1];
  const int64_t stride = w.stride[w.rank - 1];
  for (int64_t plane = 0; plane < planes; ++plane) {
    const T* in = static_cast<const T*>(x.data) + plane * in_size;
    T* out = static_cast<T*>(y.data) + plane * out_size;
    std::fill_n(out, out_size, std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest());
    if (indices) std::fill_n(indices + plane * out_size, out_size, int64_t(-1));
    for_taps(w, [&](const int64_t* tap, int64_t) {
      for_tap_rows(w, tap, [&](int64_t wide, int64_t narrow, int64_t n) {
        for (int64_t j = 0; j < n; ++j) {
          const T v = in[wide + j * stride];
          if (indices && (v > out[narrow + j] || indices[plane * out_size + narrow + j] < 0))
            indices[plane * out_size + narrow + j] = reported_index(w, plane, wide + j * stride, column_major);
          out[narrow + j] = v > out[narrow + j] ? v : out[narrow + j];
        }
      });
    });
  }
}

Status eval_max_pool(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  Window w;
  if (Status s = pool_window(ctx.node, x.dims, x.rank, w); !s.ok()) return s;
  if (x.dtype == DType::f32) max_pool<float>(ctx, w);
  else if (x.dtype == DType::u8) max_pool<uint8_t>(ctx, w);
  else max_pool<int8_t>(ctx, w);
  return {};
}

// Taps of the window at `position` that count: those inside the input, or inside the padded input.
int64_t pool_divisor(const Window& w, int64_t position, bool include_pad) {
  int64_t count = 1;
  for (int d = w.rank - 1; d >= 0; --d) {
    const int64_t start = position % w.narrow[d] * w.stride[d] - w.pad_begin[d];
    position /= w.narrow[d];
    const int64_t lo = include_pad ? -w.pad_begin[d] : 0, hi = w.wide[d] + (include_pad ? w.pad_end[d] : 0);
    int64_t inside = 0;
    for (int64_t k = 0; k < w.kernel[d]; ++k) inside += start + k * w.dilation[d] >= lo && start + k * w.dilation[d] < hi;
    count *= inside;
  }
  return std::max<int64_t>(count, 1);
}

Status eval_average_pool(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  Window w;
  if (Status s = pool_window(ctx.node, x.dims, x.rank, w); !s.ok()) return s;
  const bool include_pad = int_attribute(ctx.node, "count_include_pad", 0) != 0;
  const int64_t in_size = w.wide_count(), out_size = w.narrow_count(), planes = x.dims[0] * x.dims[1];
  const int64_t stride = w.stride[w.rank - 1];
  std::fill_n(f32_out(y), planes * out_size, 0.0f);
  for (int64_t plane = 0; plane < planes; ++plane) {
    const float* in = f32(x) + plane * in_size;
    float* out = f32_out(y) + plane * out_size;
    for_taps(w, [&](const int64_t* tap, int64_t) {
      for_tap_rows(w, tap, [&](int64_t wide, int64_t narrow, int64_t n) {
        for (int64_t j = 0; j < n; ++j) out[narrow + j] += in[wide + j * stride];
      });
    });
  }
  for (int64_t i = 0; i < out_size; ++i) {
    const float divisor = float(pool_divisor(w, i, include_pad));
    for (int64_t plane = 0; plane < planes; ++plane) f32_out(y)[plane * out_size + i] /= divisor;
  }
  return {};
}

// The p-norm of each window.
Status eval_lp_pool(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  Window w;
  if (Status s = pool_window(ctx.node, x.dims, x.rank, w); !s.ok()) return s;
  const int64_t p = int_attribute(ctx.node, "p", 2), in_size = w.wide_count(), out_size = w.narrow_count();
  const int64_t stride = w.stride[w.rank - 1], planes = x.dims[0] * x.dims[1];
  const auto power = [p](float v) {
    const float a = std::fabs(v);
    float result = a;
    for (int64_t i = 1; i < p; ++i) result *= a;
    return result;
  };
  std::fill_n(f32_out(y), planes * out_size, 0.0f);
  for (int64_t plane = 0; plane < planes; ++plane)
    for_taps(w, [&](const int64_t* tap, int64_t) {
      for_tap_rows(w, tap, [&](int64_t wide, int64_t narrow, int64_t n) {
        const float* in = f32(x) + plane * in_size + wide;
        for (int64_t j = 0; j < n; ++j) f32_out(y)[plane * out_size + narrow + j] += power(in[j * stride]);
      });
    });
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float root = 1 / float(p);
  if (p == 2)
    ctx.eltwise.unary(Unary::sqrt, f32_out(y), f32_out(y), size_t(y.count()), 0, 0);
  else if (p != 1)
    ctx.eltwise.binary(Binary::pow, f32_out(y), 1, &root, 0, f32_out(y), size_t(y.count()), -kInf, kInf);
  return {};
}

Inferred infer_lp_pool(const InferContext& ctx) {
  if (const int64_t p = int_attribute(ctx.node, "p", 2); p < 1 || p > 64)
    return fail(ctx.node, Code::unsupported, "a norm of order %lld", static_cast<long long>(p));
  return infer_pool(ctx);
}

Inferred infer_global_pool(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  TypeShape y = *ctx.inputs[0];
  if (y.shape.size() < 3) return misshapen(ctx, "an input of rank 3 or more is needed");
  std::fill(y.shape.begin() + 2, y.shape.end(), 1);
  return std::vector<TypeShape>{std::move(y)};
}

template <bool kMax>
Status eval_global_pool(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t planes = y.count(), n = planes ? x.count() / planes : 0;
  if (planes > 0 && n == 0) return fail(ctx.node, Code::invalid_argument, "the input is empty");
  for (int64_t i = 0; i < planes; ++i) {
    float lo, hi;
    if (kMax) ctx.eltwise.min_max(f32(x) + i * n, size_t(n), &lo, &hi);
    f32_out(y)[i] = kMax ? hi : ctx.eltwise.sum(f32(x) + i * n, size_t(n)) / float(n);
  }
  return {};
}

// ---- Gemm, MatMul

struct GemmShape {
  int64_t m, n, k;
  bool trans_a, trans_b;
};

GemmShape gemm_shape(const Node& node, const int64_t* a, const int64_t* b) {
  GemmShape g;
  g.trans_a = int_attribute(node, "transA", 0) != 0;
  g.trans_b = int_attribute(node, "transB", 0) != 0;
  g.m = a[g.trans_a ? 1 : 0];
  g.k = a[g.trans_a ? 0 : 1];
  g.n = b[g.trans_b ? 0 : 1];
  return g;
}

Inferred infer_gemm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, ctx.opset < 11 ? 3 : 2, 3); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape &a = ctx.inputs[0]->shape, &b = ctx.inputs[1]->shape;
  if (a.size() != 2 || b.size() != 2) return misshapen(ctx, "A and B must be matrices");
  const GemmShape g = gemm_shape(ctx.node, a.data(), b.data());
  if (b[g.trans_b ? 1 : 0] != g.k) return misshapen(ctx, "the inner dimensions of A and B differ");
  Shape y = {g.m, g.n};
  if (const TypeShape* c = input_of(ctx, 2)) {
    Shape wide;
    if (!broadcast_shapes(c->shape, y, wide) || wide != y) return misshapen(ctx, "C does not broadcast to the result");
  }
  return std::vector<TypeShape>{{DType::f32, std::move(y)}};
}

Status eval_gemm(const EvalContext& ctx) {
  const View &a = ctx.inputs[0], &b = ctx.inputs[1], c = view_of(ctx, 2), &y = ctx.outputs[0];
  const GemmShape g = gemm_shape(ctx.node, a.dims, b.dims);
  const float alpha = float_attribute(ctx.node, "alpha", 1), beta = float_attribute(ctx.node, "beta", 1);
  const int64_t a_row = g.trans_a ? 1 : g.k, a_step = g.trans_a ? g.m : 1, b_row = g.trans_b ? 1 : g.n, b_step = g.trans_b ? g.k : 1;
  const int64_t c_step = c.rank > 0 && c.dims[c.rank - 1] > 1 ? 1 : 0;
  const int64_t c_row = c.rank > 1 && c.dims[0] > 1 ? c.dims[1] : 0;
  for (int64_t i = 0; i < g.m; ++i) {
    float* out = f32_out(y) + i * g.n;
    std::fill_n(out, g.n, 0.0f);
    for (int64_t p = 0; p < g.k; ++p) {
      const float v = f32(a)[i * a_row + p * a_step];
      const float* row = f32(b) + p * b_row;
      for (int64_t j = 0; j < g.n; ++j) out[j] += v * row[j * b_step];
    }
    for (int64_t j = 0; j < g.n; ++j) {
      out[j] = alpha == 1 ? out[j] : out[j] * alpha;
      if (c.data) out[j] += (beta == 1 ? 1.0f : beta) * f32(c)[i * c_row + j * c_step];
    }
  }
  return {};
}

Inferred infer_matmul(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  const TypeShape &a = *ctx.inputs[0], &b = *ctx.inputs[1];
  if (a.dtype != DType::f32 && a.dtype != DType::s32 && a.dtype != DType::s64) return bad_type(ctx, 0);
  if (a.dtype != b.dtype) return misshapen(ctx, "types differ");
  Shape y;
  if (const char* why = matmul_shape(a.shape, b.shape, y)) return misshapen(ctx, why);
  return std::vector<TypeShape>{{a.dtype, std::move(y)}};
}

template <class T>
void matmul(const View& a, const View& b, const View& y) {
  using U = std::conditional_t<std::is_floating_point_v<T>, T, std::make_unsigned_t<std::conditional_t<std::is_floating_point_v<T>, int, T>>>;
  for_matrices(a, b, y, [&](int64_t a_offset, int64_t b_offset, int64_t y_offset, const MatMulShape& s) {
    const T* pa = static_cast<const T*>(a.data) + a_offset;
    const T* pb = static_cast<const T*>(b.data) + b_offset;
    T* py = static_cast<T*>(y.data) + y_offset;
    for (int64_t i = 0; i < s.m; ++i, py += s.n) {
      std::fill_n(py, s.n, T(0));
      for (int64_t p = 0; p < s.k; ++p) {
        const U v = U(pa[i * s.k + p]);
        for (int64_t j = 0; j < s.n; ++j) py[j] = T(U(py[j]) + v * U(pb[p * s.n + j]));
      }
    }
  });
}

Status eval_matmul(const EvalContext& ctx) {
  const View &a = ctx.inputs[0], &b = ctx.inputs[1], &y = ctx.outputs[0];
  if (a.dtype == DType::f32) matmul<float>(a, b, y);
  else if (a.dtype == DType::s32) matmul<int32_t>(a, b, y);
  else matmul<int64_t>(a, b, y);
  return {};
}

constexpr OpInfo kOps[] = {
    {"Conv", "", infer_conv<false>, eval_conv<false>},
    {"ConvTranspose", "", infer_conv<true>, eval_conv<true>},
    {"MaxPool", "", infer_pool, eval_max_pool},
    {"AveragePool", "", infer_pool, eval_average_pool},
    {"LpPool", "", infer_lp_pool, eval_lp_pool},
    {"GlobalAveragePool", "", infer_global_pool, eval_global_pool<false>},
    {"GlobalMaxPool", "", infer_global_pool, eval_global_pool<true>},
    {"Gemm", "", infer_gemm, eval_gemm},
    {"MatMul", "", infer_matmul, eval_matmul},
};

}  // namespace

std::span<const OpInfo> nn_ops() noexcept { return kOps; }

}  // namespace octavo::ops
