// What the depthwise int8 kernels of Arm share: the constants of a block of 16 channels and the way out of the accumulators.
// Four registers of int32 hold the channels of a pixel in their order.
#include "kernels/arm/partial.inl.h"
#include "kernels/unroll.inl.h"

constexpr int kBlock = 16;

// How many of a block's channels there are. Half of them or more are two loads of eight bytes that may overlap.
enum class Part { all, half, few };

template <Part kPart>
OCTAVO_INLINE uint8x16_t load_channels(const char* p, int n) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p);
  if constexpr (kPart == Part::all) return vld1q_u8(bytes);
  if constexpr (kPart == Part::few) return load_part(bytes, size_t(n));
  const uint64x1_t last = vreinterpret_u64_u8(vld1_u8(bytes + n - 8));
  return vcombine_u8(vld1_u8(bytes), vreinterpret_u8_u64(vshl_u64(last, vdup_n_s64(8 * (n - 16)))));
}

// n <= 16 words at p, or zeros if p is null.
OCTAVO_INLINE void load_words(const void* p, int n, float32x4_t (&v)[4]) {
  const float* words = static_cast<const float*>(p);
  for (int q = 0; q < 4; ++q) {
    const int left = p ? n - 4 * q : 0;
    v[q] = left >= 4 ? vld1q_f32(words + 4 * q) : load_part(words + 4 * q, size_t(left > 0 ? left : 0));
  }
}

// What does not change over the pixels of a call.
struct Block {
  int32x4_t bias[4];
  float32x4_t scale[4];
  int32x4_t magic_bias[4];
  float32x4_t lo_f32, residual_scale;
  // 1.5 * 2^23: for |x| < 2^22 the float x + magic has rne(x) in its low bits, and its bits as an int are x more than magic's.
  float32x4_t magic;
  int32x4_t residual_zp;
  int16x8_t lo;
  uint8x16_t flip, residual_flip, range, base;
  const EpilogueArgs* e;
  const char* w;
  char* c;
  const char* residual;
  int64_t channel;  // the first one
  int n;            // channels, <= 16
  bool small;       // whether store_small() may be used

  Block(const DwconvArgs& g, const char* weights, int64_t first, int channels)
      : e(g.epi), w(weights), channel(first), n(channels) {
    const bool bytes = e->out == DType::u8 || e->out == DType::s8;
    const ptrdiff_t offset = first * (bytes ? 1 : 4);
    c = static_cast<char*>(g.c) + offset;
    residual = e->residual ? static_cast<const char*>(e->residual) + offset : nullptr;
    magic = vdupq_n_f32(0x1.8p23f);
    flip = vdupq_n_u8(0x80);
    float32x4_t words[4];
    load_words(e->bias ? e->bias + first : nullptr, n, words);
    load_words(e->scale ? e->scale + first : nullptr, n, scale);
    // |acc| <= |bias| + 2^15 for each tap.
    const float32x4_t sums = vdupq_n_f32(float(g.kh) * float(g.kw) * 0x1p15f);
    uint32x4_t fit = vdupq_n_u32(~0u);
    for (int q = 0; q < 4; ++q) {
      bias[q] = vreinterpretq_s32_f32(words[q]);
      magic_bias[q] = vaddq_s32(bias[q], vreinterpretq_s32_f32(magic));
      const float32x4_t most = vaddq_f32(vabsq_f32(vcvtq_f32_s32(bias[q])), sums);
      fit = vandq_u32(fit, vcltq_f32(most, vdupq_n_f32(0x1p22f)));
      fit = vandq_u32(fit, vcltq_f32(vmulq_f32(most, vabsq_f32(scale[q])), vdupq_n_f32(0x1.ffp14f)));
    }
    small = bytes && !residual && vminvq_u32(fit) != 0;
    const int r = e->residual_dtype == DType::s8 ? 128 : 0;
    residual_flip = vdupq_n_u8(uint8_t(r));
    residual_zp = vdupq_n_s32(e->residual_zp + r);
    residual_scale = vdupq_n_f32(e->residual_scale);
    lo_f32 = vdupq_n_f32(e->lo);
    const int low = vcvtns_s32_f32(e->lo), high = vcvtns_s32_f32(e->hi);
    lo = vdupq_n_s16(int16_t(low));
    range = vdupq_n_u8(uint8_t(high - low));
    base = vdupq_n_u8(uint8_t(low + e->zp));
  }
};

