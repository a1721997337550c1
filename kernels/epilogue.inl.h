// THE epilogue of every vector brgemm: the formulas of EpilogueArgs (octavo/ukernel.h) on accumulators in registers.
#pragma once

#include "kernels/unroll.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// V: the register vocabulary. Full: the last vector has all its columns; otherwise `part` says which.
template <class V, int M, int NV, bool Full>
class Epilogue {
 public:
  using Acc = typename V::Acc;
  OCTAVO_INLINE Epilogue(const BrgemmArgs& g, const typename V::Part& part)
      : e_(*g.epi), c_(static_cast<char*>(g.c)), stride_(g.c_stride_bytes), columns_(g.n), part_(part) {}

  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV]) {
    if constexpr (V::a_bytes == 4) {
      return e_.residual ? f32<true>(acc) : f32<false>(acc);
    } else {
      if (e_.out == DType::s32) return s32(acc);
      if (e_.out == DType::f32) return e_.residual ? f32<true>(acc) : f32<false>(acc);
      return e_.residual ? q8<true>(acc) : q8<false>(acc);
    }
  }

 private:
  using F = typename V::F;
  using I = typename V::I;

  static constexpr bool whole(int v) { return Full || v < NV - 1; }
  OCTAVO_INLINE F load(const float* p, int v) { return whole(v) ? V::load(p + v * V::lanes) : V::load(p + v * V::lanes, part_); }
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

  // u8 and s8. Rounding is monotone, so max(rne(v), rne(lo)) = rne(max(v, lo)): the lower bound is taken on 16-bit
  // integers, two vectors at once. The upper one must come before the conversion, which turns what does not fit, and
  // NaN, into INT32_MIN. Four vectors become one of bytes: packs to 16 bits saturate without harm, since hi is small.
  // s8 is u8 plus 128 with the top bit flipped back.
  template <bool Residual>
  OCTAVO_INLINE void q8(const Acc (&acc)[M][NV]) {
    const int bump = e_.out == DType::s8 ? 128 : 0, r_bump = e_.residual_dtype == DType::s8 ? 128 : 0;
    const F hi = V::splat(e_.hi);
    const I lo16 = V::splat16(V::round(e_.lo)), zp16 = V::splat16(e_.zp + bump), flip = V::splat8(bump);
    F scale[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) scale[v] = load(e_.scale, v);
    char* c = c_;
    const char* r = static_cast<const char*>(e_.residual);
    constexpr int kRows = 4 / NV;
    OCTAVO_UNROLL
    for (int i = 0; i < M; i += kRows) {
      I q[4];
      OCTAVO_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int row = i + x / NV < M ? i + x / NV : M - 1, v = x % NV;
        F f = V::to_float(acc[row][v]);
        if constexpr (Residual) {
          const char* p = r + row * e_.residual_stride_bytes + v * V::lanes;
          const I bytes = V::widen(whole(v) ? V::load8(p) : V::load8(p, part_), r_bump);
          const F residual = V::to_float(V::sub(bytes, V::splat(e_.residual_zp + r_bump)));
          f = V::fma(f, scale[v], V::mul(residual, V::splat(e_.residual_scale)));
        } else {
          f = V::mul(f, scale[v]);
        }
        q[x] = V::round(V::min(hi, f));
      }
      const I low = V::add16(V::max16(V::pack16(q[0], q[1]), lo16), zp16);
      const I high = V::add16(V::max16(V::pack16(q[2], q[3]), lo16), zp16);
      const I bytes = V::flip8(V::packu8(low, high), flip);
      OCTAVO_UNROLL
      for (int j = 0; j < kRows; ++j) {
        if (i + j >= M) continue;
        if constexpr (Full) {
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
