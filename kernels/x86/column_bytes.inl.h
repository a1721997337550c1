// What vpdpbusd multiplies one column of C with (one_column.inl.h): 64 values of a row of A at a time.
#pragma once

#include <cstring>

#include "kernels/x86/dot.inl.h"
#include "kernels/x86/one_column.inl.h"
#include "kernels/x86/zmm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// D: DotU8 or DotS8 of a Zmm.
template <class D>
class ByteColumn {
 public:
  using K = D;
  using I = typename K::I;
  static constexpr int vectors = 2;  // at a time
  static bool takes(const BrgemmArgs& g) { return g.k >= kLeast && g.batch * vectors_of(g) <= kVectors; }

  // The words of the panel's first column; zeros fill the last vector of a tap.
  explicit OCTAVO_INLINE ByteColumn(const BrgemmArgs& g) {
    const int64_t words = (g.k + K::kr - 1) / K::kr, row = vectors_of(g) * K::vector_bytes;
    const char* b = static_cast<const char*>(g.b);
    char* to = b_;
    for (int64_t t = 0; t < g.batch; ++t, to += row) {
      if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t];
      K::store(to + row - K::vector_bytes, K::zero());
      for (int64_t s = 0; s < words; ++s, b += K::nv * K::vector_bytes) std::memcpy(to + s * K::kr, b, size_t(K::kr));
    }
  }
  uint32_t seed() const { return 0; }

  // A function of its own: there its loop has all registers for addresses.
  [[gnu::noinline]] I sums(const BrgemmArgs& g, int64_t row) const {
    I acc[K::lanes];
    if (g.m - row < K::lanes) {
      int32_t few[K::lanes] = {};
      for (int i = 0; row + i < g.m; ++i) {
        multiply<1>(acc, g, row + i);
        few[i] = _mm512_reduce_add_epi32(acc[0]);
      }
      return K::load(few);
    }
    multiply<kAtOnce>(acc, g, row);
    multiply<kAtOnce>(acc + kAtOnce, g, row + kAtOnce);
    // Sums of pairs of lanes, of four rows to each quarter; then of quarters.
    OCTAVO_UNROLL
    for (int i = 0; i < K::lanes; i += 2)
      acc[i] = K::add(_mm512_unpacklo_epi32(acc[i], acc[i + 1]), _mm512_unpackhi_epi32(acc[i], acc[i + 1]));
    OCTAVO_UNROLL
    for (int i = 0; i < K::lanes; i += 4)
      acc[i] = K::add(_mm512_unpacklo_epi64(acc[i], acc[i + 2]), _mm512_unpackhi_epi64(acc[i], acc[i + 2]));
    const auto quarters = [](I x, I y) OCTAVO_LAMBDA {
      return K::add(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
    };
    return quarters(quarters(acc[0], acc[4]), quarters(acc[8], acc[12]));
  }

 private:
  static constexpr int64_t kLeast = 16;    // shorter sums are faster by columns
  static constexpr int64_t kVectors = 128;  // of B, of all taps: 8 KiB
  static constexpr int kAtOnce = 8;

  static int64_t vectors_of(const BrgemmArgs& g) { return (g.k + K::vector_bytes - 1) / K::vector_bytes; }

  template <int M>
  OCTAVO_INLINE void multiply(I* acc, const BrgemmArgs& g, int64_t row) const {
    I sum[M];
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) sum[i] = K::zero();
    const char* b = b_;
    const __mmask64 rest = ~__mmask64(0) >> (vectors_of(g) * K::vector_bytes - g.k);
    typename StridedRows<M>::Scratch scratch;
    for (int64_t t = 0; t < g.batch; ++t) {
      StridedRows<M> rows(static_cast<const char*>(g.a[t]) + row * g.a_stride_bytes, g.a_stride_bytes, g.k, scratch);
      const auto step = [&](const auto& load) OCTAVO_LAMBDA {
        const I w = K::load_b(b);
        OCTAVO_UNROLL
        for (int i = 0; i < M; ++i) sum[i] = K::dpbusd(sum[i], K::flipped(load(rows[i])), w);
        b += K::vector_bytes;
        rows.advance(K::vector_bytes);
      };
      for (int64_t v = g.k / K::vector_bytes; v > 0; --v) step([](const char* p) OCTAVO_LAMBDA { return _mm512_loadu_si512(p); });
      if (g.k % K::vector_bytes) step([&](const char* p) OCTAVO_LAMBDA { return _mm512_maskz_loadu_epi8(rest, p); });
    }
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) acc[i] = sum[i];
  }

  alignas(64) char b_[kVectors * 64];
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
