// 128-bit registers: the vocabulary of blocks.inl.h and block_epilogue.inl.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/arm/registers.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Neon {
  using I = int32x4_t;
  using F = float32x4_t;
  using Bytes = uint8x16_t;
  static constexpr bool predicated = false;
  static constexpr int lanes() { return 4; }

  static OCTAVO_INLINE F splat(float x) { return vdupq_n_f32(x); }
  static OCTAVO_INLINE F splat(const float (&x)[4]) { return vld1q_f32(x); }  // four times the same: without a shuffle
  static OCTAVO_INLINE I splat(int32_t x) { return vdupq_n_s32(x); }
  static OCTAVO_INLINE Bytes splat8(int x) { return vdupq_n_u8(uint8_t(x)); }

  // Register v of an array.
  static OCTAVO_INLINE I load(const int32_t* p, int v) { return vld1q_s32(p + v * 4); }
  static OCTAVO_INLINE F load(const float* p, int v) { return vld1q_f32(p + v * 4); }
  static OCTAVO_INLINE void store(int32_t* p, int v, I x) { vst1q_s32(p + v * 4, x); }
  static OCTAVO_INLINE void store(float* p, int v, F x) { vst1q_f32(p + v * 4, x); }
  // The same of an array of n elements: no element beyond them is touched; their lanes are 0.
  static OCTAVO_INLINE I load(const int32_t* p, int v, int n) { return n >= v * 4 + 4 ? load(p, v) : load_end<I>(p, v, n); }
  static OCTAVO_INLINE F load(const float* p, int v, int n) { return n >= v * 4 + 4 ? load(p, v) : load_end<F>(p, v, n); }
  static OCTAVO_INLINE void store(int32_t* p, int v, int, I x) { store(p, v, x); }
  static OCTAVO_INLINE void store(float* p, int v, int, F x) { store(p, v, x); }
  // The first `columns` bytes: 16, 8 or 4. `bump` (0 or 128) is added modulo 256.
  static OCTAVO_INLINE Bytes load8(const char* p, int columns, int bump) {
    const uint8_t* q = reinterpret_cast<const uint8_t*>(p);
    Bytes x = splat8(0);
    if (columns == 16) {
      x = vld1q_u8(q);
    } else if (columns == 8) {
      x = vcombine_u8(vld1_u8(q), vget_low_u8(x));
    } else {
      uint32_t four;
      std::memcpy(&four, q, 4);
      x = vreinterpretq_u8_u32(vsetq_lane_u32(four, vreinterpretq_u32_u8(x), 0));
    }
    return veorq_u8(x, splat8(bump));
  }
  static OCTAVO_INLINE void store8(char* p, int columns, Bytes x) {
    uint8_t* q = reinterpret_cast<uint8_t*>(p);
    if (columns == 16) {
      store16(q, x);
    } else if (columns == 8) {
      vst1_u8(q, vget_low_u8(x));
    } else {
      const uint32_t four = vgetq_lane_u32(vreinterpretq_u32_u8(x), 0);
      std::memcpy(q, &four, 4);
    }
  }

  static OCTAVO_INLINE F as_float(I x) { return vreinterpretq_f32_s32(x); }
  static OCTAVO_INLINE F to_float(I x) { return vcvtq_f32_s32(x); }
  static OCTAVO_INLINE I bits(F x) { return vreinterpretq_s32_f32(x); }
  static OCTAVO_INLINE F add(F x, F y) { return vaddq_f32(x, y); }
  static OCTAVO_INLINE I add(I x, I y) { return vaddq_s32(x, y); }
  static OCTAVO_INLINE F sub(F x, F y) { return vsubq_f32(x, y); }
  static OCTAVO_INLINE I sub(I x, I y) { return vsubq_s32(x, y); }
  static OCTAVO_INLINE F mul(F x, F y) { return vmulq_f32(x, y); }
  static OCTAVO_INLINE F fma(F x, F y, F z) { return vfmaq_f32(z, x, y); }
  static OCTAVO_INLINE F max(F x, F y) { return vmaxnmq_f32(x, y); }  // the number, if x is none
  static OCTAVO_INLINE F min(F x, F y) { return vminnmq_f32(x, y); }
  static OCTAVO_INLINE F clamp(F x, F lo, F hi) {
    x = vbslq_f32(vcgtq_f32(x, lo), x, lo);
    return vbslq_f32(vcltq_f32(x, hi), x, hi);
  }
  static OCTAVO_INLINE Bytes add8(Bytes x, Bytes y) { return vaddq_u8(x, y); }

  // Shuffles. The low bytes of four registers; elements 0, 2, ... (1, 3, ...) of both; the first (second) halves, interleaved.
  static OCTAVO_INLINE Bytes narrow(I a, I b, I c, I d) {
    const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_s32(a), vreinterpretq_u16_s32(b));
    const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_s32(c), vreinterpretq_u16_s32(d));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
  }
  // The low 16 bits of four registers, and `odd`, clamped to [lo, hi] of 8. Plain: odd is 0, and the bounds are the type's.
  static OCTAVO_INLINE int16x8_t odd(int x) { return vdupq_n_s16(int16_t(x)); }
  static OCTAVO_INLINE Bytes bound(int x, int) { return splat8(x); }
  template <bool Signed, bool Plain>
  static OCTAVO_INLINE Bytes saturate(I a, I b, I c, I d, int16x8_t odd, Bytes lo, Bytes hi) {
    int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
    int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(c), vreinterpretq_s16_s32(d));
    if (!Plain) low = vqaddq_s16(low, odd), high = vqaddq_s16(high, odd);
    if constexpr (Signed) {
      int8x16_t x = vqmovn_high_s16(vqmovn_s16(low), high);
      if (!Plain) x = vminq_s8(vmaxq_s8(x, vreinterpretq_s8_u8(lo)), vreinterpretq_s8_u8(hi));
      return vreinterpretq_u8_s8(x);
    } else {
      const uint8x16_t x = vqmovun_high_s16(vqmovun_s16(low), high);
      return Plain ? x : vminq_u8(vmaxq_u8(x, lo), hi);
    }
  }
  static OCTAVO_INLINE I even64(I x, I y) {
    return vreinterpretq_s32_s64(vuzp1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  }
  static OCTAVO_INLINE I odd64(I x, I y) {
    return vreinterpretq_s32_s64(vuzp2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  }
  static OCTAVO_INLINE Bytes even16(Bytes x, Bytes y) {
    return vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u8(x), vreinterpretq_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes odd16(Bytes x, Bytes y) {
    return vreinterpretq_u8_u16(vuzp2q_u16(vreinterpretq_u16_u8(x), vreinterpretq_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes low16(Bytes x, Bytes y) {
    return vreinterpretq_u8_u16(vzip1q_u16(vreinterpretq_u16_u8(x), vreinterpretq_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes high16(Bytes x, Bytes y) {
    return vreinterpretq_u8_u16(vzip2q_u16(vreinterpretq_u16_u8(x), vreinterpretq_u16_u8(y)));
  }
  // A quarter of the bytes, as unsigned to 32 bits.
  template <int Quarter>
  static OCTAVO_INLINE I widen(Bytes x) {
    const uint16x8_t half = Quarter < 2 ? vmovl_u8(vget_low_u8(x)) : vmovl_high_u8(x);
    return vreinterpretq_s32_u32(Quarter % 2 ? vmovl_high_u16(half) : vmovl_u16(vget_low_u16(half)));
  }
  // Values of the columns in the order of a group's register v: Rows 1: as they are, 2: each pair of columns twice.
  template <int Rows, int v, class X>
  static OCTAVO_INLINE X columns(X linear) {
    if constexpr (Rows == 1) {
      return linear;
    } else {
      const int64x2_t x = int64x2_t(linear);
      return X(v % 2 ? vzip2q_s64(x, x) : vzip1q_s64(x, x));
    }
  }

  using B = int8x16_t;
  template <int v>
  static OCTAVO_INLINE B load_b(const char* p) {
    return vld1q_s8(reinterpret_cast<const int8_t*>(p) + 16 * v);
  }

 private:
  template <class X, class T>
  static OCTAVO_INLINE X load_end(const T* p, int v, int n) {
    T x[4] = {};
    std::memcpy(x, p + v * 4, size_t(n - v * 4) * sizeof(T));
    return load(x, 0);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
