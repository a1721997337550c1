// Reductions over axes, ArgMax and ArgMin, Softmax.
#include <limits>
#include <vector>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

enum class Reduce { sum, mean, max, min, prod, sum_square, l1, l2, log_sum, log_sum_exp };

// ---- Reduce*: axes are an attribute, or an input (ReduceSum from opset 13, the others from 18)

template <class Context>
Status read_axes(const Context& ctx, int rank, bool (&reduced)[kMaxRank]) {
  Ints axes;
  bool present;
  if (Status s = read_ints(ctx, "axes", 1, axes, present); !s.ok()) return s;
  const bool all = axes.n == 0 && int_attribute(ctx.node, "noop_with_empty_axes", 0) == 0;
  std::fill_n(reduced, kMaxRank, all);
  for (int64_t axis : axes) {
    if (!normalize_axis(axis, rank)) return fail(ctx.node, Code::invalid_argument, "axis %lld is out of range", static_cast<long long>(axis));
    reduced[axis] = true;
  }
  return {};
}

Shape reduced_shape(const InferContext& ctx, const bool (&reduced)[kMaxRank]) {
  const bool keep = int_attribute(ctx.node, "keepdims", 1) != 0;
  Shape shape;
  for (size_t d = 0; d < ctx.inputs[0]->shape.size(); ++d) {
    if (!reduced[d]) shape.push_back(ctx.inputs[0]->shape[d]);
    else if (keep) shape.push_back(1);
  }
  return shape;
}

template <Reduce kOp>
Inferred infer_reduce(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 2); !s.ok()) return s;
  const DType dtype = ctx.inputs[0]->dtype;
  constexpr bool kFloatOnly = kOp == Reduce::l2 || kOp == Reduce::log_sum || kOp == Reduce::log_sum_exp;
  if (dtype == DType::f64 || (kFloatOnly && dtype != DType::f32)) return bad_type(ctx, 0);
  bool reduced[kMaxRank];
  if (Status s = read_axes(ctx, int(ctx.inputs[0]->shape.size()), reduced); !s.ok()) return s;
  return std::vector<TypeShape>{{dtype, reduced_shape(ctx, reduced)}};
}

// Walks the kept elements: f(output index, offset); `inner` then walks the reduced elements from that offset.
struct ReducePlan {
  int kept_rank = 0, reduced_rank = 0;
  int64_t kept[kMaxRank], kept_stride[kMaxRank], dims[kMaxRank], stride[kMaxRank];
  int64_t kept_count = 1, count = 1;

  ReducePlan(const View& x, const bool (&reduced)[kMaxRank]) {
    int64_t strides[kMaxRank], n = 1;
    for (int d = x.rank - 1; d >= 0; --d) {
      strides[d] = n;
      n *= x.dims[d];
    }
    for (int d = 0; d < x.rank; ++d) {
      if (!reduced[d]) {
        kept_count *= x.dims[d];
        append(kept, kept_stride, kept_rank, x.dims[d], strides[d]);
      } else {
        count *= x.dims[d];
        append(dims, stride, reduced_rank, x.dims[d], strides[d]);
      }
    }
  }

  // Merges dimensions that lie densely behind each other.
  static void append(int64_t* sizes, int64_t* steps, int& rank, int64_t size, int64_t step) {
    if (rank > 0 && steps[rank - 1] == size * step) {
      sizes[rank - 1] *= size;
      steps[rank - 1] = step;
    } else {
      sizes[rank] = size;
      steps[rank++] = step;
    }
  }

  template <class F>
  static void walk(const int64_t* sizes, const int64_t* steps, int rank, int64_t total, F&& f) {
    int64_t index[kMaxRank] = {}, offset = 0;
    for (int64_t i = 0; i < total; ++i) {
      f(i, offset);
      for (int d = rank - 1; d >= 0; --d) {
        offset += steps[d];
        if (++index[d] < sizes[d]) break;
        offset -= steps[d] * sizes[d];
        index[d] = 0;
      }
    }
  }
  template <class F>
  void for_kept(F&& f) const { walk(kept, kept_stride, kept_rank, kept_count, f); }
  template <class F>
  void for_reduced(int64_t base, F&& f) const {
    walk(dims, stride, reduced_rank, count, [&](int64_t, int64_t offset) { f(base + offset); });
  }
};

