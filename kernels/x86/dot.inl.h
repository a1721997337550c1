// What the x86 brgemm kernels multiply with (the K of brgemm.inl.h), but for AVX2's int8, which is its own story.
#pragma once

#include <cstring>

#include "kernels/brgemm.inl.h"
#include "kernels/x86/rows.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// vpdpbusd: four u8 times four s8 into each s32 lane, without saturation. V is Zmm or Ymm with dpbusd() added.
template <class V, int MR>
struct DotU8 : V {
  using Acc = typename V::I;
  using B = typename V::I;
  template <int M>
  using Rows = StridedRows<M>;
  static constexpr int mr = MR, nv = 2, kr = 4, a_bytes = 1, a_step = kr * a_bytes;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr bool has_tail = true;
  // Eight sums in flight cover a latency of 4 cycles at two instructions per cycle. (Six are left alone: twelve would spill.)
  static constexpr int splits(int vectors) { return vectors <= 2 ? 4 : vectors <= 4 ? 2 : 1; }
  static constexpr int64_t steps(int64_t k) { return k / kr; }

  static OCTAVO_INLINE Acc zero() { return V::splat(0); }
  static OCTAVO_INLINE B a(const char* p) { return V::splat_at(p); }
  static OCTAVO_INLINE B flipped(B a) { return a; }
  static OCTAVO_INLINE Acc dot(Acc acc, B a, B b) { return V::dpbusd(acc, a, b); }

  template <int M>
  struct Tail {
    typename V::template Dwords<M, Rows<M>> dwords;
    OCTAVO_INLINE B operator()(int i) const { return dwords[i]; }
  };
};

// s8 as u8: xor 0x80 adds 128 to each value (PackFormat::a_offset). Behind the end of a row too, where B is zero.
template <class V, int MR>
struct DotS8 : DotU8<V, MR> {
  using Base = DotU8<V, MR>;
  using B = typename V::I;
  static OCTAVO_INLINE B a(const char* p) { return flipped(Base::a(p)); }
  static OCTAVO_INLINE B flipped(B a) {
    B flip = V::splat(int32_t(0x80808080));
#if defined(__clang__)
    V::keep(flip);  // not a constant, or the dword would be flipped before it is broadcast: three instructions for one
#endif
    return V::flip8(a, flip);
  }
  template <int M>
  struct Tail {
    typename V::template Dwords<M, StridedRows<M>> dwords;
    OCTAVO_INLINE B operator()(int i) const { return V::flip8(dwords[i], V::splat(int32_t(0x80808080))); }
  };
};

// One fma per value of K, in order: the bits do not depend on the tile.
template <class V, int MR>
struct Fma : V {
  using Acc = typename V::F;
  using B = typename V::F;
  template <int M>
  using Rows = StridedRows<M>;
  static constexpr int mr = MR, nv = 2, kr = 1, a_bytes = 4, a_step = kr * a_bytes;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr bool has_tail = false;
  static constexpr int splits(int) { return 1; }
  static constexpr int64_t steps(int64_t k) { return k; }

  static OCTAVO_INLINE Acc zero() { return V::splat(0.0f); }
  static OCTAVO_INLINE B load_b(const char* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static OCTAVO_INLINE B a(const char* p) {
    float x;
    std::memcpy(&x, p, sizeof x);
    return V::splat(x);
  }
  static OCTAVO_INLINE Acc dot(Acc acc, B a, B b) { return V::fma(a, b, acc); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
