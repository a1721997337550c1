// One channel block of a depthwise int8 convolution on a vector vocabulary V (Ymm, Xmm, Zmm of dwconv_vectors.inl.h).
//
// The bytes of kGroup taps (VNNI: 4, else 2) are interleaved by unpacking, so that one dword holds the taps of one channel.
// Unpacking deals the channels to four quarters: quarter q holds the channels 16*l + 4*q .. 4*q+3 of every 16-byte lane l.
// Weights are packed in that order (PackFormat::unpack_order); bias and scale are put in it once per row of pixels;
// packing the result to bytes undoes it.

// What does not change over a row of pixels.
template <class V>
struct Row {
  typename V::T bias[4], scale[4];
  const char* w;             // first column of this block, in quarters w_quarter bytes apart, groups w_group bytes apart
  ptrdiff_t w_quarter, w_group;
  int n;                     // channels, <= V::kChannels
};

template <class V, bool kTail>
inline typename V::T load_pixel(const char* p, int n, typename V::T flip) {
  if constexpr (kTail) return V::bitxor(V::load(p, n), flip);
  return V::bitxor(V::load(p), flip);
}

// u8, s8: q = rne(clamp(v)) + zp. The clamp from above is on floats, that from below on words: rounding is monotonic,
// and whatever is below int32 (or NaN) becomes the smallest word.
template <class V, bool kTail>
inline void store_bytes(const typename V::T (&acc)[4], const Row<V>& row, const EpilogueArgs& e, const char* r, char* c) {
  using T = typename V::T;
  using F = typename V::F;
  const F hi = V::set_f32(e.hi);
  F v[4];
  if (r) {
    const T flip = V::set_s8(e.residual_dtype == DType::s8 ? 0x80 : 0);
    const T zp = V::set_s32(e.residual_zp + (e.residual_dtype == DType::s8 ? 128 : 0));
    const F m = V::set_f32(e.residual_scale);
    const T bytes = load_pixel<V, kTail>(r, row.n, flip);
    const T lo = V::unpacklo8(bytes, V::zero()), hi8 = V::unpackhi8(bytes, V::zero());
    const T q[4] = {V::unpacklo16(lo, V::zero()), V::unpackhi16(lo, V::zero()), V::unpacklo16(hi8, V::zero()),
                    V::unpackhi16(hi8, V::zero())};
    for (int i = 0; i < 4; ++i)
      v[i] = V::fma(V::to_f32(acc[i]), V::as_f32(row.scale[i]), V::mul(V::to_f32(V::sub32(q[i], zp)), m));
  } else {
    for (int i = 0; i < 4; ++i) v[i] = V::mul(V::to_f32(acc[i]), V::as_f32(row.scale[i]));
  }
  T q[4];
  for (int i = 0; i < 4; ++i) q[i] = V::to_s32(V::min(hi, v[i]));
  const int flip = e.out == DType::s8 ? 128 : 0;
  const T lo = V::packs32(V::to_s32(V::set_f32(e.lo)), V::to_s32(V::set_f32(e.lo)));
  const T zp = V::set_s16(int16_t(e.zp + flip));
  const T w0 = V::add16(V::max16(V::packs32(q[0], q[1]), lo), zp), w1 = V::add16(V::max16(V::packs32(q[2], q[3]), lo), zp);
  const T bytes = V::bitxor(V::packus16(w0, w1), V::set_s8(flip));
  if constexpr (kTail) {
    V::store(c, bytes, row.n);
  } else {
    V::store(c, bytes);
  }
}

// s32, f32: the quarters are put back in channel order.
template <class V>
inline void store_words(const typename V::T (&acc)[4], const Row<V>& row, const EpilogueArgs& e, int64_t channel, const char* r,
                        char* c) {
  using T = typename V::T;
  using F = typename V::F;
  T natural[4];
  V::from_quarters(acc, natural);
  constexpr int kStep = V::kChannels / 4;
  for (int i = 0; i < 4 && i * kStep < row.n; ++i) {
    const int n = row.n - i * kStep < kStep ? row.n - i * kStep : kStep;
    const int64_t j = channel + i * kStep;
    T out = natural[i];
    if (e.out == DType::f32) {
      const F bias = e.bias_f32 ? V::as_f32(V::load_words(e.bias_f32 + j, n)) : V::set_f32(0);
      F v = V::to_f32(out);
      v = e.scale ? V::fma(v, V::as_f32(V::load_words(e.scale + j, n)), bias) : V::add(v, bias);
      if (r) v = V::add(v, V::as_f32(V::load_words(r + i * kStep * 4, n)));
      v = V::min(V::max(v, V::set_f32(e.lo)), V::set_f32(e.hi));
      out = V::as_s32(v);
    }
    V::store_words(c + i * kStep * 4, out, n);
  }
}

