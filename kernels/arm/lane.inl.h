// K of brgemm.inl.h for FMLA, which multiplies a vector of B by one lane of a vector of A.
#pragma once

#include "kernels/arm/q.inl.h"
#include "kernels/brgemm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// 16 bytes of each row of A at a time, in four lanes. One fma per value of K, in order: the bits do not depend on the tile.
template <int MR, int NV>
struct Fmla : Q {
  template <int M>
  using Rows = PointerRows<M>;
  using Acc = float32x4_t;
  using A = float32x4_t;
  using B = float32x4_t;
  static constexpr int mr = MR, nv = NV, kr = 1, a_bytes = 4, a_lanes = 4, a_step = 16;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr int splits(int) { return 1; }

  static OCTAVO_INLINE Acc zero() {
    Acc z = Q::splat(0.0f);
    Q::keep(z);  // not a constant that GCC would hold through the loop for the epilogue
    return z;
  }
  static OCTAVO_INLINE A a(const char* p) { return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p))); }
  static OCTAVO_INLINE B load_b(const char* p) { return a(p); }
  template <int Lane>
  static OCTAVO_INLINE Acc dot(Acc acc, A& a, B b) {
#if !defined(__clang__)
    Q::keep(a);  // GCC would spread each lane once for all vectors of B, and run out of registers
#endif
    return vfmaq_laneq_f32(acc, b, a, Lane);
  }

  template <int M>
  struct Tail {
    RowEnds<M> ends;
    OCTAVO_INLINE A operator()(int i) const { return vreinterpretq_f32_u8(ends[i]); }
  };
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
