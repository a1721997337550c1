// Shapes of convolutions and matrix products, in float and in integers.
#pragma once

#include "ops/window.h"

namespace octavo::ops {

// Channels and groups of a convolution with input x and weights w ([M, C/g, k...]; transposed: [C, M/g, k...]).
struct ConvShape {
  int64_t batch, in_channels, out_channels, groups;
  Window window;
};

inline Status conv_shape(const Node& node, const int64_t* x, int x_rank, const int64_t* w, int w_rank, bool transposed, ConvShape& c) {
  c.groups = int_attribute(node, "group", 1);
  if (x_rank < 3 || w_rank != x_rank) return fail(node, Code::invalid_argument, "input and weights need the same rank of at least 3");
  c.batch = x[0];
  c.in_channels = x[1];
  const bool fits = c.groups > 0 && (transposed ? w[0] == x[1] && x[1] % c.groups == 0 && w[1] <= (int64_t(1) << 40) / c.groups
                                                : x[1] % c.groups == 0 && w[1] == x[1] / c.groups && w[0] % c.groups == 0);
  if (!fits)
    return fail(node, Code::invalid_argument, "%lld input channels in %lld groups do not fit weights of %lld x %lld",
                static_cast<long long>(x[1]), static_cast<long long>(c.groups), static_cast<long long>(w[0]), static_cast<long long>(w[1]));
  c.out_channels = transposed ? w[1] * c.groups : w[0];
  c.window.rank = x_rank - 2;
  const auto* kernel = attribute<std::vector<int64_t>>(node, "kernel_shape");
  if (kernel && !std::equal(kernel->begin(), kernel->end(), w + 2, w + w_rank))
    return fail(node, Code::invalid_argument, "kernel_shape differs from the weights' shape");
  std::copy_n(w + 2, c.window.rank, c.window.kernel);
  std::copy_n(x + 2, c.window.rank, transposed ? c.window.narrow : c.window.wide);
  return transposed ? resolve_transposed_window(node, c.window) : resolve_window(node, false, c.window);
}

// The shapes with vectors as matrices: a [1, k], b [k, 1].
struct MatMulOperand {
  int64_t dims[kMaxRank];
  int rank;
};
inline MatMulOperand as_matrix(const int64_t* dims, int rank, bool left) {
  MatMulOperand m = {{}, std::max(rank, 2)};
  if (rank == 1) {
    m.dims[0] = left ? 1 : dims[0];
    m.dims[1] = left ? dims[0] : 1;
  } else {
    std::copy_n(dims, rank, m.dims);
  }
  return m;
}

// The batch dimensions of a matrix operand as a view, for broadcasting whole matrices.
inline View batch_view(const MatMulOperand& m) {
  View v;
  v.rank = m.rank - 2;
  std::copy_n(m.dims, v.rank, v.dims);
  return v;
}

// Null, or why a and b have no product.
inline const char* matmul_shape(const Shape& a, const Shape& b, Shape& y) {
  if (a.empty() || b.empty()) return "scalars have no matrix product";
  const MatMulOperand ma = as_matrix(a.data(), int(a.size()), true), mb = as_matrix(b.data(), int(b.size()), false);
  if (ma.dims[ma.rank - 1] != mb.dims[mb.rank - 2]) return "the inner dimensions differ";
  if (!broadcast_shapes(Shape(ma.dims, ma.dims + ma.rank - 2), Shape(mb.dims, mb.dims + mb.rank - 2), y))
    return "the batch dimensions do not broadcast";
  if (a.size() > 1) y.push_back(ma.dims[ma.rank - 2]);
  if (b.size() > 1) y.push_back(mb.dims[mb.rank - 1]);
  return nullptr;
}

struct MatMulShape {
  int64_t m, k, n;
};

// f(offsets of a, b and y, shape) for each pair of matrices [m, k] and [k, n].
template <class F>
void for_matrices(const View& a, const View& b, const View& y, F&& f) {
  const MatMulOperand ma = as_matrix(a.dims, a.rank, true), mb = as_matrix(b.dims, b.rank, false);
  const MatMulShape s = {ma.dims[ma.rank - 2], ma.dims[ma.rank - 1], mb.dims[mb.rank - 1]};
  const View inputs[] = {batch_view(ma), batch_view(mb)};
  View batches;
  batches.rank = std::max(inputs[0].rank, inputs[1].rank);
  std::copy_n(y.dims, batches.rank, batches.dims);
  BroadcastLoop<2>(batches, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t count, const int64_t(&step)[2]) {
    for (int64_t i = 0; i < count; ++i)
      f((in[0] + i * step[0]) * s.m * s.k, (in[1] + i * step[1]) * s.k * s.n, (out + i) * s.m * s.n, s);
  });
}

}  // namespace octavo::ops
