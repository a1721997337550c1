// THE loop of every vector brgemm: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j], int8 and f32.
//
// A kernel is a struct K that inherits a register vocabulary (x86/zmm.inl.h, x86/ymm.inl.h, arm/q.inl.h) and says how to
// multiply:
//   mr, nv                 the largest tile: mr rows, nv vectors of columns; nr = nv * lanes
//   kr, a_bytes            K values per column and dot instruction; bytes of one A element
//   Acc, B                 the types of an accumulator and of a vector of the panel
//   splits(vectors)        partial sums over K of a tile of so many accumulators: they hide latency where a tile is small,
//                          and are allowed where any order gives the same bits (integers)
//   Rows<M>, k_block       how A is read (by strides, or a copy in another shape) and for how many K at once
//   a(p), load_b(p)        kr values of A at p, in every column; a vector of the panel
//   dot(acc, a, b)         acc plus their products
//   dot_last(acc, a, b)    (or absent) the same of the last vector of columns
//   a_lanes                (4 or absent) a(p) holds this many groups of kr values, and dot<lane>(acc, a, b) multiplies by one
//   ready(x)               (or absent) turns all rows' x into what is multiplied
//   multiply(acc, rows, b, k)  (or absent) a loop of its own over one tap
//   Acc, finish(acc)       (if Acc is no vector) the sums over K in a vector; the seed is added there
//   Tail<M>                (if has_tail) the last values of M rows that fill no a(p), followed by zeros
#pragma once

#include "kernels/epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// The rows' values some bytes ahead.
template <class K, int M>
struct At {
  const typename K::template Rows<M>& rows;
  ptrdiff_t bytes;
  OCTAVO_INLINE auto operator()(int i) const { return K::a(rows[i] + bytes); }
};

// kr values of K: acc += A[M][kr] * B[kr][NV], where a(i) gives row i.
template <class K, int M, int NV, class A>
OCTAVO_INLINE void step(typename K::Acc (&acc)[M][NV], const A& a, const char* b) {
  typename K::B w[NV];
  OCTAVO_UNROLL
  for (int v = 0; v < NV; ++v) {
    w[v] = K::load_b(b + v * K::vector_bytes);
    if constexpr (M > 1) K::keep(w[v]);  // one load for all rows, not an operand in memory for each
  }
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    const auto x = a(i);
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      if constexpr (requires { K::dot_last(acc[i][v], x, w[v]); }) {
        acc[i][v] = v == NV - 1 ? K::dot_last(acc[i][v], x, w[v]) : K::dot(acc[i][v], x, w[v]);
      } else {
        acc[i][v] = K::dot(acc[i][v], x, w[v]);
      }
    }
  }
}

// The same where x holds a_lanes groups of kr values of each row. Loads of B are few: they need no registers to come early.
template <class K, int Lane, int M, int NV, class A>
OCTAVO_INLINE void lane_step(typename K::Acc (&acc)[M][NV], A (&x)[M], const char* b) {
  OCTAVO_UNROLL
  for (int v = 0; v < NV; ++v) {
    asm volatile("" : : : "memory");
    const typename K::B w = K::load_b(b + (Lane * K::nv + v) * K::vector_bytes);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) acc[i][v] = K::template dot<Lane>(acc[i][v], x[i], w);
  }
}

template <class K, int M, class A>
OCTAVO_INLINE void load_rows(typename K::A (&x)[M], const A& a) {
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) x[i] = a(i);
  if constexpr (requires { K::ready(x); }) K::ready(x);
}

