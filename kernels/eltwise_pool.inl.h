// Pools: rows of output pixels, a block of channels at a time in registers. The pixels of a row are far fewer than their channels'
// taps, so that a loop over taps, whose addresses are looked up, is the innermost.

// fn(pixel, c, lanes) for every pixel and block of channels; B: a vocabulary with N, All, first.
template <class B, class Fn>
OCTAVO_INLINE void for_pixels(const TapRow& r, Fn fn) {
  for (size_t x = 0; x < r.pixels; ++x) for_each<B>(r.channels, [&](size_t c, auto lanes) OCTAVO_LAMBDA { fn(x, c, lanes); });
}
template <class T>
inline const T* tap(const TapRow& r, size_t k, size_t pixel, size_t c) {
  return reinterpret_cast<const T*>(static_cast<const char*>(r.in[k]) + ptrdiff_t(pixel) * r.in_step) + c;
}
template <class T>
inline T* tap_result(const TapRow& r, void* out, size_t pixel) {
  return reinterpret_cast<T*>(static_cast<char*>(out) + ptrdiff_t(pixel) * r.out_step);
}

template <class V>
void max_taps(const TapRow& r, void* out, DType t) {
  if (t == DType::f32) {
    for_pixels<V>(r, [&](size_t x, size_t c, auto lanes) OCTAVO_LAMBDA {
      typename V::F m = V::load(tap<float>(r, 0, x, c), lanes);
      for (size_t k = 1; k < r.taps; ++k) m = V::max(m, V::load(tap<float>(r, k, x, c), lanes));
      V::store(tap_result<float>(r, out, x) + c, m, lanes);
    });
    return;
  }
  using B = typename V::Bytes;
  const uint8_t flip = uint8_t(flip_of(t));
  for_pixels<B>(r, [&](size_t x, size_t c, auto lanes) OCTAVO_LAMBDA {
    auto m = B::flip(B::load(tap<uint8_t>(r, 0, x, c), lanes), flip);
    for (size_t k = 1; k < r.taps; ++k) m = B::max(m, B::flip(B::load(tap<uint8_t>(r, k, x, c), lanes), flip));
    B::store(tap_result<uint8_t>(r, out, x) + c, B::flip(m, flip), lanes);
  });
}

template <class V>
void avg_taps_f32(const TapRow& r, float* out, float divisor) {
  using F = typename V::F;
  const F d(divisor);
  for_pixels<V>(r, [&](size_t x, size_t c, auto lanes) OCTAVO_LAMBDA {
    F s = V::load(tap<float>(r, 0, x, c), lanes);
    for (size_t k = 1; k < r.taps; ++k) s = s + V::load(tap<float>(r, k, x, c), lanes);
    V::store(tap_result<float>(r, out, x) + c, s / d, lanes);
  });
}

// Sums of up to 257 bytes fit 16 bits.
template <class V>
void avg_taps_quantized(const TapRow& r, DType t, int32_t zp, float m, const QResult& to) {
  using I = typename V::I;
  using F = typename V::F;
  using B = typename V::Bytes;
  const QSink<V> out(to);
  const I flip(flip_of(t)), zps(int32_t(uint32_t(r.taps) * uint32_t(zp + flip_of(t))));
  const uint8_t flip_bytes = uint8_t(flip_of(t));
  const F mul(m);
  const size_t groups = V::N > 1 && r.taps <= 257 ? r.channels / B::N : 0;
  for (size_t x = 0; x < r.pixels; ++x) {
    const size_t at = x * size_t(r.out_step);
    if constexpr (V::N > 1) {
      for (size_t g = 0; g < groups; ++g) {
        typename V::Words words(B::flip(B::load(tap<uint8_t>(r, 0, x, g * B::N), typename B::All{}), flip_bytes));
        for (size_t k = 1; k < r.taps; ++k) words.add(B::flip(B::load(tap<uint8_t>(r, k, x, g * B::N), typename B::All{}), flip_bytes));
        I sums[V::kGroup];
        words.widen(sums);
        Group<V> v;
        OCTAVO_UNROLL
        for (int k = 0; k < V::kGroup; ++k) v.v[k] = V::to_float(sums[k] - zps) * mul;
        out.group(at + g * B::N, v);
      }
    }
    const size_t c0 = groups * size_t(B::N);
    for_each<V>(r.channels - c0, [&](size_t c, auto lanes) OCTAVO_LAMBDA {
      I s(0);
      for (size_t k = 0; k < r.taps; ++k) s = s + (V::load_u8(tap<uint8_t>(r, k, x, c0 + c), lanes) ^ flip);
      out.store(at + c0 + c, V::to_float(s - zps) * mul, lanes);
    });
  }
}
