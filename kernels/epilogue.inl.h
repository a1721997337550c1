// THE epilogue of every vector brgemm: the formulas of EpilogueArgs (octavo/ukernel.h) on accumulators in registers.
#pragma once

#include "kernels/unroll.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// V: the register vocabulary. Acc: V::I, or V::F of an f32 kernel. Full: the last vector has all its columns; otherwise `part` says which.
template <class V, class Acc, int M, int NV, bool Full>
class Epilogue {
 public:
  OCTAVO_INLINE Epilogue(const BrgemmArgs& g, const typename V::Part& part)
      : e_(*g.epi), c_(static_cast<char*>(g.c)), stride_(g.c_stride_bytes), columns_(g.n), part_(part) {}

  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV]) {
    if constexpr (V::a_bytes == 4) {
      return e_.residual ? f32<true>(acc) : f32<false>(acc);
    } else {
      if (e_.out == DType::s32) return s32(acc);
      if (e_.out == DType::f32) return e_.residual ? f32<true>(acc) : f32<false>(acc);
      if (e_.residual) return q8<true, false>(acc);
      return fits() ? q8<false, true>(acc) : q8<false, false>(acc);
    }
  }

 private:
  using F = typename V::F;
  using I = typename V::I;

  static constexpr bool whole(int v) { return Full || v < NV - 1; }
  OCTAVO_INLINE F load(const float* p, int v) const {
    return whole(v) ? V::load(p + v * V::lanes) : V::load(p + v * V::lanes, part_);
  }
  template <class X>
  OCTAVO_INLINE void store(char* c, int v, X x) {
    c += v * V::lanes * 4;
    whole(v) ? V::store(c, x) : V::store(c, x, part_);
  }

  OCTAVO_INLINE void s32(const Acc (&acc)[M][NV]) {
    char* c = c_;
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i, c += stride_) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) store(c, v, acc[i][v]);
    }
  }

  template <bool Residual>
  OCTAVO_INLINE void f32(const Acc (&acc)[M][NV]) {
    const F lo = V::splat(e_.lo), hi = V::splat(e_.hi);
    F scale[NV], bias[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      if constexpr (V::a_bytes == 1) scale[v] = load(e_.scale, v);
      bias[v] = e_.bias_f32 ? load(e_.bias_f32, v) : V::splat(0.0f);
    }
    char* c = c_;
    const char* r = static_cast<const char*>(e_.residual);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i, c += stride_) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) {
        F f;
        if constexpr (V::a_bytes == 1) {
          f = V::fma(V::to_float(acc[i][v]), scale[v], bias[v]);
        } else {
          f = V::add(acc[i][v], bias[v]);
        }
        if constexpr (Residual) f = V::add(f, load(reinterpret_cast<const float*>(r), v));
        store(c, v, V::min(V::max(f, lo), hi));
      }
      if constexpr (Residual) r += e_.residual_stride_bytes;
    }
  }

  // Whether float(acc) * scale[j] converts to s32 whatever acc is. Multipliers of quantized networks are far below 1.
  OCTAVO_INLINE bool fits() const {
    bool all = true;
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) all &= V::below(load(e_.scale, v), 1.0f);
    return all;
  }

  // u8 and s8. Rounding is monotone: rne(clamp(v, lo, hi)) = clamp(rne(v), rne(lo), rne(hi)), so the bounds are taken on packed
  // integers. With x = rne(v), what is stored is min(max(x - lo, 0), hi - lo) + (lo + zp), the last sum modulo 256. Packs and
  // the sum on 16 bits saturate, without harm since bounds are small; the pack to u8 is the max. Without Fits a bound must come
  // before the conversion: the upper one where it turns what does not fit, and NaN, into INT32_MIN (x86); the lower one where it
  // saturates, but turns NaN into 0 (Arm).
  template <bool Residual, bool Fits>
  OCTAVO_INLINE void q8(const Acc (&acc)[M][NV]) {
    const int r_bump = e_.residual_dtype == DType::s8 ? 128 : 0;
    const F bound = V::splat(V::saturates ? e_.lo : e_.hi);
    const int lo = V::round(e_.lo);
    const I minus_lo = V::splat16(-lo), range = V::splat8(V::round(e_.hi) - lo), base = V::splat8(lo + e_.zp);
    F scale[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) scale[v] = load(e_.scale, v);
    char* c = c_;
    const char* r = static_cast<const char*>(e_.residual);
    constexpr int kRows = 4 / NV;  // of C in one register of bytes
    OCTAVO_UNROLL
    for (int i = 0; i < M; i += kRows) {
      I q[4];
      OCTAVO_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int y = x < kRows * NV ? x : 0;  // NV = 3 leaves a quarter unused
        const int row = i + y / NV < M ? i + y / NV : M - 1, v = y % NV;
        F f = V::to_float(acc[row][v]);
        if constexpr (Residual) {
          const char* p = r + row * e_.residual_stride_bytes + v * V::lanes;
          const I bytes = V::widen(whole(v) ? V::load8(p) : V::load8(p, part_), r_bump);
          const F residual = V::to_float(V::sub(bytes, V::splat(e_.residual_zp + r_bump)));
          f = V::fma(f, scale[v], V::mul(residual, V::splat(e_.residual_scale)));
        } else {
          f = V::mul(f, scale[v]);
        }
        if constexpr (!Fits) f = V::saturates ? V::max(f, bound) : V::min(bound, f);
        q[x] = V::round(f);
      }
      const I low = V::adds16(V::pack16(q[0], q[1]), minus_lo), high = V::adds16(V::pack16(q[2], q[3]), minus_lo);
      I bytes = V::packu8(low, high);
      if constexpr (Fits || V::saturates) bytes = V::min8(bytes, range);
      bytes = V::add8(bytes, base);
      OCTAVO_UNROLL
      for (int j = 0; j < kRows; ++j) {
        if (i + j >= M) continue;
        if constexpr (Full && 4 % NV == 0) {
          V::template store8<kRows>(c, bytes, j);
        } else {
          V::template store8<kRows>(c, bytes, j, columns_);
        }
        c += stride_;
      }
    }
  }

  const EpilogueArgs& e_;
  char* c_;
  ptrdiff_t stride_;
  int columns_;
  typename V::Part part_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
