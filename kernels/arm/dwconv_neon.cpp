// dwconv_{u8s8,s8s8}_neon_2x16x1, dwconv_f32f32_neon_7x4x1      acc[r][x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8 (flipped to s8), s8 or f32 pixels, channels contiguous
// B: int8: blocks of 16 channels, [taps][16] s8.  f32: blocks of 4 channels, [taps][4]
// C: any type
// Registers (int8 3x3, two pixels): 8 accumulators, 5 pixels, 4 sums of s16, 2 products, 9 weights; the constants are loaded
// Needs nothing more. Exact: two products of bytes are added in s16 before they go to int32. 128 * (|w0| + |w1|) fits unless
// both weights are -128; blocks of channels where that happens take products one by one
// Measured: no machine at hand. llvm-mca 19, 3x3, u8 to u8, cycles for 16 outputs, GCC 12 (Clang 19): cortex-a72 47 (51) at
// stride 1, 49 (52) at stride 2: 85 to 88 % of what all their vector instructions take; neoverse-n1 36
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/dwconv_int8.inl.h"
#include "kernels/dwconv_f32.inl.h"

template <bool kFlip, Part kPart>
OCTAVO_INLINE int8x16_t load_pixel(const char* p, const Block& b) {
  const uint8x16_t bytes = load_channels<kPart>(p, b.n);
  return vreinterpretq_s8_u8(kFlip ? veorq_u8(bytes, b.flip) : bytes);
}

OCTAVO_INLINE int8x16_t weight(const Block& b, int tap) { return vld1q_s8(reinterpret_cast<const int8_t*>(b.w) + tap * kBlock); }

// Sums of one or two products of 16 channels.
struct Products {
  int16x8_t low, high;
  Products() = default;
  OCTAVO_INLINE Products(int8x16_t a, int8x16_t w) : low(vmull_s8(vget_low_s8(a), vget_low_s8(w))), high(vmull_high_s8(a, w)) {}
  OCTAVO_INLINE void add(int8x16_t a, int8x16_t w) {
    low = vmlal_s8(low, vget_low_s8(a), vget_low_s8(w));
    high = vmlal_high_s8(high, a, w);
  }
  OCTAVO_INLINE void add_to(int32x4_t (&acc)[4]) const {
    acc[0] = vaddw_s16(acc[0], vget_low_s16(low));
    acc[1] = vaddw_high_s16(acc[1], low);
    acc[2] = vaddw_s16(acc[2], vget_low_s16(high));
    acc[3] = vaddw_high_s16(acc[3], high);
  }
};

// kPixels output pixels from x on, any window. kPairs: products are added two by two.
template <bool kFlip, int kPixels, bool kPairs, Part kPart, bool kBytes>
[[gnu::noinline]] void any_window(const DwconvArgs& g, const Block& b, int64_t r, int64_t x) {
  const void* const* rows = g.rows + r * g.stride_h;
  const int taps = g.kh * g.kw;
  int32x4_t acc[kPixels][4];
  for (int i = 0; i < kPixels; ++i)
    for (int q = 0; q < 4; ++q) acc[i][q] = b.bias[q];
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes, next = g.stride_w * g.pixel_stride_bytes;
  const ptrdiff_t start = x * next + b.channel;
  const char* p = static_cast<const char*>(rows[0]) + start;
  int tap = 0, y = 0, z = 0;
  const auto advance = [&] {
    ++tap;
    p += step;
    if (++z == g.kw) {
      z = 0;
      if (++y < g.kh) p = static_cast<const char*>(rows[y]) + start;
    }
  };
  while (tap < taps) {
    Products sum[kPixels];
    for (int i = 0; i < kPixels; ++i) sum[i] = Products(load_pixel<kFlip, kPart>(p + i * next, b), weight(b, tap));
    advance();
    if (kPairs && tap < taps) {
      for (int i = 0; i < kPixels; ++i) sum[i].add(load_pixel<kFlip, kPart>(p + i * next, b), weight(b, tap));
      advance();
    }
    for (int i = 0; i < kPixels; ++i) sum[i].add_to(acc[i]);
  }
  for (int i = 0; i < kPixels; ++i) store_pixel<kPart, kBytes>(acc[i], g, b, r, x + i);
}

