// Depthwise int8 convolution by dot products of four bytes, on a kernel K: dot(acc, pixels, weights) and kFlip, whether bytes
// are flipped from u8 to s8. The bytes of four taps are interleaved by zips, so that a word holds the taps of one channel.
#include "kernels/arm/dwconv_int8.inl.h"

template <class K, Part kPart>
OCTAVO_INLINE uint8x16_t load_pixel(const char* p, const Block& b) {
  const uint8x16_t bytes = load_channels<kPart>(p, b.n);
  if constexpr (K::kFlip) return veorq_u8(bytes, b.flip);
  return bytes;
}

// The bytes of two taps side by side: channels 0 to 7, channels 8 to 15.
struct Pair {
  uint16x8_t low, high;
  Pair() = default;
  OCTAVO_INLINE Pair(uint8x16_t a, uint8x16_t b)
      : low(vreinterpretq_u16_u8(vzip1q_u8(a, b))), high(vreinterpretq_u16_u8(vzip2q_u8(a, b))) {}
};

OCTAVO_INLINE void interleave(const Pair& a, const Pair& b, uint8x16_t (&d)[4]) {
  d[0] = vreinterpretq_u8_u16(vzip1q_u16(a.low, b.low));
  d[1] = vreinterpretq_u8_u16(vzip2q_u16(a.low, b.low));
  d[2] = vreinterpretq_u8_u16(vzip1q_u16(a.high, b.high));
  d[3] = vreinterpretq_u8_u16(vzip2q_u16(a.high, b.high));
}

OCTAVO_INLINE int8x16_t packed(const Block& b, int group, int q) {
  return vld1q_s8(reinterpret_cast<const int8_t*>(b.w) + (group * 4 + q) * 16);
}

// kPixels output pixels from x on, any window. kWindow: it is kWindow x kWindow; 0 = from the arguments.
template <class K, int kWindow, int kPixels, Part kPart, bool kBytes>
[[gnu::noinline]] void any_window(const DwconvArgs& g, const Block& b, int64_t r, int64_t x) {
  const int kh = kWindow ? kWindow : g.kh, kw = kWindow ? kWindow : g.kw, taps = kh * kw;
  const void* const* rows = g.rows + r * g.stride_h;
  int32x4_t acc[kPixels][4];
  for (int i = 0; i < kPixels; ++i)
    for (int q = 0; q < 4; ++q) acc[i][q] = b.bias[q];
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes, next = g.stride_w * g.pixel_stride_bytes;
  const ptrdiff_t start = x * next + b.channel;
  const char* p = static_cast<const char*>(rows[0]) + start;
  int y = 0, z = 0;
  for (int done = 0; done < taps; done += 4) {
    uint8x16_t tap[kPixels][4];
    OCTAVO_UNROLL
    for (int t = 0; t < 4; ++t) {
      if (done + t >= taps) {  // past the last tap the weights are 0
        for (int i = 0; i < kPixels; ++i) tap[i][t] = tap[i][0];
        continue;
      }
      for (int i = 0; i < kPixels; ++i) tap[i][t] = load_pixel<K, kPart>(p + i * next, b);
      p += step;
      if (++z == kw) {
        z = 0;
        if (++y < kh) p = static_cast<const char*>(rows[y]) + start;
      }
    }
    uint8x16_t d[kPixels][4];
    for (int i = 0; i < kPixels; ++i) interleave(Pair(tap[i][0], tap[i][1]), Pair(tap[i][2], tap[i][3]), d[i]);
    for (int q = 0; q < 4; ++q) {
      const int8x16_t w = packed(b, done / 4, q);
      for (int i = 0; i < kPixels; ++i) acc[i][q] = K::dot(acc[i][q], d[i][q], w);
    }
  }
  for (int i = 0; i < kPixels; ++i) store_pixel<kPart, kBytes>(acc[i], g, b, r, x + i);
}

// The weights of a 3x3 window row by row: w[y][0] = (w0 w1 w2 0), w[y][1] = (0 w0 w1 w2) for a window one pixel on.
struct Rows3x3 {
  int8x16_t w[3][2][4];

  explicit Rows3x3(const Block& b) {
    for (int q = 0; q < 4; ++q) {
      uint32x4_t group[3];
      for (int i = 0; i < 3; ++i) group[i] = vreinterpretq_u32_s8(packed(b, i, q));
      const uint32x4_t row[3] = {group[0], vsriq_n_u32(vshlq_n_u32(group[1], 8), group[0], 24),
                                 vsriq_n_u32(vshlq_n_u32(group[2], 16), group[1], 16)};
      for (int y = 0; y < 3; ++y) {
        const uint32x4_t right = vshlq_n_u32(row[y], 8);
        w[y][1][q] = vreinterpretq_s8_u32(right);
        w[y][0][q] = vreinterpretq_s8_u32(vshrq_n_u32(right, 8));
      }
    }
  }
};