// k values of one tap, a_lanes * kr at a time.
template <class K, int M, int NV, int S>
OCTAVO_INLINE void multiply_by_lane(typename K::Acc (&acc)[S][M][NV], typename K::template Rows<M>& rows, const char* b,
                                    int64_t k) {
  static_assert(K::a_lanes == 4 && S <= 2);
  constexpr int kBlock = K::a_lanes * K::kr;
  for (int64_t steps = k / kBlock; steps > 0; --steps) {
    typename K::A x[M];
    load_rows<K>(x, At<K, M>{rows, 0});
    lane_step<K, 0>(acc[0], x, b);
    lane_step<K, 1>(acc[S - 1], x, b);
    lane_step<K, 2>(acc[0], x, b);
    lane_step<K, 3>(acc[S - 1], x, b);
    rows.advance(K::a_step);
    b += K::a_lanes * K::nv * K::vector_bytes;
  }
  const int rest = int(k % kBlock);
  if (rest == 0) return;
  typename K::A x[M];
  load_rows<K>(x, typename K::template Tail<M>{{rows, rest * K::a_bytes}});
  lane_step<K, 0>(acc[0], x, b);
  if (rest > K::kr) lane_step<K, 1>(acc[S - 1], x, b);
  if (rest > 2 * K::kr) lane_step<K, 2>(acc[0], x, b);
  if constexpr (K::kr > 1) {
    if (rest > 3 * K::kr) lane_step<K, 3>(acc[S - 1], x, b);
  }
}

// k values of one tap.
template <class K, int M, int NV, int S>
OCTAVO_INLINE void multiply(typename K::Acc (&acc)[S][M][NV], typename K::template Rows<M>& rows, const char* b, int64_t k) {
  constexpr ptrdiff_t a_step = K::a_step, b_step = K::nv * K::vector_bytes;
  int64_t steps = K::steps(k);
  if constexpr (S > 1) {
    for (; steps >= S; steps -= S) {
      OCTAVO_UNROLL
      for (int u = 0; u < S; ++u) {
        step<K, M, NV>(acc[u], At<K, M>{rows, u * a_step}, b + u * b_step);
        asm volatile("" : : : "memory");  // the next step's loads stay behind this one: there is no register for them
      }
      rows.advance(S * a_step);
      b += S * b_step;
    }
  }
  for (; steps > 0; --steps) {
    asm("" : "+r"(steps));  // GCC would rather spill this than what the loops around it need
    step<K, M, NV>(acc[0], At<K, M>{rows, 0}, b);
    rows.advance(a_step);
    b += b_step;
  }
  if constexpr (K::has_tail) {
    const int rest = int(k % K::kr);
    if (rest) step<K, M, NV>(acc[0], typename K::template Tail<M>{{rows, rest}}, b);
  }
}

template <class K>
constexpr bool kReduces = requires(typename K::Acc acc) { K::finish(acc); };

// The bias of each column, or 0.
template <class K, int NV, class Sum>
OCTAVO_INLINE void load_seeds(Sum (&seeds)[NV], const BrgemmArgs& g, const typename K::Part& part, int live) {
  [[maybe_unused]] int32_t magic = 0;
  if constexpr (requires { K::kMagic; }) magic = is_seeded(*g.epi) ? K::kMagicBits : 0;
  OCTAVO_UNROLL
  for (int v = 0; v < NV; ++v) {
    if constexpr (K::a_bytes == 1) {
      seeds[v] = K::splat(0);
      if (g.epi->bias) {
        const int32_t* bias = g.epi->bias + v * K::lanes;
        seeds[v] = v == NV - 1 && live < K::lanes ? K::load(bias, part) : K::load(bias);
      }
      if constexpr (requires { K::kMagic; }) {
        seeds[v] = K::add(seeds[v], K::splat(magic));
        K::keep(seeds[v]);
      }
    } else {
      seeds[v] = K::zero();
    }
  }
}

// All taps of M rows, the first of which is a_offset bytes behind g.a[t].
template <class K, int M, int NV, int S>
OCTAVO_INLINE void multiply_taps(typename K::Acc (&acc)[S][M][NV], const BrgemmArgs& g, ptrdiff_t a_offset) {
  const char* b = static_cast<const char*>(g.b);
  [[maybe_unused]] typename K::template Rows<M>::Scratch scratch;
  for (int64_t t = 0; t < g.batch; ++t) {
    asm volatile("" : : : "memory");  // GCC would keep all fields of g in registers, and spill what the loop over K needs
    if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t];
    const char* a = static_cast<const char*>(g.a[t]) + a_offset;
    for (int64_t left = g.k; left > 0; left -= K::k_block) {
      const int64_t k = left < K::k_block ? left : K::k_block;
      typename K::template Rows<M> rows(a, g.a_stride_bytes, k, scratch);
      if constexpr (requires { K::multiply(acc[0], rows, b, k); }) {
        K::multiply(acc[0], rows, b, k);
      } else if constexpr (requires { K::a_lanes; }) {
        multiply_by_lane<K, M, NV, S>(acc, rows, b, k);
      } else {
        multiply<K, M, NV, S>(acc, rows, b, k);
      }
      a += k * K::a_bytes;
      b += (k + K::kr - 1) / K::kr * (K::nv * K::vector_bytes);
    }
  }
}