// Constants are loaded again after this, not kept in the registers of accumulators: a load costs no vector instruction.
OCTAVO_INLINE void fence() { __asm__ volatile("" ::: "memory"); }

// The same, and what goes into these accumulators before it goes in here: Clang would put it off, and keep all that it needs.
template <int kPixels>
OCTAVO_INLINE void fence(int32x4_t (&acc)[kPixels][4]) {
  OCTAVO_UNROLL
  for (int q = 0; q < 4 * kPixels; ++q) __asm__ volatile("" : "+w"(acc[q / 4][q % 4])::"memory");
}

// With x = rne(v), what is stored is min(max(x - lo, 0), hi - lo) + (lo + zp), the last sum modulo 256: rounding is monotonic, so
// the clamp may be taken on rounded integers. The subtraction saturates, and so does the narrowing, which is the max.
template <Part kPart>
OCTAVO_INLINE void store_rounded(int16x8_t low, int16x8_t high, const Block& b, char* c) {
  const uint8x8_t half = vqmovun_s16(vqsubq_s16(low, b.lo));
  const uint8x16_t bytes = vaddq_u8(vminq_u8(vqmovun_high_s16(half, vqsubq_s16(high, b.lo)), b.range), b.base);
  uint8_t* out = reinterpret_cast<uint8_t*>(c);
  if constexpr (kPart == Part::all) {
    vst1q_u8(out, bytes);
  } else {
    store_part(out, bytes, size_t(b.n));
  }
}

// u8, s8 where |acc| < 2^22 and |acc * scale| < 2^15, as Block::small says, from accumulators seeded with magic_bias: all
// conversions are additions, of which cores do more at a time than of conversions, and narrowing just takes the low halves.
template <Part kPart>
OCTAVO_INLINE void store_small(const int32x4_t (&acc)[4], const Block& b, char* c) {
  int16x8_t x[4];
  OCTAVO_UNROLL
  for (int q = 0; q < 4; ++q) {
    const float32x4_t v = vmulq_f32(vsubq_f32(vreinterpretq_f32_s32(acc[q]), b.magic), b.scale[q]);
    x[q] = vreinterpretq_s16_f32(vaddq_f32(v, b.magic));
  }
  store_rounded<kPart>(vuzp1q_s16(x[0], x[1]), vuzp1q_s16(x[2], x[3]), b, c);
}

// u8, s8. The conversion saturates, and so does all narrowing. A NaN, which would become 0, is made lo before.
template <Part kPart>
OCTAVO_INLINE void store_bytes(const int32x4_t (&acc)[4], const Block& b, const char* r, char* c) {
  float32x4_t v[4];
  if (r) {
    const uint8x16_t bytes = veorq_u8(load_channels<kPart>(r, b.n), b.residual_flip);
    const uint16x8_t words[2] = {vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)};
    OCTAVO_UNROLL
    for (int q = 0; q < 4; ++q) {
      const uint32x4_t wide = q % 2 ? vmovl_high_u16(words[q / 2]) : vmovl_u16(vget_low_u16(words[q / 2]));
      const float32x4_t x = vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(wide), b.residual_zp));
      v[q] = vfmaq_f32(vmulq_f32(x, b.residual_scale), vcvtq_f32_s32(acc[q]), b.scale[q]);
    }
  } else {
    OCTAVO_UNROLL
    for (int q = 0; q < 4; ++q) v[q] = vmulq_f32(vcvtq_f32_s32(acc[q]), b.scale[q]);
  }
  int16x4_t x[4];
  OCTAVO_UNROLL
  for (int q = 0; q < 4; ++q) x[q] = vqmovn_s32(vcvtnq_s32_f32(vmaxnmq_f32(v[q], b.lo_f32)));
  store_rounded<kPart>(vcombine_s16(x[0], x[1]), vcombine_s16(x[2], x[3]), b, c);
}

