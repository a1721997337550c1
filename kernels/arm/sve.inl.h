// SVE registers of any length: the vocabulary of the loops and of block_epilogue.inl.h. Columns beyond the last are left alone by
// predicates, so nothing here knows how many there are in a register.
#pragma once

#include <arm_sve.h>

#include <cstdint>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Sve {
  using I = svint32_t;
  using F = svfloat32_t;
  using Bytes = svuint8_t;
  static constexpr bool predicated = true;
  static OCTAVO_INLINE int lanes() { return int(svcntw()); }

  static OCTAVO_INLINE F splat(float x) { return svdup_f32(x); }
  static OCTAVO_INLINE F splat(const float (&x)[4]) { return svld1rq_f32(all(), x); }  // four times the same
  static OCTAVO_INLINE I splat(int32_t x) { return svdup_s32(x); }
  static OCTAVO_INLINE Bytes splat8(int x) { return svdup_u8(uint8_t(x)); }

  // Register v of an array.
  static OCTAVO_INLINE I load(const int32_t* p, int v) { return svld1_vnum_s32(all(), p, v); }
  static OCTAVO_INLINE F load(const float* p, int v) { return svld1_vnum_f32(all(), p, v); }
  static OCTAVO_INLINE void store(int32_t* p, int v, I x) { svst1_vnum_s32(all(), p, v, x); }
  static OCTAVO_INLINE void store(float* p, int v, F x) { svst1_vnum_f32(all(), p, v, x); }
  // The same of an array of n elements: no element beyond them is touched; their lanes are 0.
  static OCTAVO_INLINE I load(const int32_t* p, int v, int n) { return svld1_s32(part(v, n), p + v * lanes()); }
  static OCTAVO_INLINE F load(const float* p, int v, int n) { return svld1_f32(part(v, n), p + v * lanes()); }
  static OCTAVO_INLINE void store(int32_t* p, int v, int n, I x) { svst1_s32(part(v, n), p + v * lanes(), x); }
  static OCTAVO_INLINE void store(float* p, int v, int n, F x) { svst1_f32(part(v, n), p + v * lanes(), x); }
  // The first n bytes. `bump` (0 or 128) is added modulo 256.
  static OCTAVO_INLINE Bytes load8(const char* p, int n, int bump) {
    return sveor_u8_x(svptrue_b8(), svld1_u8(svwhilelt_b8(0, n), reinterpret_cast<const uint8_t*>(p)), splat8(bump));
  }
  static OCTAVO_INLINE void store8(char* p, int n, Bytes x) { svst1_u8(svwhilelt_b8(0, n), reinterpret_cast<uint8_t*>(p), x); }

  static OCTAVO_INLINE F as_float(I x) { return svreinterpret_f32_s32(x); }
  static OCTAVO_INLINE F to_float(I x) { return svcvt_f32_s32_x(all(), x); }
  static OCTAVO_INLINE I bits(F x) { return svreinterpret_s32_f32(x); }
  static OCTAVO_INLINE F add(F x, F y) { return svadd_f32_x(all(), x, y); }
  static OCTAVO_INLINE I add(I x, I y) { return svadd_s32_x(all(), x, y); }
  static OCTAVO_INLINE F sub(F x, F y) { return svsub_f32_x(all(), x, y); }
  static OCTAVO_INLINE I sub(I x, I y) { return svsub_s32_x(all(), x, y); }
  static OCTAVO_INLINE F mul(F x, F y) { return svmul_f32_x(all(), x, y); }
  static OCTAVO_INLINE F fma(F x, F y, F z) { return svmla_f32_x(all(), z, x, y); }
  static OCTAVO_INLINE F max(F x, F y) { return svmaxnm_f32_x(all(), x, y); }  // the number, if x is none
  static OCTAVO_INLINE F min(F x, F y) { return svminnm_f32_x(all(), x, y); }
  static OCTAVO_INLINE F clamp(F x, F lo, F hi) {
    x = svsel_f32(svcmpgt_f32(all(), x, lo), x, lo);
    return svsel_f32(svcmplt_f32(all(), x, hi), x, hi);
  }
  static OCTAVO_INLINE Bytes add8(Bytes x, Bytes y) { return svadd_u8_x(svptrue_b8(), x, y); }

  // Shuffles. The low bytes of four registers; elements 0, 2, ... (1, 3, ...) of both; the first (second) halves, interleaved.
  static OCTAVO_INLINE Bytes narrow(I a, I b, I c, I d) {
    const svuint16_t low = svuzp1_u16(svreinterpret_u16_s32(a), svreinterpret_u16_s32(b));
    const svuint16_t high = svuzp1_u16(svreinterpret_u16_s32(c), svreinterpret_u16_s32(d));
    return svuzp1_u8(svreinterpret_u8_u16(low), svreinterpret_u8_u16(high));
  }
  // The low 16 bits of four registers, clamped to [lo, hi] of 16 bits, to 8; then `odd` is added. What the bounds are makes no
  // difference: without SVE2 nothing narrows and clamps at once.
  static OCTAVO_INLINE Bytes odd(int x) { return splat8(x); }
  static OCTAVO_INLINE svint16_t bound(int x, int odd) { return svdup_s16(int16_t(x - odd)); }
  template <bool Signed, bool Plain>
  static OCTAVO_INLINE Bytes saturate(I a, I b, I c, I d, Bytes odd, svint16_t lo, svint16_t hi) {
    const svbool_t p = svptrue_b16();
    svint16_t low = svuzp1_s16(svreinterpret_s16_s32(a), svreinterpret_s16_s32(b));
    svint16_t high = svuzp1_s16(svreinterpret_s16_s32(c), svreinterpret_s16_s32(d));
    low = svmin_s16_x(p, svmax_s16_x(p, low, lo), hi);
    high = svmin_s16_x(p, svmax_s16_x(p, high, lo), hi);
    const Bytes bytes = svuzp1_u8(svreinterpret_u8_s16(low), svreinterpret_u8_s16(high));
    return Plain ? bytes : add8(bytes, odd);
  }
  static OCTAVO_INLINE I even64(I x, I y) {
    return svreinterpret_s32_s64(svuzp1_s64(svreinterpret_s64_s32(x), svreinterpret_s64_s32(y)));
  }
  static OCTAVO_INLINE I odd64(I x, I y) {
    return svreinterpret_s32_s64(svuzp2_s64(svreinterpret_s64_s32(x), svreinterpret_s64_s32(y)));
  }
  static OCTAVO_INLINE Bytes even16(Bytes x, Bytes y) {
    return svreinterpret_u8_u16(svuzp1_u16(svreinterpret_u16_u8(x), svreinterpret_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes odd16(Bytes x, Bytes y) {
    return svreinterpret_u8_u16(svuzp2_u16(svreinterpret_u16_u8(x), svreinterpret_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes low16(Bytes x, Bytes y) {
    return svreinterpret_u8_u16(svzip1_u16(svreinterpret_u16_u8(x), svreinterpret_u16_u8(y)));
  }
  static OCTAVO_INLINE Bytes high16(Bytes x, Bytes y) {
    return svreinterpret_u8_u16(svzip2_u16(svreinterpret_u16_u8(x), svreinterpret_u16_u8(y)));
  }
  // A quarter of the bytes, as unsigned to 32 bits.
  template <int Quarter>
  static OCTAVO_INLINE I widen(Bytes x) {
    const svuint16_t half = Quarter < 2 ? svunpklo_u16(x) : svunpkhi_u16(x);
    return svreinterpret_s32_u32(Quarter % 2 ? svunpkhi_u32(half) : svunpklo_u32(half));
  }
  // Values of the columns in the order of a group's register v: Rows 1: as they are, 2: each pair of columns twice.
  template <int Rows, int v>
  static OCTAVO_INLINE I columns(I x) {
    if constexpr (Rows == 1) {
      return x;
    } else {
      const svint64_t pairs = svreinterpret_s64_s32(x);
      return svreinterpret_s32_s64(v % 2 ? svzip2_s64(pairs, pairs) : svzip1_s64(pairs, pairs));
    }
  }
  template <int Rows, int v>
  static OCTAVO_INLINE F columns(F x) {
    return svreinterpret_f32_s32(columns<Rows, v>(svreinterpret_s32_f32(x)));
  }

 private:
  static OCTAVO_INLINE svbool_t all() { return svptrue_b32(); }
  static OCTAVO_INLINE svbool_t part(int v, int n) { return svwhilelt_b32(v * lanes(), n); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