// 3x3, Block::small, two pixels at a time that share columns: four of them at stride 1, five at stride 2. Returns how many pixels
// it did.
template <bool kFlip, int kStride, Part kPart>
[[gnu::noinline]] int64_t three_by_three(const DwconvArgs& g, const Block& b, int64_t r) {
  const ptrdiff_t step = g.pixel_stride_bytes, c_step = g.c_stride_bytes;
  const char* p[3];
  OCTAVO_UNROLL
  for (int y = 0; y < 3; ++y) p[y] = static_cast<const char*>(g.rows[r * g.stride_h + y]) + b.channel;
  char* c = b.c + r * g.c_row_stride_bytes;
  int64_t x = 0;
  for (; x + 2 <= g.n; x += 2, c += 2 * c_step) {
    int32x4_t acc[2][4];
    OCTAVO_UNROLL
    for (int q = 0; q < 8; ++q) {
      if (q == 4) fence();
      acc[q / 4][q % 4] = b.magic_bias[q % 4];
    }
    Products sum[2];
    OCTAVO_UNROLL
    for (int y = 0; y < 3; ++y) {
      int8x16_t a[3 + kStride];
      OCTAVO_UNROLL
      for (int z = 0; z < 3 + kStride; ++z) a[z] = load_pixel<kFlip, kPart>(p[y] + z * step, b);
      p[y] += 2 * kStride * step;
      OCTAVO_UNROLL
      for (int z = 0; z < 3; ++z) {
        const int tap = 3 * y + z;
        const int8x16_t w = weight(b, tap);
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) {
          if (tap % 2 == 1) {
            sum[i].add(a[z + i * kStride], w);
          } else {
            sum[i] = Products(a[z + i * kStride], w);
          }
          if (tap % 2 == 1 || tap == 8) sum[i].add_to(acc[i]);
        }
      }
      fence(acc);
    }
    store_small<kPart>(acc[0], b, c);
    store_small<kPart>(acc[1], b, c + c_step);
  }
  return x;
}

// Whether the products of taps 0 and 1, 2 and 3, ... may be added in s16.
inline bool pairs_fit(const Block& b, int taps) {
  uint8x16_t bad = vdupq_n_u8(0);
  for (int t = 0; t + 1 < taps; t += 2)
    bad = vorrq_u8(bad, vceqq_s8(vmaxq_s8(weight(b, t), weight(b, t + 1)), vdupq_n_s8(INT8_MIN)));
  return vmaxvq_u8(bad) == 0;
}

template <bool kFlip>
struct Mla {
  static void run(const DwconvArgs& g) { dwconv_blocks<Mla>(g, ptrdiff_t(g.kh) * g.kw * kBlock); }

  template <Part kPart, bool kBytes>
  static void rows(const DwconvArgs& g, const Block& b) {
    const bool pairs = pairs_fit(b, g.kh * g.kw);
    for (int64_t r = 0; r < g.m; ++r) {
      int64_t x = 0;
      if constexpr (kBytes && kPart != Part::few) {
        if (pairs && b.small && g.kh == 3 && g.kw == 3 && g.dilation_w == 1) {
          if (g.stride_w == 1) x = three_by_three<kFlip, 1, kPart>(g, b, r);
          if (g.stride_w == 2) x = three_by_three<kFlip, 2, kPart>(g, b, r);
        }
        for (; pairs && x + 2 <= g.n; x += 2) any_window<kFlip, 2, true, kPart, true>(g, b, r, x);
      }
      for (; x < g.n; ++x)
        pairs ? any_window<kFlip, 1, true, kPart, kBytes>(g, b, r, x) : any_window<kFlip, 1, false, kPart, kBytes>(g, b, r, x);
    }
  }
};

struct Floats {
  using F = float32x4_t;
  static constexpr int N = 4;
  static F load(const float* p) { return vld1q_f32(p); }
  static F load(const float* p, int n) { return load_part(p, size_t(n)); }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  static void store(float* p, F v, int n) { store_part(p, v, size_t(n)); }
  static F set(float v) { return vdupq_n_f32(v); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static void keep(F& x) { __asm__("" : "+w"(x)); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_dwconv_u8s8_neon_2x16x1(const DwconvArgs* g) { Mla<true>::run(*g); }
void octavo_dwconv_s8s8_neon_2x16x1(const DwconvArgs* g) { Mla<false>::run(*g); }
void octavo_dwconv_f32f32_neon_7x4x1(const DwconvArgs* g) { dwconv_f32<Floats>(*g); }
}