template <class V, bool kTail, bool kBytes>
inline void store_pixel(const typename V::T (&acc)[4], const Row<V>& row, const DwconvArgs& g, int64_t channel, int64_t x) {
  const EpilogueArgs& e = *g.epi;
  const int size = kBytes ? 1 : 4;
  char* c = static_cast<char*>(g.c) + x * g.c_stride_bytes + channel * size;
  const char* r = e.residual ? static_cast<const char*>(e.residual) + x * e.residual_stride_bytes + channel * size : nullptr;
  if constexpr (kBytes) {
    store_bytes<V, kTail>(acc, row, e, r, c);
  } else {
    store_words<V>(acc, row, e, channel, r, c);
  }
}

// kPixels output pixels from x on, any window.
template <class V, int kPixels, bool kTail, bool kBytes>
inline void any_window(const DwconvArgs& g, const Row<V>& row, int64_t channel, int64_t x, typename V::T flip) {
  using T = typename V::T;
  T acc[kPixels][4];
  for (int i = 0; i < kPixels; ++i)
    for (int q = 0; q < 4; ++q) acc[i][q] = row.bias[q];
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes, next = g.stride_w * g.pixel_stride_bytes;
  const ptrdiff_t start = x * next + channel;
  const char* p = static_cast<const char*>(g.rows[0]) + start;
  int y = 0, z = 0;
  const char* w = row.w;
  while (y < g.kh) {
    T taps[kPixels][V::kGroup];
    for (int t = 0; t < V::kGroup; ++t) {
      if (y == g.kh) {  // past the last tap the weights are 0
        for (int i = 0; i < kPixels; ++i) taps[i][t] = taps[i][0];
        continue;
      }
      for (int i = 0; i < kPixels; ++i) taps[i][t] = load_pixel<V, kTail>(p + i * next, row.n, flip);
      p += step;
      if (++z == g.kw) {
        z = 0;
        if (++y < g.kh) p = static_cast<const char*>(g.rows[y]) + start;
      }
    }
    for (int i = 0; i < kPixels; ++i) {
      T d[4];
      V::interleave(taps[i], d);
      for (int q = 0; q < 4; ++q) acc[i][q] = V::dot(acc[i][q], d[q], V::load(w + q * row.w_quarter));
    }
    w += row.w_group;
  }
  for (int i = 0; i < kPixels; ++i) store_pixel<V, kTail, kBytes>(acc[i], row, g, channel, x + i);
}

// Weights of a 3x3 window for the four neighbouring pixels that two outputs share: w[y][0] = (w0 w1 w2 0) for the left one,
// w[y][1] = (0 w0 w1 w2) for the right one.
template <class V>
struct Shared3x3 {
  static constexpr int kGroups = 4 / V::kGroup;
  typename V::T w[3][2][kGroups][4];

  explicit Shared3x3(const Row<V>& row) {
    for (int q = 0; q < 4; ++q) {
      const auto packed = [&](int g) { return V::load(row.w + g * row.w_group + q * row.w_quarter); };
      for (int y = 0; y < 3; ++y) {
        if constexpr (V::kGroup == 4) {
          const typename V::T r = y == 0 ? packed(0)
                                : y == 1 ? V::bitor_(V::template shift_right<24>(packed(0)), V::template shift_left<8>(packed(1)))
                                         : V::bitor_(V::template shift_right<16>(packed(1)), V::template shift_left<16>(packed(2)));
          w[y][1][0][q] = V::template shift_left<8>(r);
          w[y][0][0][q] = V::template shift_right<8>(w[y][1][0][q]);
        } else {
          const typename V::T a = y == 0 ? packed(0) : y == 1 ? V::bitor_(V::template shift_right<16>(packed(1)), V::template shift_left<16>(packed(2))) : packed(3);
          const typename V::T b = y == 0 ? V::template shift_right<16>(V::template shift_left<16>(packed(1))) : y == 1 ? V::template shift_right<16>(packed(2)) : packed(4);
          w[y][0][0][q] = a;
          w[y][0][1][q] = b;
          w[y][1][0][q] = V::template shift_left<16>(a);
          w[y][1][1][q] = V::bitor_(V::template shift_right<16>(a), V::template shift_left<16>(b));
        }
      }
    }
  }
};

