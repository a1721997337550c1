// Grouped convolutions of floats on AVX2, few channels a group: acc[i][j] = sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// Vectors of columns, of one or of several groups; the values of a row of A are spread over their groups' columns.
#pragma once

#include "kernels/columns.inl.h"
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/groups.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kFloatRows = 8, kFloatPanel = 16;
static_assert(kFloatRows + 2 + 1 + 2 + 1 <= 16, "accumulators, B, A, a permutation, its step, a mask");

struct GroupedFma : Fma<Ymm, kFloatRows> {
  static constexpr bool rereads = true;  // for_group()
};

// What the columns of a vector multiply: one value for all; values of their own 16 bytes of a row; any of the first eight.
enum class Floats { one, near, any };

template <Floats S>
class GroupFloats {
 public:
  explicit OCTAVO_INLINE GroupFloats(const BrgemmArgs& g) {
    int32_t first[Ymm::lanes];
    for (int j = 0; j < Ymm::lanes; ++j) first[j] = S == Floats::near ? j & -g.group_n : int32_t(j / g.group_n * g.k);
    first_ = Ymm::load(first);
    mask_ = Ymm::Part(int(((g.n < Ymm::lanes ? g.n : Ymm::lanes) + g.group_n - 1) / g.group_n * g.k)).mask;
  }
  __m256i first() const { return first_; }  // for each column the first value of its group; the next is 1 more
  OCTAVO_INLINE __m256 operator()(const char* p, __m256i which) const {
    const float* a = reinterpret_cast<const float*>(p);
    if constexpr (S == Floats::one) return _mm256_broadcast_ss(a);
    if constexpr (S == Floats::near) return _mm256_permutevar_ps(_mm256_loadu_ps(a), which);  // the lowest two bits count
    return _mm256_permutevar8x32_ps(_mm256_maskload_ps(a, mask_), which);
  }

 private:
  __m256i first_, mask_;
};

// The products of M rows, the first of which is a_offset bytes behind g.a[t], with the panel's columns from byte `column` of a step on.
template <Floats S, class K, int M, int NV>
OCTAVO_INLINE void multiply_floats(__m256 (&acc)[M][NV], const BrgemmArgs& g, const GroupFloats<S>& spread, ptrdiff_t a_offset,
                                   ptrdiff_t column) {
  const ptrdiff_t next = Ymm::lanes / g.group_n * g.k * 4;  // what the next vector multiplies
  const char* b = static_cast<const char*>(g.b) + column;
  for (int64_t t = 0; t < g.batch; ++t) {
    if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t] + column;
    const char* first = static_cast<const char*>(g.a[t]) + a_offset;
    const GroupFloats<S>* from = &spread;
    asm volatile("" : "+r"(from));  // read for each tap: a register less
    __m256i which = from->first();
    for (int64_t k = g.k; k > 0; --k, b += 4 * kFloatPanel) {
      __m256 w[NV];
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) {
        w[v] = K::load_b(b + v * K::vector_bytes);
        if constexpr (M > 2) K::keep(w[v]);  // once for all rows; of two GCC would keep it on the stack
      }
      const char* a = first;
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i, a += g.a_stride_bytes) {
        asm volatile("" : "+r"(a));  // one pointer walks over the rows: GCC would keep several, and spill them
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) acc[i][v] = K::dot(acc[i][v], spread(a + v * next, which), w[v]);
      }
      which = _mm256_add_epi32(which, _mm256_set1_epi32(1));
      if (S == Floats::one) first += 4;
    }
  }
}

// Groups of M rows, what is left over in groups of half as many.
template <Floats S, int NV, int M = kFloatRows / NV>
OCTAVO_INLINE void float_rows(const BrgemmArgs& g, const GroupFloats<S>& spread, ptrdiff_t a_offset, ptrdiff_t column, int row = 0) {
  using K = GroupedFma;
  const int groups = (g.m - row) / M;
  if (groups)
    row_groups<K, M, NV>(g, row, groups, [&g, &spread, row, a_offset, column](__m256 (&acc)[M][NV], int i) OCTAVO_LAMBDA {
      multiply_floats<S, K, M, NV>(acc, g, spread, a_offset + (row + i * M) * g.a_stride_bytes, column);
    });
  if constexpr (M > 1) float_rows<S, NV, M / 2>(g, spread, a_offset, column, row + groups * M);
}

template <Floats S>
OCTAVO_INLINE void float_block(const BrgemmArgs& g, ptrdiff_t a_offset, ptrdiff_t column) {
  const GroupFloats<S> spread(g);
  g.n > Ymm::lanes ? float_rows<S, 2>(g, spread, a_offset, column) : float_rows<S, 1>(g, spread, a_offset, column);
}

// Two vectors of columns at a time, or one; a part of one is by itself.
OCTAVO_INLINE void grouped_floats(const BrgemmArgs& g) {
  for (int column = 0, n; column < g.n; column += n) {
    n = g.n - column >= 2 * Ymm::lanes ? 2 * Ymm::lanes : g.n - column >= Ymm::lanes ? Ymm::lanes : g.n - column;
    const SomeColumns some(g, column, n);
    const ptrdiff_t a_offset = column / g.group_n * g.k * 4;
    if (g.group_n >= Ymm::lanes) {
      float_block<Floats::one>(some.args(), a_offset, column * 4);
    } else if (g.k == g.group_n && n >= Ymm::lanes) {
      float_block<Floats::near>(some.args(), a_offset, column * 4);
    } else {
      float_block<Floats::any>(some.args(), a_offset, column * 4);
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
