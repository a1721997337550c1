// grouped_{u8s8,s8s8}_avx2_240x32x4, grouped_f32f32_avx2_240x16x1: few channels a group, vectors of columns of one or of two groups
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// A: four bytes of a group for each of its columns, by a broadcast; a shuffle makes words of two of them. f32: grouped_floats.inl.h
// B: [k/4][32][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31; shifts make words of two of them
//    f32: [k][16]
// C: s32, f32, u8, s8, in blocks of 4x16 (f32: also 8x8); columns beyond n by masked and by piecewise moves
// Registers, of 16: 4 x 2 accumulators, 2 of B, 1 of A, its words, a product, a shuffle, and for s8s8 the constant 0x80
//   f32: 4 x 2 accumulators, 2 of B, 1 of A, a permutation, its step, a mask
// Needs AVX2, FMA. vpmaddwd of words below 2^8 is exact
// Measured: Zen 3, 2026-11-27, GCC 12, whole 3x3 convolutions, u8, against 32 channels at a time with zeros between the groups:
//   56x56x128, 4 channels a group, 3.7 times as fast; 28x28x256, 8 a group, 2.2; 14x14x512, 16 a group, 1.2
//   f32, 2026-11-28, against a call for each group: 56x56x128, 4 a group, 2.4 times as fast; 28x28x64, 2 a group, 5.0; 28x28x256, 8 a
//   group, 1.15
#include "kernels/x86/grouped_floats.inl.h"
#include "kernels/x86/groups.inl.h"
#include "kernels/x86/signs.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kRowsAtOnce = 4, kPanel = 32;
static_assert(kRowsAtOnce * 2 + 2 + 1 + 1 + 1 + 1 + 1 <= 16, "accumulators, B, A, its words, a product, a shuffle, 0x80");

// Columns of a group, as far as a kernel tells them apart: half a vector, a vector, at least the two of a block.
enum class Width { half, whole, both };

// The bytes of A for a vector of columns: all four of its group everywhere, or those of two groups in a half each.
template <Width W, bool Flip>
OCTAVO_INLINE __m256i group_bytes(const char* p) {
  __m256i x;
  if constexpr (W == Width::half) {
    int64_t two;
    std::memcpy(&two, p, sizeof two);
    x = _mm256_set1_epi64x(two);
  } else {
    x = Ymm::splat_at(p);
  }
  if constexpr (Flip) x = Ymm::flip8(x, Ymm::splat8(-128));
  return x;
}

// Shuffles of group_bytes() to words of bytes 0 and 2, then of 1 and 3.
template <Width W>
struct Spread {
  alignas(32) int8_t to[2][32];
  constexpr Spread() : to() {
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < 32; ++i) to[half][i] = int8_t(i % 2 ? -1 : half + i % 4 + (W == Width::half && i >= 16 ? 4 : 0));
  }
};
template <Width W>
constexpr Spread<W> kSpread;

// The products of M rows from a_offset on behind g.a[t] with 16 columns, or 8, from the panel's byte `column` on.
template <Width W, bool Flip, int M, int NV>
OCTAVO_INLINE void multiply_groups(__m256i (&acc)[M][NV], const BrgemmArgs& g, ptrdiff_t a_offset, ptrdiff_t column) {
  using K = DotSigned;
  constexpr int kGroups = W == Width::half ? 2 : 1;  // of a vector
  const ptrdiff_t next = W == Width::both ? 0 : kGroups * g.k;
  const char* b = static_cast<const char*>(g.b) + column;
  for (int64_t t = 0; t < g.batch; ++t) {
    if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t] + column;
    const char* first = static_cast<const char*>(g.a[t]) + a_offset;
    for (int64_t k = g.k; k > 0; k -= 4, first += 4, b += 4 * kPanel) {
      OCTAVO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int8_t* spread = kSpread<W>.to[half];
        asm volatile("" : "+r"(spread));  // GCC would keep both in registers, and spill
        const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(spread));
        __m256i w[NV];
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) {
          w[v] = K::load_b(b + v * K::vector_bytes);
          if (half == 0) w[v] = _mm256_slli_epi16(w[v], 8);
          K::now(w[v] = _mm256_srai_epi16(w[v], 8));
        }
        const char* a = first;
        OCTAVO_UNROLL
        for (int i = 0; i < M; ++i, a += g.a_stride_bytes) {
          asm volatile("" : "+r"(a));  // no row is kept for the other half
          __m256i x;
          OCTAVO_UNROLL
          for (int v = 0; v < NV; ++v) {
            if (v == 0 || W != Width::both) x = _mm256_shuffle_epi8(group_bytes<W, Flip>(a + v * next), words);
            __m256i y = _mm256_madd_epi16(x, w[v]);
            K::now(y);
            K::accumulate(acc[i][v], y);
          }
        }
      }
    }
  }
}

template <Width W, bool Flip, int M, int NV>
OCTAVO_INLINE void some_rows(const BrgemmArgs& g, int row, int groups, ptrdiff_t a_offset, ptrdiff_t column) {
  row_groups<DotSigned, M, NV>(g, row, groups, [&g, row, a_offset, column](__m256i (&acc)[M][NV], int i) OCTAVO_LAMBDA {
    multiply_groups<W, Flip, M, NV>(acc, g, a_offset + (row + i * M) * g.a_stride_bytes, column);
  });
}

// Rows from `row` on in groups of M, what is left over in groups of half as many: all of a group share the shifts of B.
template <Width W, bool Flip, int NV, int M = kRowsAtOnce>
OCTAVO_INLINE void all_rows(const BrgemmArgs& g, ptrdiff_t a_offset, ptrdiff_t column, int row = 0) {
  const int groups = (g.m - row) / M;
  if (groups) some_rows<W, Flip, M, NV>(g, row, groups, a_offset, column);
  if constexpr (M > 1) all_rows<W, Flip, NV, M / 2>(g, a_offset, column, row + groups * M);
}

// Blocks of two vectors of columns, or of one. Half a vector that is left over is all of one group.
template <Width W, bool Flip>
OCTAVO_INLINE void all_columns(const BrgemmArgs& g) {
  constexpr int kBlock = 2 * Ymm::lanes;
  for (int column = 0, n; column < g.n; column += n) {
    n = g.n - column < kBlock ? g.n - column : kBlock;
    if (W == Width::half && n > Ymm::lanes) n -= n % Ymm::lanes;
    const SomeColumns some(g, column, n);
    const ptrdiff_t a_offset = column / g.group_n * g.k;
    if (n > Ymm::lanes) {
      all_rows<W, Flip, 2>(some.args(), a_offset, column * 4);
    } else if (W == Width::half && n < Ymm::lanes) {
      all_rows<Width::whole, Flip, 1>(some.args(), a_offset, column * 4);
    } else {
      all_rows<W, Flip, 1>(some.args(), a_offset, column * 4);
    }
  }
}

template <bool Flip>
OCTAVO_INLINE void brgemm_grouped(const BrgemmArgs& g) {
  g.group_n < Ymm::lanes    ? all_columns<Width::half, Flip>(g)
  : g.group_n == Ymm::lanes ? all_columns<Width::whole, Flip>(g)
                            : all_columns<Width::both, Flip>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_grouped_u8s8_avx2_240x32x4(const BrgemmArgs* g) { brgemm_grouped<false>(*g); }
void octavo_grouped_s8s8_avx2_240x32x4(const BrgemmArgs* g) { brgemm_grouped<true>(*g); }
void octavo_grouped_f32f32_avx2_240x16x1(const BrgemmArgs* g) { grouped_floats(*g); }
}