// One output in integers: wraps as int64.
template <Reduce kOp, class T>
T reduce_integers(const T* x, const ReducePlan& plan, int64_t base) {
  uint64_t sum = kOp == Reduce::prod ? 1 : 0;
  T best = kOp == Reduce::max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
  plan.for_reduced(base, [&](int64_t i) {
    const T v = x[i];
    if constexpr (kOp == Reduce::max) best = std::max(best, v);
    if constexpr (kOp == Reduce::min) best = std::min(best, v);
    if constexpr (kOp == Reduce::prod) sum *= uint64_t(v);
    if constexpr (kOp == Reduce::sum || kOp == Reduce::mean) sum += uint64_t(v);
    if constexpr (kOp == Reduce::sum_square) sum += uint64_t(v) * uint64_t(v);
    if constexpr (kOp == Reduce::l1) sum += v < T(0) ? uint64_t(0) - uint64_t(v) : uint64_t(v);
  });
  if constexpr (kOp == Reduce::max || kOp == Reduce::min) return best;
  if constexpr (kOp == Reduce::mean) return plan.count ? T(int64_t(sum) / plan.count) : T(0);
  return T(sum);
}

// One output in f32. Contiguous rows take the 16-lane sum; all else is summed in order, in double.
template <Reduce kOp>
float reduce_floats(const EltwiseKernels& eltwise, const float* x, const ReducePlan& plan, int64_t base) {
  const bool row = plan.reduced_rank == 1 && plan.stride[0] == 1;
  if constexpr (kOp == Reduce::max || kOp == Reduce::min) {
    float best = kOp == Reduce::max ? -kInf : kInf;
    plan.for_reduced(base, [&](int64_t i) {
      if (kOp == Reduce::max ? x[i] > best : x[i] < best) best = x[i];
      if (x[i] != x[i]) best = x[i];
    });
    return best;
  }
  if constexpr (kOp == Reduce::sum || kOp == Reduce::mean)
    if (row) return eltwise.sum(x + base, size_t(plan.count)) / (kOp == Reduce::mean ? float(plan.count) : 1.0f);
  if constexpr (kOp == Reduce::log_sum_exp) {
    const float max = reduce_floats<Reduce::max>(eltwise, x, plan, base);
    if (!(max - max == 0)) return max;  // an infinity or NaN is the answer
    double sum = 0;
    plan.for_reduced(base, [&](int64_t i) {
      const float shifted = x[i] - max;
      float e;
      eltwise.unary(Unary::exp, &shifted, &e, 1, 0, 0);
      sum += double(e);
    });
    const float total = float(sum);
    float log;
    eltwise.unary(Unary::log, &total, &log, 1, 0, 0);
    return max + log;
  }
  double sum = kOp == Reduce::prod ? 1 : 0;
  plan.for_reduced(base, [&](int64_t i) {
    const double v = double(x[i]);
    if constexpr (kOp == Reduce::prod) sum *= v;
    else if constexpr (kOp == Reduce::l1) sum += v < 0 ? -v : v;
    else if constexpr (kOp == Reduce::l2 || kOp == Reduce::sum_square) sum += v * v;
    else sum += v;
  });
  if constexpr (kOp == Reduce::mean) sum /= double(plan.count);
  float result = float(sum);
  if constexpr (kOp == Reduce::l2) eltwise.unary(Unary::sqrt, &result, &result, 1, 0, 0);
  if constexpr (kOp == Reduce::log_sum) eltwise.unary(Unary::log, &result, &result, 1, 0, 0);
  return result;
}

