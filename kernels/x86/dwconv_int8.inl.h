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
  typename V::T flip;  // turns s8 pixels into u8
  typename V::T residual_flip, residual_zp, lo, zp, out_flip;
  typename V::F residual_scale, hi;
  const char* w;  // first column of this block; quarters w_quarter bytes apart, groups of taps w_group bytes apart
  ptrdiff_t w_quarter, w_group;
  int64_t channel;  // the first one
  int n;            // channels, <= V::kChannels

  Row(const EpilogueArgs& e, const char* weights, int nr, int64_t first_channel, int channels, int a_offset)
      : flip(V::set_s8(a_offset)), w(weights), w_quarter(nr), w_group(4 * nr), channel(first_channel), n(channels) {
    V::load_quarters(e.bias ? e.bias + channel : nullptr, n, bias);
    V::load_quarters(e.scale ? e.scale + channel : nullptr, n, scale);
    const int r = e.residual_dtype == DType::s8 ? 128 : 0, c = e.out == DType::s8 ? 128 : 0;
    residual_flip = V::set_s8(r);
    residual_zp = V::set_s32(e.residual_zp + r);
    residual_scale = V::set_f32(e.residual_scale);
    const typename V::T lo32 = V::to_s32(V::set_f32(e.lo));
    lo = V::packs32(lo32, lo32);
    hi = V::set_f32(e.hi);
    zp = V::set_s16(e.zp + c);
    out_flip = V::set_s8(c);
  }
};

template <class V, bool kTail>
inline typename V::T load_bytes(const char* p, int n) {
  if constexpr (kTail) return V::load(p, n);
  return V::load(p);
}

template <class V, bool kTail>
inline typename V::T load_pixel(const char* p, const Row<V>& row) {
  return V::bitxor(load_bytes<V, kTail>(p, row.n), row.flip);
}

// The bytes of two taps side by side: channels 0 to 7 of every lane, channels 8 to 15.
template <class V>
struct Pair {
  typename V::T low, high;
  Pair() = default;
  Pair(typename V::T a, typename V::T b) : low(V::unpacklo8(a, b)), high(V::unpackhi8(a, b)) {}
};

// One dword per channel, in quarters: four taps as bytes for vpdpbusd, or two taps as words for vpmaddwd.
template <class V>
inline void interleave(const Pair<V> (&p)[V::kGroup / 2], typename V::T (&d)[4]) {
  if constexpr (V::kGroup == 4) {
    d[0] = V::unpacklo16(p[0].low, p[1].low);
    d[1] = V::unpackhi16(p[0].low, p[1].low);
    d[2] = V::unpacklo16(p[0].high, p[1].high);
    d[3] = V::unpackhi16(p[0].high, p[1].high);
  } else {
    d[0] = V::unpacklo8(p[0].low, V::zero());
    d[1] = V::unpackhi8(p[0].low, V::zero());
    d[2] = V::unpacklo8(p[0].high, V::zero());
    d[3] = V::unpackhi8(p[0].high, V::zero());
  }
}

// u8, s8: q = rne(clamp(v)) + zp. The clamp from above is on floats, that from below on words: rounding is monotonic,
// and whatever is below int32 (or NaN) becomes the smallest word.
template <class V, bool kTail>
inline void store_bytes(const typename V::T (&acc)[4], const Row<V>& row, const char* r, char* c) {
  using T = typename V::T;
  typename V::F v[4];
  if (r) {
    const T bytes = V::bitxor(load_bytes<V, kTail>(r, row.n), row.residual_flip);
    const T low = V::unpacklo8(bytes, V::zero()), high = V::unpackhi8(bytes, V::zero());
    const T q[4] = {V::unpacklo16(low, V::zero()), V::unpackhi16(low, V::zero()), V::unpacklo16(high, V::zero()),
                    V::unpackhi16(high, V::zero())};
    for (int i = 0; i < 4; ++i)
      v[i] = V::fma(V::to_f32(acc[i]), V::as_f32(row.scale[i]),
                    V::mul(V::to_f32(V::sub32(q[i], row.residual_zp)), row.residual_scale));
  } else {
    for (int i = 0; i < 4; ++i) v[i] = V::mul(V::to_f32(acc[i]), V::as_f32(row.scale[i]));
  }
  T q[4];
  for (int i = 0; i < 4; ++i) q[i] = V::to_s32(V::min(row.hi, v[i]));
  const T w0 = V::add16(V::max16(V::packs32(q[0], q[1]), row.lo), row.zp);
  const T w1 = V::add16(V::max16(V::packs32(q[2], q[3]), row.lo), row.zp);
  const T bytes = V::bitxor(V::packus16(w0, w1), row.out_flip);
  if constexpr (kTail) {
    V::store(c, bytes, row.n);
  } else {
    V::store(c, bytes);
  }
}

