// The elementwise routines on 8 lanes: two registers, so that a chain of fma has another one beside it. In intrinsics, since what
// xsimd 8.1 has for min, max, fma, rounding and square roots differs in its bits from the other instruction sets.
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/partial.inl.h"
#include "kernels/eltwise_lane.inl.h"

struct Vec {
  static constexpr int N = 8;
  struct F {
    float32x4_t low, high;
    F() = default;
    explicit F(float v) : low(vdupq_n_f32(v)), high(low) {}
    F(float32x4_t l, float32x4_t h) : low(l), high(h) {}
    friend F operator+(F a, F b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
    friend F operator-(F a, F b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
    friend F operator*(F a, F b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
    friend F operator/(F a, F b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
  };
  struct I {
    int32x4_t low, high;
    I() = default;
    explicit I(int32_t v) : low(vdupq_n_s32(v)), high(low) {}
    I(int32x4_t l, int32x4_t h) : low(l), high(h) {}
    friend I operator+(I a, I b) { return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
    friend I operator-(I a, I b) { return {vsubq_s32(a.low, b.low), vsubq_s32(a.high, b.high)}; }
    friend I operator^(I a, I b) { return {veorq_s32(a.low, b.low), veorq_s32(a.high, b.high)}; }
    friend I operator<<(I a, int s) { return {vshlq_s32(a.low, vdupq_n_s32(s)), vshlq_s32(a.high, vdupq_n_s32(s))}; }
    friend I operator>>(I a, int s) { return a << -s; }
  };
  struct M {
    uint32x4_t low, high;
  };
  struct All {};
  struct First {
    size_t n;
  };
  static First first(size_t n) { return {n}; }

  static F fma(F a, F b, F c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
  static F min(F a, F b) { return select(lt(a, b), a, b); }  // fmin and fminnm differ where one is NaN or both are 0
  static F max(F a, F b) { return select(lt(b, a), a, b); }
  static F sqrt(F a) { return {vsqrtq_f32(a.low), vsqrtq_f32(a.high)}; }
  static F floor(F a) { return {vrndmq_f32(a.low), vrndmq_f32(a.high)}; }
  static F ceil(F a) { return {vrndpq_f32(a.low), vrndpq_f32(a.high)}; }
  static F rint(F a) { return {vrndnq_f32(a.low), vrndnq_f32(a.high)}; }
  static F abs(F a) { return {vabsq_f32(a.low), vabsq_f32(a.high)}; }
  static F copysign(F a, F s) { return select({vdupq_n_u32(0x7fffffff), vdupq_n_u32(0x7fffffff)}, a, s); }
  static M lt(F a, F b) { return {vcltq_f32(a.low, b.low), vcltq_f32(a.high, b.high)}; }
  static M is_nan(F a) { return {vmvnq_u32(vceqq_f32(a.low, a.low)), vmvnq_u32(vceqq_f32(a.high, a.high))}; }
  static F nan_to_zero(F a) {
    const auto number = [](float32x4_t v) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vceqq_f32(v, v))); };
    return {number(a.low), number(a.high)};
  }
  static F select(M m, F a, F b) { return {vbslq_f32(m.low, a.low, b.low), vbslq_f32(m.high, a.high, b.high)}; }
  static I bits(F a) { return {vreinterpretq_s32_f32(a.low), vreinterpretq_s32_f32(a.high)}; }
  static F from_bits(I i) { return {vreinterpretq_f32_s32(i.low), vreinterpretq_f32_s32(i.high)}; }
  static I to_int(F a) { return {vcvtnq_s32_f32(a.low), vcvtnq_s32_f32(a.high)}; }
  static F to_float(I i) { return {vcvtq_f32_s32(i.low), vcvtq_f32_s32(i.high)}; }

  static F load(const float* p, All) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static F load(const float* p, First l, float fill) {
    const F f(fill);
    if (l.n < 4) return {load_part(p, l.n, f.low), f.high};
    return {vld1q_f32(p), load_part(p + 4, l.n - 4, f.high)};
  }
  static F load(const float* p, First l) { return load(p, l, 0.0f); }
  static void store(float* p, F v, All) { vst1q_f32(p, v.low), vst1q_f32(p + 4, v.high); }
  static void store(float* p, F v, First l) {
    if (l.n < 4) return store_part(p, v.low, l.n);
    vst1q_f32(p, v.low);
    store_part(p + 4, v.high, l.n - 4);
  }
  static I load_s32(const int32_t* p, All) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
  static I load_s32(const int32_t* p, First l) { return bits(load(reinterpret_cast<const float*>(p), l)); }

  static I widen(uint8x8_t b) {
    const uint16x8_t words = vmovl_u8(b);
    return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words))), vreinterpretq_s32_u32(vmovl_high_u16(words))};
  }
  static uint8x8_t narrow(I v) { return vmovn_u16(vuzp1q_u16(vreinterpretq_u16_s32(v.low), vreinterpretq_u16_s32(v.high))); }
  static I load_u8(const uint8_t* p, All) { return widen(vld1_u8(p)); }
  static I load_u8(const uint8_t* p, First l) { return widen(vcreate_u8(load_below_8(p, l.n))); }
  static void store_u8(uint8_t* p, I v, All) { vst1_u8(p, narrow(v)); }
  static void store_u8(uint8_t* p, I v, First l) { store_below_8(p, vget_lane_u64(vreinterpret_u64_u8(narrow(v)), 0), l.n); }

  // Bytes to floats by the exponent of 2^23, between whose neighbours lie integers: 2^23 + b, minus 2^23 + zp. Conversions take four
  // times as long on many cores.
  static constexpr int kGroup = 2;
  struct Widen {
    uint8x16_t flip;
    F base;
    Widen(int32_t zp, uint8_t top) : flip(vdupq_n_u8(top)), base(float(0x800000 + zp)) {}
    OCTAVO_INLINE void operator()(uint8x16_t bytes, F (&v)[2]) const {
      bytes = veorq_u8(bytes, flip);
      const uint16x8_t exponent = vdupq_n_u16(0x4b00), low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
      v[0] = F(vreinterpretq_f32_u16(vzip1q_u16(low, exponent)), vreinterpretq_f32_u16(vzip2q_u16(low, exponent))) - base;
      v[1] = F(vreinterpretq_f32_u16(vzip1q_u16(high, exponent)), vreinterpretq_f32_u16(vzip2q_u16(high, exponent))) - base;
    }
    OCTAVO_INLINE void in_order(const uint8_t* p, F (&v)[2]) const { (*this)(vld1q_u8(p), v); }
  };
  // Back by 1.5 * 2^23: the sum's low 16 bits are the rounded integer.
  struct Narrow {
    int16x8_t zp;
    uint8x16_t flip;
    Narrow(int32_t z, uint8_t, uint8_t, uint8_t top) : zp(vdupq_n_s16(int16_t(z))), flip(vdupq_n_u8(top)) {}
    static constexpr float kNear = 0;  // the bounds apply to floats alone
    static OCTAVO_INLINE I round(F v, F least, F most) {
      const F in(vminnmq_f32(vmaxnmq_f32(v.low, least.low), most.low), vminnmq_f32(vmaxnmq_f32(v.high, least.high), most.high));
      return bits(in + F(0x1.8p23f));
    }
    OCTAVO_INLINE uint8x16_t operator()(const I (&v)[2]) const {
      return veorq_u8(vqmovun_high_s16(vqmovun_s16(words(v[0])), words(v[1])), flip);
    }
    OCTAVO_INLINE int16x8_t words(I v) const {
      return vaddq_s16(vuzp1q_s16(vreinterpretq_s16_s32(v.low), vreinterpretq_s16_s32(v.high)), zp);
    }
    static OCTAVO_INLINE uint8x16_t in_order(uint8x16_t bytes) { return bytes; }
  };
  // Sums of bytes in 16 bits.
  struct Words {
    uint16x8_t low = vdupq_n_u16(0), high = vdupq_n_u16(0);
    OCTAVO_INLINE void add(uint8x16_t b) { low = vaddw_u8(low, vget_low_u8(b)), high = vaddw_high_u8(high, b); }
    OCTAVO_INLINE void add(uint8x16_t a, uint8x16_t b) { add(a), add(b); }
    OCTAVO_INLINE void widen(F zero, F (&v)[2]) const { v[0] = floats(low) - zero, v[1] = floats(high) - zero; }
    static F floats(uint16x8_t w) {
      const uint16x8_t exponent = vdupq_n_u16(0x4b00);
      return {vreinterpretq_f32_u16(vzip1q_u16(w, exponent)), vreinterpretq_f32_u16(vzip2q_u16(w, exponent))};
    }
  };

  template <class T>
  using Zip = OneLane<T>;

  struct Bytes {
    static constexpr int N = 16;
    using All = Vec::All;
    using First = Vec::First;
    static First first(size_t n) { return {n}; }
    static uint8x16_t load(const uint8_t* p, All) { return vld1q_u8(p); }
    static uint8x16_t load(const uint8_t* p, First l) { return load_part(p, l.n); }
    static void store(uint8_t* p, uint8x16_t v, All) { vst1q_u8(p, v); }
    static void store(uint8_t* p, uint8x16_t v, First l) { store_part(p, v, l.n); }
    static uint8x16_t max(uint8x16_t a, uint8x16_t b) { return vmaxq_u8(a, b); }
    static uint8x16_t max_s8(uint8x16_t a, uint8x16_t b) {
      return vreinterpretq_u8_s8(vmaxq_s8(vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)));
    }
    static uint8x16_t flip(uint8x16_t a, uint8_t mask) { return veorq_u8(a, vdupq_n_u8(mask)); }
    // tbl gives 0 where the index is past its 64 bytes, tbx leaves what is there.
    static uint8x16_t lookup(const uint8_t* table, uint8x16_t i) {
      const uint8x16_t step = vdupq_n_u8(64);
      uint8x16_t v = vqtbl4q_u8(vld1q_u8_x4(table), i);
      for (int k = 64; k < 256; k += 64) {
        i = vsubq_u8(i, step);
        v = vqtbx4q_u8(v, vld1q_u8_x4(table + k), i);
      }
      return v;
    }
  };
};

#include "kernels/eltwise.inl.h"

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::EltwiseKernels octavo_eltwise_neon;
constinit const octavo::EltwiseKernels octavo_eltwise_neon =
    octavo::OCTAVO_ISA::eltwise_table<octavo::OCTAVO_ISA::Vec>("eltwise_neon", octavo::Isa::neon);
}
