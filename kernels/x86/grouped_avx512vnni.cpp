// grouped_{u8s8,s8s8}_avx512vnni_126x16x4, grouped_f32f32_avx512vnni_126x16x1: a few channels a group, columns of several groups
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// A: one load brings the words (four bytes, or a float) of all groups of a vector; a permutation gives each column its group's
// B: [k/4][16][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 15;  f32: [k][16]
// C: s32, f32, u8, s8; columns beyond n masked. Groups of rows as in stream.inl.h
// Registers, of 32: 7 accumulators, 7 of the group before, 3 of B, A, 2 permutations, and for s8s8 the constant 0x80
// Needs AVX-512 F, BW, DQ, VL, VNNI. Exact as brgemm
// Measured: Zen 4, 2026-11-28, GCC 12, whole 3x3 convolutions, % of vpdpbusd zmm (f32: of FMA): 56x56x128, 4 channels a group,
//   u8 39, s8 37, f32 52; 28x28x256, 8 a group, u8 56, f32 60; 56x56x256 of stride 2, 8 a group, u8 43. vpermd shares a port with
//   the product; where the stride is 1, three taps share it, where it is 2, two of three do, and the loads have no mask, with which
//   one, its vpermd and its product take 2.2 cycles instead of 1.35
#include "kernels/stream.inl.h"
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/zmm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kGroup = 7, kFewer = 6;
static_assert(kGroup * 2 + 3 + 1 + 2 + 1 <= 32, "accumulators of two groups of rows, B, A, permutations, the constant 0x80");

struct ZmmVnni : Zmm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm512_dpbusd_epi32(acc, a, b); }
};

// What is multiplied, for one vector of columns. Step: 2 for bytes of windows of stride 2, where a vector's groups have 16 values in
// a row; else 1.
template <class Dot, int Step>
struct Grouped : Dot {
  static constexpr int nv = 1, step = Step;
  using Any = Grouped<Dot, 1>;
  static constexpr bool rereads = true;  // for_group()
};

// The words of a row: of all groups of the vector, and then one for each column, of its group.
template <class K>
class Words {
 public:
  explicit OCTAVO_INLINE Words(const BrgemmArgs& g) : count(int(g.k / K::kr)) {
    const int groups = (g.n + g.group_n - 1) / g.group_n;
    mask_ = __mmask16((1u << groups * count) - 1);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i group = _mm512_srl_epi32(lane, _mm_cvtsi32_si128(__builtin_ctz(unsigned(g.group_n))));
    first_ = _mm512_mullo_epi32(group, _mm512_set1_epi32(count));
  }
  OCTAVO_INLINE __m512i load(const char* p) const {
    if constexpr (K::a_bytes == 4) return _mm512_maskz_loadu_epi32(mask_, p);
    if constexpr (K::step == 2) return _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_castsi128_si512(_mm_maskz_loadu_epi32(__mmask8(mask_), p));  // k <= group_n: no more; it crosses fewer lines
  }
  OCTAVO_INLINE __m512i first() const { return first_; }  // for each column, the first word of its group; the next is 1 more
  static OCTAVO_INLINE typename K::B spread(__m512i row, __m512i words) {
    const __m512i x = _mm512_permutexvar_epi32(words, row);
    if constexpr (K::a_bytes == 4) {
      return _mm512_castsi512_ps(x);
    } else {
      return K::flipped(x);
    }
  }
  const int count;

 private:
  __mmask16 mask_;
  __m512i first_;
};

// The weights of tap t, `bytes` for each tap.
OCTAVO_INLINE const char* tap_weights(const BrgemmArgs& g, int64_t t, ptrdiff_t bytes) {
  return static_cast<const char*>(g.b) + (g.b_offsets ? g.b_offsets[t] : t * bytes);
}
// Whether taps t, t + Step, ... below t + 3 see neighbouring rows, and the weights of these three are as far apart as taps are: the
// columns of a window of stride Step. What is spread for one of them serves all.
template <int Step>
OCTAVO_INLINE bool neighbours(const BrgemmArgs& g, int64_t t, ptrdiff_t bytes) {
  if (t + 3 > g.batch) return false;
  for (int i = 1; i < 3; ++i)
    if ((i % Step == 0 && g.a[t + i] != static_cast<const char*>(g.a[t]) + i / Step * g.a_stride_bytes) ||
        tap_weights(g, t + i, bytes) != tap_weights(g, t, bytes) + i * bytes)
      return false;
  return true;
}

// All words of Taps taps of M rows: row i of tap t is row i + t, and its weights are t * next bytes behind b. Integers: word by
// word. One pointer walks over the rows: GCC would hoist the loads of several, and spill them.
template <class K, int M, int Taps>
OCTAVO_INLINE void multiply_words(typename K::Acc (&acc)[1][M][1], const Words<K>& words, const char* row, ptrdiff_t stride,
                                  const char* b, ptrdiff_t next) {
  __m512i columns = words.first();
  for (int s = words.count; s > 0; --s, b += K::vector_bytes) {
    asm("" : "+r"(s));  // GCC would count up to where b ends, and spill that
    typename K::B w[Taps];
    OCTAVO_UNROLL
    for (int t = 0; t < Taps; ++t) K::keep(w[t] = K::load_b(b + t * next));
    const char* a = row;
    OCTAVO_UNROLL
    for (int i = 0; i < M + Taps - 1; ++i, a += stride) {
      asm("" : "+r"(a));
      const typename K::B x = Words<K>::spread(words.load(a), columns);
      OCTAVO_UNROLL
      for (int t = 0; t < Taps; ++t)
        if (i - t >= 0 && i - t < M) acc[0][i - t][0] = K::dot(acc[0][i - t][0], x, w[t]);
    }
    columns = _mm512_add_epi32(columns, _mm512_set1_epi32(1));
  }
}