// Where neighbouring outputs read neighbouring inputs, some of them at a time; each still is summed in order, in double.
template <Reduce kOp>
void reduce_columns(const EltwiseKernels& eltwise, const float* x, const ReducePlan& plan, float* y) {
  constexpr int64_t kBlock = 256;
  const int64_t n = plan.kept[plan.kept_rank - 1];  // more than 1
  ReducePlan::walk(plan.kept, plan.kept_stride, plan.kept_rank - 1, plan.kept_count / n, [&](int64_t row, int64_t base) {
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      float* out = y + row * n + first;
      if constexpr (kOp == Reduce::max || kOp == Reduce::min) {
        std::fill_n(out, count, kOp == Reduce::max ? -kInf : kInf);
        plan.for_reduced(base + first, [&](int64_t i) {
          eltwise.binary(kOp == Reduce::max ? Binary::max : Binary::min, x + i, 1, out, 1, out, size_t(count), -kInf, kInf);
        });
      } else {
        double sum[kBlock] = {};
        plan.for_reduced(base + first, [&](int64_t i) {
          for (int64_t j = 0; j < count; ++j) sum[j] += double(x[i + j]);
        });
        for (int64_t j = 0; j < count; ++j) out[j] = float(kOp == Reduce::mean ? sum[j] / double(plan.count) : sum[j]);
      }
    }
  });
}

template <Reduce kOp>
Status eval_reduce(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  bool reduced[kMaxRank];
  if (Status s = read_axes(ctx, x.rank, reduced); !s.ok()) return s;
  const ReducePlan plan(x, reduced);
  if (plan.kept_count != y.count()) return fail(ctx.node, Code::invalid_argument, "the axes are not those that the shapes were inferred from");
  if (x.dtype == DType::f32) {
    if constexpr (kOp == Reduce::max || kOp == Reduce::min || kOp == Reduce::sum || kOp == Reduce::mean)
      if (plan.kept_rank > 0 && plan.kept_stride[plan.kept_rank - 1] == 1 && plan.kept[plan.kept_rank - 1] > 1) {
        reduce_columns<kOp>(ctx.eltwise, static_cast<const float*>(x.data), plan, static_cast<float*>(y.data));
        return {};
      }
    plan.for_kept([&](int64_t i, int64_t base) {
      static_cast<float*>(y.data)[i] = reduce_floats<kOp>(ctx.eltwise, static_cast<const float*>(x.data), plan, base);
    });
    return {};
  }
  if constexpr (kOp != Reduce::l2 && kOp != Reduce::log_sum && kOp != Reduce::log_sum_exp) {
    visit(x.dtype, [&](auto type) {
      using T = decltype(type);
      if constexpr (!std::is_floating_point_v<T>)
        plan.for_kept([&](int64_t i, int64_t base) {
          static_cast<T*>(y.data)[i] = reduce_integers<kOp, T>(static_cast<const T*>(x.data), plan, base);
        });
    });
  }
  return {};
}

// ---- ArgMax, ArgMin

Inferred infer_arg(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  if (!normalize_axis(axis, int64_t(in.size()))) return misshapen(ctx, "the axis is out of range");
  if (in[size_t(axis)] == 0) return misshapen(ctx, "the dimension is empty");
  bool reduced[kMaxRank] = {};
  reduced[axis] = true;
  return std::vector<TypeShape>{{DType::s64, reduced_shape(ctx, reduced)}};
}

template <bool kMax>
Status eval_arg(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  normalize_axis(axis, x.rank);
  const bool last = int_attribute(ctx.node, "select_last_index", 0) != 0;
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= x.dims[d];
  for (int d = int(axis) + 1; d < x.rank; ++d) inner *= x.dims[d];
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* in = static_cast<const T*>(x.data) + o * x.dims[axis] * inner + i;
        int64_t best = 0;
        for (int64_t k = 1; k < x.dims[axis]; ++k) {
          const T v = in[k * inner], b = in[best * inner];
          if ((kMax ? v > b : v < b) || (last && v == b)) best = k;
        }
        static_cast<int64_t*>(y.data)[o * inner + i] = best;
      }
    }
  });
  return {};
}