// Rows of C that are written once a sum is done are on their way meanwhile (BrgemmArgs::far_c): a core looks ahead over few stores.
template <int M, int Bytes>
OCTAVO_INLINE void expect_rows(const char* c, ptrdiff_t stride) {
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i, c += stride) {
    OCTAVO_UNROLL
    for (int line = 0; line < Bytes; line += 64) __builtin_prefetch(c + line, 1);
  }
}

// The epilogue's branches each get the sums where they are: GCC would move and spill them ahead of the branches.
template <class K, int M, int NV, class Sum>
OCTAVO_INLINE void output(const BrgemmArgs& g, int row, const typename K::Part& part, int live, Sum (&sums)[M][NV]) {
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) K::keep(sums[i][v]);
  }
  char* c = static_cast<char*>(g.c) + row * g.c_stride_bytes;
  const auto run = [&]<class Out>(const Out& epilogue) OCTAVO_LAMBDA {
    const char* residual = nullptr;
    if constexpr (Out::residual) residual = static_cast<const char*>(g.epi->residual) + row * g.epi->residual_stride_bytes;
    epilogue(sums, c, residual);
  };
  live == K::lanes ? with_epilogue<K, NV, true>(g, part, run) : with_epilogue<K, NV, false>(g, part, run);
}

// Rows [row, row + M) of a call.
template <class K, int M, int NV>
[[gnu::noinline]] void tile(const BrgemmArgs& g, int row) {
  constexpr int S = K::splits(M * NV);
  const int live = g.n - (NV - 1) * K::lanes;  // columns of the last vector
  const typename K::Part part(live);
  typename K::Acc acc[S][M][NV];
  if constexpr (kReduces<K>) {
    static_assert(S == 1 && K::a_bytes == 1);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) acc[0][i][v] = K::zero();
    }
    multiply_taps<K, M, NV, S>(acc, g, row * g.a_stride_bytes);
    typename K::I bias[NV], sums[M][NV];
    load_seeds<K>(bias, g, part, live);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) sums[i][v] = K::add(K::finish(acc[0][i][v]), bias[v]);
    }
    return output<K>(g, row, part, live, sums);
  } else {
    typename K::Acc seeds[NV];
    load_seeds<K>(seeds, g, part, live);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) {
        acc[0][i][v] = seeds[v];
        OCTAVO_UNROLL
        for (int u = 1; u < S; ++u) acc[u][i][v] = K::zero();
      }
    }
    if (g.far_c && (K::a_bytes == 4 || g.epi->out == DType::s32 || g.epi->out == DType::f32))
      expect_rows<M, NV * K::vector_bytes>(static_cast<char*>(g.c) + row * g.c_stride_bytes, g.c_stride_bytes);
    multiply_taps<K, M, NV, S>(acc, g, row * g.a_stride_bytes);
    if constexpr (S > 1) {
      OCTAVO_UNROLL
      for (int u = 1; u < S; ++u) {
        OCTAVO_UNROLL
        for (int i = 0; i < M; ++i) {
          OCTAVO_UNROLL
          for (int v = 0; v < NV; ++v) acc[0][i][v] = K::add(acc[0][i][v], acc[u][i][v]);
        }
      }
    }
    output<K>(g, row, part, live, acc[0]);
  }
}

template <class K, int M, int NV = K::nv>
OCTAVO_INLINE void columns(const BrgemmArgs& g) {
  if constexpr (NV > 1) {
    if (g.n <= (NV - 1) * K::lanes) return columns<K, M, NV - 1>(g);
  }
  tile<K, M, NV>(g, 0);
}

// Full tiles are the common case, so the largest m comes first.
template <class K, int M = K::mr>
OCTAVO_INLINE void brgemm(const BrgemmArgs& g) {
  if constexpr (M > 1) {
    if (g.m < M) return brgemm<K, M - 1>(g);
  }
  columns<K, M>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