// s32, f32: the quarters are put back in channel order.
template <class V>
inline void store_words(const typename V::T (&acc)[4], const Row<V>& row, const EpilogueArgs& e, const char* r, char* c) {
  using T = typename V::T;
  using F = typename V::F;
  T natural[4];
  V::from_quarters(acc, natural);
  constexpr int kStep = V::kChannels / 4;
  for (int i = 0; i < 4 && i * kStep < row.n; ++i) {
    const int n = row.n - i * kStep < kStep ? row.n - i * kStep : kStep;
    const int64_t j = row.channel + i * kStep;
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
inline void store_pixel(const typename V::T (&acc)[4], const Row<V>& row, const DwconvArgs& g, int64_t x) {
  const EpilogueArgs& e = *g.epi;
  const ptrdiff_t offset = row.channel * (kBytes ? 1 : 4);
  char* c = static_cast<char*>(g.c) + x * g.c_stride_bytes + offset;
  const char* r = e.residual ? static_cast<const char*>(e.residual) + x * e.residual_stride_bytes + offset : nullptr;
  if constexpr (kBytes) {
    store_bytes<V, kTail>(acc, row, r, c);
  } else {
    store_words<V>(acc, row, e, r, c);
  }
}

// kPixels output pixels from x on. K: the window is K x K; 0 = any, from the arguments.
template <class V, int K, int kPixels, bool kTail, bool kBytes>
inline void any_window(const DwconvArgs& g, const Row<V>& row, int64_t x) {
  using T = typename V::T;
  const int kh = K ? K : g.kh, kw = K ? K : g.kw;
  T acc[kPixels][4];
  for (int i = 0; i < kPixels; ++i)
    for (int q = 0; q < 4; ++q) acc[i][q] = row.bias[q];
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes, next = g.stride_w * g.pixel_stride_bytes;
  const ptrdiff_t start = x * next + row.channel;
  const char* p = static_cast<const char*>(g.rows[0]) + start;
  int y = 0, z = 0;
  const char* w = row.w;
  for (int done = 0; done < kh * kw; done += V::kGroup) {
    T taps[kPixels][V::kGroup];
    for (int t = 0; t < V::kGroup; ++t) {
      if (done + t >= kh * kw) {  // past the last tap the weights are 0
        for (int i = 0; i < kPixels; ++i) taps[i][t] = taps[i][0];
        continue;
      }
      for (int i = 0; i < kPixels; ++i) taps[i][t] = load_pixel<V, kTail>(p + i * next, row);
      p += step;
      if (++z == kw) {
        z = 0;
        if (++y < kh) p = static_cast<const char*>(g.rows[y]) + start;
      }
    }
    for (int i = 0; i < kPixels; ++i) {
      Pair<V> pairs[V::kGroup / 2];
      for (int h = 0; h < V::kGroup / 2; ++h) pairs[h] = Pair<V>(taps[i][2 * h], taps[i][2 * h + 1]);
      T d[4];
      interleave<V>(pairs, d);
      for (int q = 0; q < 4; ++q) acc[i][q] = V::dot(acc[i][q], d[q], V::load(w + q * row.w_quarter));
    }
    w += row.w_group;
  }
  for (int i = 0; i < kPixels; ++i) store_pixel<V, kTail, kBytes>(acc[i], row, g, x + i);
}

// Weights of a 3x3 window for the four neighbouring pixels that two outputs share: w[y][0] = (w0 w1 w2 0) for the left one,
// w[y][1] = (0 w0 w1 w2) for the right one.
template <class V>
struct Shared3x3 {
  typename V::T w[3][2][4];

  explicit Shared3x3(const Row<V>& row) {
    for (int q = 0; q < 4; ++q) {
      const auto packed = [&](int g) { return V::load(row.w + g * row.w_group + q * row.w_quarter); };
      for (int y = 0; y < 3; ++y) {
        const typename V::T r = y == 0 ? packed(0)
                                : y == 1
                                    ? V::bitor_(V::template shift_right<24>(packed(0)), V::template shift_left<8>(packed(1)))
                                    : V::bitor_(V::template shift_right<16>(packed(1)), V::template shift_left<16>(packed(2)));
        w[y][1][q] = V::template shift_left<8>(r);
        w[y][0][q] = V::template shift_right<8>(w[y][1][q]);
      }
    }
  }
};

// A pointer whose target the compiler takes for new: what it points to is read where it is used, as a memory operand, and
// not kept in registers that are needed for other things.
template <class T>
inline const T& reread(const T& object) {
  const T* p = &object;
  __asm__("" : "+r"(p));
  return *p;
}

// One kernel row of two neighbouring outputs, from p on. `left`: pixels 0 and 1, which the step before has already paired where
// there are registers to keep them.
template <class V, bool kTail>
inline void shared_row(const Row<V>& row, const typename V::T (&w)[2][4], const char* p, ptrdiff_t step, Pair<V>& left,
                       typename V::T (&acc)[2][4]) {
  using T = typename V::T;
  if (!V::kManyRegisters) left = Pair<V>(load_pixel<V, kTail>(p, row), load_pixel<V, kTail>(p + step, row));
  const Pair<V> right(load_pixel<V, kTail>(p + 2 * step, row), load_pixel<V, kTail>(p + 3 * step, row));
  T d[4];
  interleave<V>({left, right}, d);
  for (int i = 0; i < 2; ++i)
    for (int q = 0; q < 4; ++q) acc[i][q] = V::dot(acc[i][q], d[q], w[i][q]);
  left = right;
}

// Fewer pixels do not make up for the time to build Shared3x3. (Measured on Zen 4; groups of two taps, which need twice the
// instructions for a window of four pixels, never do.)
constexpr int64_t kMinShared = 9;

// u8 or s8 output of a 3x3 window of stride 1 and dilation 1, two neighbouring pixels at a time. Returns how many it did.
template <class V, bool kTail>
inline int64_t shared_3x3(const DwconvArgs& g, const Row<V>& all_row) {
  const Shared3x3<V> all_shared(all_row);
  const ptrdiff_t step = g.pixel_stride_bytes;
  const char* p0 = static_cast<const char*>(g.rows[0]) + all_row.channel;
  const char* p1 = static_cast<const char*>(g.rows[1]) + all_row.channel;
  const char* p2 = static_cast<const char*>(g.rows[2]) + all_row.channel;
  const auto first_pair = [&](const char* p) {
    return Pair<V>(load_pixel<V, kTail>(p, all_row), load_pixel<V, kTail>(p + (g.n > 1 ? step : 0), all_row));
  };
  Pair<V> left0 = first_pair(p0), left1 = first_pair(p1), left2 = first_pair(p2);
  int64_t x = 0;
  for (; x + 2 <= g.n; x += 2) {
    const Row<V>& row = reread(all_row);
    const Shared3x3<V>& shared = reread(all_shared);
    typename V::T acc[2][4];
    for (int q = 0; q < 4; ++q) acc[0][q] = acc[1][q] = row.bias[q];
    shared_row<V, kTail>(row, shared.w[0], p0, step, left0, acc);
    shared_row<V, kTail>(row, shared.w[1], p1, step, left1, acc);
    shared_row<V, kTail>(row, shared.w[2], p2, step, left2, acc);
    p0 += 2 * step, p1 += 2 * step, p2 += 2 * step;
    store_pixel<V, kTail, true>(acc[0], row, g, x);
    store_pixel<V, kTail, true>(acc[1], row, g, x + 1);
  }
  return x;
}

// n <= V::kChannels channels of all pixels, from `channel` on. w: their first column in a block of nr channels.
template <class V, bool kTail>
inline void channels_of(const DwconvArgs& g, const char* w, int nr, int64_t channel, int n, int a_offset) {
  const Row<V> row(*g.epi, w, nr, channel, n, a_offset);
  int64_t x = 0;
  if (g.epi->out != DType::u8 && g.epi->out != DType::s8) {
    for (; x < g.n; ++x) any_window<V, 0, 1, kTail, false>(g, reread(row), x);
  } else if (g.kh == 3 && g.kw == 3) {
    if constexpr (V::kGroup == 4)
      if (g.stride_w == 1 && g.dilation_w == 1 && g.n >= kMinShared) x = shared_3x3<V, kTail>(g, row);
    for (; x + 2 <= g.n; x += 2) any_window<V, 3, 2, kTail, true>(g, reread(row), x);
    if (x < g.n) any_window<V, 3, 1, kTail, true>(g, reread(row), x);
  } else {
    for (; x + 2 <= g.n; x += 2) any_window<V, 0, 2, kTail, true>(g, reread(row), x);
    if (x < g.n) any_window<V, 0, 1, kTail, true>(g, reread(row), x);
  }
}