// ---- Softmax, LogSoftmax: before opset 13 over all dimensions from `axis` on (default 1), later over one (default -1)

Inferred infer_softmax(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
  const int64_t rank = int64_t(ctx.inputs[0]->shape.size());
  int64_t axis = int_attribute(ctx.node, "axis", ctx.opset < 13 ? 1 : -1);
  if (!normalize_axis(axis, rank) && !(ctx.opset < 13 && axis == rank)) return misshapen(ctx, "the axis is out of range");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

// Applies f to rows of n; rows that are not contiguous are walked in place through `stride`.
template <bool kLog>
Status eval_softmax(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", ctx.opset < 13 ? 1 : -1);
  if (axis < 0) axis += x.rank;
  int64_t outer = 1, n = 1, inner = 1;
  for (int d = 0; d < x.rank; ++d) {
    if (d < axis) outer *= x.dims[d];
    else if (d == axis || ctx.opset < 13) n *= x.dims[d];
    else inner *= x.dims[d];
  }
  if (n == 0) return {};
  const auto unary = [&](Unary op, float v) {
    float result;
    ctx.eltwise.unary(op, &v, &result, 1, 0, 0);
    return result;
  };
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      const float* in = static_cast<const float*>(x.data) + o * n * inner + i;
      float* out = static_cast<float*>(y.data) + o * n * inner + i;
      if (!kLog && inner == 1) {
        ctx.eltwise.softmax(in, out, size_t(n));
        continue;
      }
      float max = -kInf;
      for (int64_t k = 0; k < n; ++k) max = std::max(max, in[k * inner]);
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        const float e = unary(Unary::exp, in[k * inner] - max);
        sum += double(e);
        if (!kLog) out[k * inner] = e;
      }
      const float total = float(sum), log = kLog ? unary(Unary::log, total) : 0;
      for (int64_t k = 0; k < n; ++k) out[k * inner] = kLog ? in[k * inner] - max - log : out[k * inner] / total;
    }
  }
  return {};
}

constexpr OpInfo kOps[] = {
    {"ReduceSum", "", infer_reduce<Reduce::sum>, eval_reduce<Reduce::sum>, 0b10},
    {"ReduceMean", "", infer_reduce<Reduce::mean>, eval_reduce<Reduce::mean>, 0b10},
    {"ReduceMax", "", infer_reduce<Reduce::max>, eval_reduce<Reduce::max>, 0b10},
    {"ReduceMin", "", infer_reduce<Reduce::min>, eval_reduce<Reduce::min>, 0b10},
    {"ReduceProd", "", infer_reduce<Reduce::prod>, eval_reduce<Reduce::prod>, 0b10},
    {"ReduceSumSquare", "", infer_reduce<Reduce::sum_square>, eval_reduce<Reduce::sum_square>, 0b10},
    {"ReduceL1", "", infer_reduce<Reduce::l1>, eval_reduce<Reduce::l1>, 0b10},
    {"ReduceL2", "", infer_reduce<Reduce::l2>, eval_reduce<Reduce::l2>, 0b10},
    {"ReduceLogSum", "", infer_reduce<Reduce::log_sum>, eval_reduce<Reduce::log_sum>, 0b10},
    {"ReduceLogSumExp", "", infer_reduce<Reduce::log_sum_exp>, eval_reduce<Reduce::log_sum_exp>, 0b10},
    {"ArgMax", "", infer_arg, eval_arg<true>},
    {"ArgMin", "", infer_arg, eval_arg<false>},
    {"Softmax", "", infer_softmax, eval_softmax<false>},
    {"LogSoftmax", "", infer_softmax, eval_softmax<true>},
};

}  // namespace

std::span<const OpInfo> reduce_ops() noexcept { return kOps; }

}  // namespace octavo::ops