// Floats, which are added in the order tap, word: row by row.
template <class K, int M, int Taps>
OCTAVO_INLINE void multiply_rows(typename K::Acc (&acc)[1][M][1], const Words<K>& words, const char* a, ptrdiff_t stride,
                                 const char* first, ptrdiff_t next) {
  OCTAVO_UNROLL
  for (int i = 0; i < M + Taps - 1; ++i, a += stride) {
    asm("" : "+r"(a));
    const __m512i row = words.load(a);
    __m512i columns = words.first();
    const char* b = first;
    for (int s = words.count; s > 0; --s, b += K::vector_bytes) {
      asm("" : "+r"(s));
      const typename K::B x = Words<K>::spread(row, columns);
      OCTAVO_UNROLL
      for (int t = 0; t < Taps; ++t)
        if (i - t >= 0 && i - t < M) acc[0][i - t][0] = K::dot(acc[0][i - t][0], x, K::load_b(b + t * next));
      columns = _mm512_add_epi32(columns, _mm512_set1_epi32(1));
    }
  }
}

// All taps of M rows.
template <class K, int M>
OCTAVO_INLINE void multiply_groups(typename K::Acc (&acc)[1][M][1], const BrgemmArgs& g, ptrdiff_t a_offset) {
  const Words<K> words(g);
  const ptrdiff_t bytes = words.count * K::vector_bytes, stride = g.a_stride_bytes;
  const auto a_of = [&](int64_t t) OCTAVO_LAMBDA { return static_cast<const char*>(g.a[t]) + a_offset; };
  for (int64_t t = 0; t < g.batch;) {
    const char* b = tap_weights(g, t, bytes);
    if constexpr (K::step == 2) {
      int64_t single = t, next = t + 1;
      if (M > 1 && neighbours<2>(g, t, bytes)) {
        multiply_words<K, M, 2>(acc, words, a_of(t), stride, b, 2 * bytes);
        b += bytes;
        single = t + 1, next = t + 3;
      }
      multiply_words<K, M, 1>(acc, words, a_of(single), stride, b, 0);
      t = next;
    } else if (M > 1 && neighbours<1>(g, t, bytes)) {
      if constexpr (K::a_bytes == 4) {
        multiply_rows<K, M, 3>(acc, words, a_of(t), stride, b, bytes);
      } else {
        multiply_words<K, M, 3>(acc, words, a_of(t), stride, b, bytes);
      }
      t += 3;
    } else {
      multiply_words<K, M, 1>(acc, words, a_of(t), stride, b, 0);
      ++t;
    }
  }
}

// Rows from `row` on in groups of M. What is left is computed with some rows before it, once more, or in groups of half as many
// where there are none, or these hold the residual.
template <class K, int M>
OCTAVO_INLINE void groups_of_rows(const BrgemmArgs& g, int row = 0) {
  const auto multiply = [](typename K::Acc(&acc)[1][M][1], const BrgemmArgs& args, ptrdiff_t a_offset) OCTAVO_LAMBDA {
    multiply_groups<K, M>(acc, args, a_offset);
  };
  const int groups = (g.m - row) / M, rest = (g.m - row) % M;
  if (groups) stream<K, M, 1>(g, row, groups, multiply);
  if (!rest) return;
  if (g.m > M && !g.epi->residual) return stream<K, M, 1>(g, g.m - M, 1, multiply);
  if constexpr (M > 1) groups_of_rows<typename K::Any, M / 2>(g, row + groups * M);
}

// Images of 7, 14, 28, 56 columns are whole groups of seven, others fill groups of six better.
template <class K>
OCTAVO_INLINE void all_rows(const BrgemmArgs& g) {
  const auto rounded = [&g](int rows) { return (g.m + rows - 1) / rows * rows; };
  rounded(kFewer) < rounded(kGroup) ? groups_of_rows<K, kFewer>(g) : groups_of_rows<K, kGroup>(g);
}
template <class Dot>
OCTAVO_INLINE void brgemm_grouped(const BrgemmArgs& g) {
  if constexpr (Dot::a_bytes == 1) {
    const bool whole = (g.n + g.group_n - 1) / g.group_n * g.k == 16;
    if (whole && neighbours<2>(g, 0, g.k / Dot::kr * Dot::vector_bytes)) return all_rows<Grouped<Dot, 2>>(g);
  }
  all_rows<Grouped<Dot, 1>>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_grouped_u8s8_avx512vnni_126x16x4(const BrgemmArgs* g) { brgemm_grouped<DotU8<ZmmVnni, kGroup>>(*g); }
void octavo_grouped_s8s8_avx512vnni_126x16x4(const BrgemmArgs* g) { brgemm_grouped<DotS8<ZmmVnni, kGroup>>(*g); }
void octavo_grouped_f32f32_avx512vnni_126x16x1(const BrgemmArgs* g) { brgemm_grouped<Fma<Zmm, kGroup>>(*g); }
}