// 3x3, stride 1, Block::small: two neighbouring pixels of each of kRows output rows share four columns of kRows + 2 input rows.
// Returns how many pixels it did.
template <class K, int kRows, Part kPart>
[[gnu::noinline]] int64_t stride_1(const DwconvArgs& g, const Block& b, const Rows3x3& w, int64_t r) {
  constexpr int kIn = kRows + 2;
  const ptrdiff_t step = g.pixel_stride_bytes, c_step = g.c_stride_bytes;
  const char* p[kIn];
  char* c[kRows];
  Pair left[kIn];
  OCTAVO_UNROLL
  for (int i = 0; i < kIn; ++i) {
    p[i] = static_cast<const char*>(g.rows[r * g.stride_h + i]) + b.channel;
    left[i] = Pair(load_pixel<K, kPart>(p[i], b), load_pixel<K, kPart>(p[i] + step, b));
    p[i] += 2 * step;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < kRows; ++i) c[i] = b.c + (r + i) * g.c_row_stride_bytes;
  int64_t x = 0;
  for (; x + 2 <= g.n; x += 2) {
    int32x4_t acc[kRows][2][4];
    OCTAVO_UNROLL
    for (int i = 0; i < kIn; ++i) {
      if (i < kRows) {
        OCTAVO_UNROLL
        for (int q = 0; q < 8; ++q) {
          if (q == 4) fence();
          acc[i][q / 4][q % 4] = b.magic_bias[q % 4];
        }
      }
      const Pair right(load_pixel<K, kPart>(p[i], b), load_pixel<K, kPart>(p[i] + step, b));
      p[i] += 2 * step;
      uint8x16_t d[4];
      interleave(left[i], right, d);
      left[i] = right;
      OCTAVO_UNROLL
      for (int y = 0; y < 3; ++y) {
        if (i < y || i - y >= kRows) continue;
        OCTAVO_UNROLL
        for (int q = 0; q < 8; ++q) acc[i - y][q / 4][q % 4] = K::dot(acc[i - y][q / 4][q % 4], d[q % 4], w.w[y][q / 4][q % 4]);
        fence(acc[i - y]);
      }
      if (i < 2) continue;
      store_small<kPart>(acc[i - 2][0], b, c[i - 2]);
      store_small<kPart>(acc[i - 2][1], b, c[i - 2] + c_step);
      c[i - 2] += 2 * c_step;
      fence();
    }
  }
  return x;
}

// 3x3, stride 2, Block::small: neighbouring pixels share a pair of columns. The last pixel, after which there is no pair, is left
// to others.
template <class K, Part kPart>
[[gnu::noinline]] int64_t stride_2(const DwconvArgs& g, const Block& b, const Rows3x3& w, int64_t r) {
  const ptrdiff_t step = g.pixel_stride_bytes;
  const char* p[3];
  char* c = b.c + r * g.c_row_stride_bytes;
  Pair left[3];
  OCTAVO_UNROLL
  for (int i = 0; i < 3; ++i) {
    p[i] = static_cast<const char*>(g.rows[r * g.stride_h + i]) + b.channel;
    left[i] = Pair(load_pixel<K, kPart>(p[i], b), load_pixel<K, kPart>(p[i] + step, b));
    p[i] += 2 * step;
  }
  int64_t x = 0;
  for (; x + 1 < g.n; ++x, c += g.c_stride_bytes) {
    int32x4_t acc[1][4];
    OCTAVO_UNROLL
    for (int q = 0; q < 4; ++q) acc[0][q] = b.magic_bias[q];
    OCTAVO_UNROLL
    for (int i = 0; i < 3; ++i) {
      const Pair right(load_pixel<K, kPart>(p[i], b), load_pixel<K, kPart>(p[i] + step, b));
      p[i] += 2 * step;
      uint8x16_t d[4];
      interleave(left[i], right, d);
      left[i] = right;
      OCTAVO_UNROLL
      for (int q = 0; q < 4; ++q) acc[0][q] = K::dot(acc[0][q], d[q], w.w[i][0][q]);
      fence(acc);
    }
    store_small<kPart>(acc[0], b, c);
  }
  return x;
}

// The pixels of output row r from x on.
template <class K, int kWindow, Part kPart>
inline void rest_of_row(const DwconvArgs& g, const Block& b, int64_t r, int64_t x) {
  for (; x + 2 <= g.n; x += 2) any_window<K, kWindow, 2, kPart, true>(g, b, r, x);
  if (x < g.n) any_window<K, kWindow, 1, kPart, true>(g, b, r, x);
}

template <class K>
struct Dot {
  static void run(const DwconvArgs& g) { dwconv_blocks<Dot>(g, (ptrdiff_t(g.kh) * g.kw + 3) / 4 * (4 * kBlock)); }

  template <Part kPart, bool kBytes>
  static void rows(const DwconvArgs& g, const Block& b) {
    if constexpr (kBytes && kPart != Part::few) {
      if (g.kh == 3 && g.kw == 3) return three_by_three<kPart>(g, b);
      for (int64_t r = 0; r < g.m; ++r) rest_of_row<K, 0, kPart>(g, b, r, 0);
    } else {
      for (int64_t r = 0; r < g.m; ++r)
        for (int64_t x = 0; x < g.n; ++x) any_window<K, 0, 1, kPart, kBytes>(g, b, r, x);
    }
  }

  template <Part kPart>
  static void three_by_three(const DwconvArgs& g, const Block& b) {
    const Rows3x3 w(b);
    const bool dense = b.small && g.dilation_w == 1 && g.n > 1;
    int64_t r = 0;
    for (; dense && g.stride_w == 1 && g.stride_h == 1 && r + 2 <= g.m; r += 2) {
      const int64_t x = stride_1<K, 2, kPart>(g, b, w, r);
      rest_of_row<K, 3, kPart>(g, b, r, x);
      rest_of_row<K, 3, kPart>(g, b, r + 1, x);
    }
    for (; r < g.m; ++r) {
      int64_t x = 0;
      if (dense && g.stride_w == 1) x = stride_1<K, 1, kPart>(g, b, w, r);
      if (dense && g.stride_w == 2) x = stride_2<K, kPart>(g, b, w, r);
      rest_of_row<K, 3, kPart>(g, b, r, x);
    }
  }
};