// s32, f32. fmaxnm would give lo for a NaN too, but has an order of its own for zeros.
inline void store_words(const int32x4_t (&acc)[4], const Block& b, const char* r, char* c) {
  const EpilogueArgs& e = *b.e;
  float* out = reinterpret_cast<float*>(c);
  float32x4_t v[4];
  OCTAVO_UNROLL
  for (int q = 0; q < 4; ++q) v[q] = vreinterpretq_f32_s32(acc[q]);
  if (e.out == DType::f32) {
    float32x4_t bias[4], more[4];
    load_words(e.bias_f32 ? e.bias_f32 + b.channel : nullptr, b.n, bias);
    load_words(r, b.n, more);
    const float32x4_t lo = vdupq_n_f32(e.lo), hi = vdupq_n_f32(e.hi);
    OCTAVO_UNROLL
    for (int q = 0; q < 4; ++q) {
      const float32x4_t f = vcvtq_f32_s32(acc[q]);
      v[q] = e.scale ? vfmaq_f32(bias[q], f, b.scale[q]) : vaddq_f32(f, bias[q]);
      if (r) v[q] = vaddq_f32(v[q], more[q]);
      v[q] = vbslq_f32(vcgtq_f32(v[q], lo), v[q], lo);
      v[q] = vbslq_f32(vcltq_f32(v[q], hi), v[q], hi);
    }
  }
  OCTAVO_UNROLL
  for (int q = 0; q < 4; ++q) {
    if (b.n >= 4 * q + 4) {
      vst1q_f32(out + 4 * q, v[q]);
    } else if (b.n > 4 * q) {
      store_part(out + 4 * q, v[q], size_t(b.n - 4 * q));
    }
  }
}

// Pixel x of output row y.
template <Part kPart, bool kBytes>
OCTAVO_INLINE void store_pixel(const int32x4_t (&acc)[4], const DwconvArgs& g, const Block& b, int64_t y, int64_t x) {
  char* c = b.c + y * g.c_row_stride_bytes + x * g.c_stride_bytes;
  const char* r = b.residual ? b.residual + y * g.residual_row_stride_bytes + x * b.e->residual_stride_bytes : nullptr;
  if constexpr (kBytes) {
    store_bytes<kPart>(acc, b, r, c);
  } else {
    store_words(acc, b, r, c);
  }
}

// All blocks of 16 channels, block_bytes of packed weights each. K::rows<kPart, kBytes>(g, block) computes one.
template <class K, Part kPart>
inline void dwconv_block(const DwconvArgs& g, const char* w, int64_t channel, int n) {
  const Block b(g, w, channel, n);
  g.epi->out == DType::u8 || g.epi->out == DType::s8 ? K::template rows<kPart, true>(g, b) : K::template rows<kPart, false>(g, b);
}
template <class K>
inline void dwconv_blocks(const DwconvArgs& g, ptrdiff_t block_bytes) {
  const char* w = static_cast<const char*>(g.w);
  int64_t c = 0;
  for (; c + kBlock <= g.channels; c += kBlock, w += block_bytes) dwconv_block<K, Part::all>(g, w, c, kBlock);
  const int n = int(g.channels - c);
  if (n >= kBlock / 2) {
    dwconv_block<K, Part::half>(g, w, c, n);
  } else if (n > 0) {
    dwconv_block<K, Part::few>(g, w, c, n);
  }
}