// Two neighbouring outputs of a 3x3 window of stride 1 and dilation 1.
template <class V, bool kTail>
inline void shared_3x3(const DwconvArgs& g, const Row<V>& row, const Shared3x3<V>& shared, int64_t channel, int64_t x,
                       typename V::T flip) {
  using T = typename V::T;
  T acc[2][4];
  for (int q = 0; q < 4; ++q) acc[0][q] = acc[1][q] = row.bias[q];
  const ptrdiff_t step = g.pixel_stride_bytes;
#pragma GCC unroll 3
  for (int y = 0; y < 3; ++y) {
    const char* p = static_cast<const char*>(g.rows[y]) + x * step + channel;
#pragma GCC unroll 2
    for (int h = 0; h < 4 / V::kGroup; ++h) {
      T taps[V::kGroup], d[4];
      for (int t = 0; t < V::kGroup; ++t) taps[t] = load_pixel<V, kTail>(p + (h * V::kGroup + t) * step, row.n, flip);
      V::interleave(taps, d);
      for (int q = 0; q < 4; ++q) {
        acc[0][q] = V::dot(acc[0][q], d[q], shared.w[y][0][h][q]);
        acc[1][q] = V::dot(acc[1][q], d[q], shared.w[y][1][h][q]);
      }
    }
  }
  for (int i = 0; i < 2; ++i) store_pixel<V, kTail, true>(acc[i], row, g, channel, x + i);
}

// A pointer whose target the compiler takes for new: what it points to is read where it is used, as a memory operand, and
// not kept in registers that are needed for other things.
template <class T>
inline const T& reread(const T& object) {
  const T* p = &object;
  __asm__("" : "+r"(p));
  return *p;
}

// All pixels, V::kChannels channels (kTail: n of them) from `channel` on.
template <class V, bool kTail, bool kBytes>
inline void row_of_pixels(const DwconvArgs& g, const char* w, int nr, int64_t channel, int n, typename V::T flip) {
  Row<V> row;
  V::load_quarters(g.epi->bias ? g.epi->bias + channel : nullptr, n, row.bias);
  V::load_quarters(kBytes ? g.epi->scale + channel : nullptr, n, row.scale);
  row.w = w;
  row.w_quarter = nr;  // nr/4 dwords
  row.w_group = 4 * nr;
  row.n = n;
  int64_t x = 0;
  if constexpr (kBytes) {
    if (g.kh == 3 && g.kw == 3 && g.stride_w == 1 && g.dilation_w == 1 && g.n > 1) {
      const Shared3x3<V> shared(row);
      for (; x + 2 <= g.n; x += 2) shared_3x3<V, kTail>(g, reread(row), reread(shared), channel, x, flip);
    }
  }
  for (; x + 2 <= g.n; x += 2) any_window<V, 2, kTail, kBytes>(g, reread(row), channel, x, flip);
  if (x < g.n) any_window<V, 1, kTail, kBytes>(g, reread(row), channel, x, flip);
}

template <class V>
inline void channels_of(const DwconvArgs& g, const char* w, int nr, int64_t channel, int n, int a_offset) {
  const bool bytes = g.epi->out == DType::u8 || g.epi->out == DType::s8;
  const typename V::T flip = V::set_s8(a_offset);
  if (n == V::kChannels) {
    bytes ? row_of_pixels<V, false, true>(g, w, nr, channel, n, flip) : row_of_pixels<V, false, false>(g, w, nr, channel, n, flip);
  } else {
    bytes ? row_of_pixels<V, true, true>(g, w, nr, channel, n, flip) : row_of_pixels<V, true, false>(g, w, nr, channel, n, flip);
  }
}
