// 128-bit registers: the vocabulary of the loop and the epilogue templates (Armv8.0), and rows of A.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

template <class T>
OCTAVO_INLINE T load_as(const char* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <class T>
OCTAVO_INLINE void store_as(char* p, T x) {
  std::memcpy(p, &x, sizeof x);
}

// The 0 < n < 16 bytes at p, followed by zeros. Two loads that overlap take the place of pieces.
OCTAVO_INLINE uint8x16_t load_bytes(const char* p, int n) {
  uint64_t low, high = 0;
  if (n >= 8) {
    low = load_as<uint64_t>(p);
    if (n > 8) high = load_as<uint64_t>(p + n - 8) >> (8 * (16 - n));
  } else if (n >= 4) {
    low = load_as<uint32_t>(p) | uint64_t(load_as<uint32_t>(p + n - 4)) << (8 * (n - 4));
  } else {
    low = uint8_t(p[0]) | uint64_t(uint8_t(p[n / 2])) << (8 * (n / 2)) | uint64_t(uint8_t(p[n - 1])) << (8 * (n - 1));
  }
  return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}

// Writes the first 0 < n < 16 bytes.
OCTAVO_INLINE void store_bytes(char* p, uint8x16_t x, int n) {
  if (n & 8) {
    vst1_u8(reinterpret_cast<uint8_t*>(p), vget_low_u8(x));
    x = vextq_u8(x, x, 8);
    p += 8;
  }
  uint64_t rest = vgetq_lane_u64(vreinterpretq_u64_u8(x), 0);
  if (n & 4) {
    store_as(p, uint32_t(rest));
    rest >>= 32;
    p += 4;
  }
  if (n & 2) {
    store_as(p, uint16_t(rest));
    rest >>= 16;
    p += 2;
  }
  if (n & 1) *p = char(rest);
}

struct Q {
  using I = int32x4_t;  // holds 16-bit and 8-bit values too
  using F = float32x4_t;
  static constexpr int lanes = 4, vector_bytes = 16;
  static constexpr bool saturates = true;  // floats that do not fit, on their way to integers

  // The first n lanes of a vector.
  struct Part {
    int n;
    OCTAVO_INLINE explicit Part(int live) : n(live) {}
  };

  // What turns small integers into floats and back by additions: 1.5 * 2^23, where neighbours are 1 apart, and its bits.
  static constexpr float kMagic = 12582912.0f;
  static constexpr int32_t kMagicBits = 0x4b400000;
  static OCTAVO_INLINE F as_float(I x) { return vreinterpretq_f32_s32(x); }
  static OCTAVO_INLINE I as_bits(F x) { return vreinterpretq_s32_f32(x); }

  // Puts a value into a register and hides where it came from.
  template <class X>
  static OCTAVO_INLINE void keep(X& x) {
    asm("" : "+w"(x));
  }

  static OCTAVO_INLINE F splat(float x) { return vdupq_n_f32(x); }
  static OCTAVO_INLINE I splat(int32_t x) { return vdupq_n_s32(x); }
  static OCTAVO_INLINE I splat16(int x) { return vreinterpretq_s32_s16(vdupq_n_s16(int16_t(x))); }
  static OCTAVO_INLINE I splat8(int x) { return vreinterpretq_s32_s8(vdupq_n_s8(int8_t(x))); }
  static OCTAVO_INLINE I load(const int32_t* p) { return vld1q_s32(p); }
  static OCTAVO_INLINE F load(const float* p) { return vld1q_f32(p); }
  static OCTAVO_INLINE I load(const int32_t* p, Part part) {
    return vreinterpretq_s32_u8(load_bytes(reinterpret_cast<const char*>(p), part.n * 4));
  }
  static OCTAVO_INLINE F load(const float* p, Part part) {
    return vreinterpretq_f32_u8(load_bytes(reinterpret_cast<const char*>(p), part.n * 4));
  }
  static OCTAVO_INLINE uint32_t load8(const char* p) { return load_as<uint32_t>(p); }
  static OCTAVO_INLINE uint32_t load8(const char* p, Part part) {
    return vgetq_lane_u32(vreinterpretq_u32_u8(load_bytes(p, part.n)), 0);
  }
  static OCTAVO_INLINE void store(char* p, I x) { vst1q_u8(reinterpret_cast<uint8_t*>(p), vreinterpretq_u8_s32(x)); }
  static OCTAVO_INLINE void store(char* p, F x) { store(p, vreinterpretq_s32_f32(x)); }
  static OCTAVO_INLINE void store(char* p, I x, Part part) { store_bytes(p, vreinterpretq_u8_s32(x), part.n * 4); }
  static OCTAVO_INLINE void store(char* p, F x, Part part) { store(p, vreinterpretq_s32_f32(x), part); }

  static OCTAVO_INLINE F to_float(I x) { return vcvtq_f32_s32(x); }
  static OCTAVO_INLINE I round(F x) { return vcvtnq_s32_f32(x); }
  static OCTAVO_INLINE int round(float x) { return vcvtns_s32_f32(x); }
  static OCTAVO_INLINE I add(I x, I y) { return vaddq_s32(x, y); }
  static OCTAVO_INLINE F add(F x, F y) { return vaddq_f32(x, y); }
  static OCTAVO_INLINE F sub(F x, F y) { return vsubq_f32(x, y); }
  static OCTAVO_INLINE I sub(I x, I y) { return vsubq_s32(x, y); }
  static OCTAVO_INLINE F mul(F x, F y) { return vmulq_f32(x, y); }
  static OCTAVO_INLINE F fma(F x, F y, F z) { return vfmaq_f32(z, x, y); }
  // x > y ? x : y and x < y ? x : y. FMAX and FMAXNM have other ideas about NaN and about the sign of zero.
  static OCTAVO_INLINE F max(F x, F y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
  static OCTAVO_INLINE F min(F x, F y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
  // Whether all |x| < y.
  static OCTAVO_INLINE bool below(F x, float y) { return vminvq_u32(vcaltq_f32(x, vdupq_n_f32(y))) != 0; }

  // 8-bit values, after adding `bump` (0 or 128) modulo 256, as unsigned to 32 bits.
  static OCTAVO_INLINE I widen(uint32_t x, int bump) {
    const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(x ^ uint32_t(bump) * 0x01010101u));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
  }
  static OCTAVO_INLINE I pack16(I x, I y) { return vreinterpretq_s32_s16(vqmovn_high_s32(vqmovn_s32(x), y)); }
  // The low 16 bits of all lanes of x, then of y.
  static OCTAVO_INLINE I low16(I x, I y) {
    return vreinterpretq_s32_s16(vuzp1q_s16(vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(y)));
  }
  static OCTAVO_INLINE I adds16(I x, I y) {
    return vreinterpretq_s32_s16(vqaddq_s16(vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(y)));
  }
  static OCTAVO_INLINE I packu8(I x, I y) {
    return vreinterpretq_s32_u8(vqmovun_high_s16(vqmovun_s16(vreinterpretq_s16_s32(x)), vreinterpretq_s16_s32(y)));
  }
  static OCTAVO_INLINE I min8(I x, I y) {
    return vreinterpretq_s32_u8(vminq_u8(vreinterpretq_u8_s32(x), vreinterpretq_u8_s32(y)));
  }
  static OCTAVO_INLINE I add8(I x, I y) {
    return vreinterpretq_s32_s8(vaddq_s8(vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y)));
  }
  // Part j of Rows equal parts of the register: all of it, or its first n bytes.
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j) {
    if constexpr (Rows == 1) {
      store(p, x);
    } else if constexpr (Rows == 2) {
      vst1_s32(reinterpret_cast<int32_t*>(p), j ? vget_high_s32(x) : vget_low_s32(x));
    } else {
      store_as(p, lane(x, j));
    }
  }
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j, int n) {
    if constexpr (Rows == 2) x = j ? vextq_s32(x, x, 2) : x;
    if constexpr (Rows == 4) x = vdupq_n_s32(lane(x, j));
    store_bytes(p, vreinterpretq_u8_s32(x), n);
  }

 private:
  static OCTAVO_INLINE int32_t lane(I x, int j) {
    switch (j) {
      case 1:
        return vgetq_lane_s32(x, 1);
      case 2:
        return vgetq_lane_s32(x, 2);
      case 3:
        return vgetq_lane_s32(x, 3);
      default:
        return vgetq_lane_s32(x, 0);
    }
  }
};

// A pointer for each row: there are 31 registers for them.
template <int M>
class PointerRows {
 public:
  struct Scratch {};
  OCTAVO_INLINE PointerRows(const char* a, ptrdiff_t stride, int64_t, Scratch&) {
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i, a += stride) p_[i] = a;
  }
  OCTAVO_INLINE const char* operator[](int i) const { return p_[i]; }
  OCTAVO_INLINE void advance(ptrdiff_t bytes) {
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) p_[i] += bytes;
  }

 private:
  const char* p_[M];
};

// The last 0 < n < 16 bytes of M rows, each followed by zeros.
template <int M>
class RowEnds {
 public:
  OCTAVO_INLINE RowEnds(const PointerRows<M>& rows, int n) {
    for (int i = 0; i < M; ++i) x_[i] = load_bytes(rows[i], n);
  }
  OCTAVO_INLINE uint8x16_t operator[](int i) const { return x_[i]; }

 private:
  uint8x16_t x_[M];
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
