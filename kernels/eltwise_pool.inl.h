// Pools: rows of output pixels, a block of channels at a time in registers. The pixels of a row are far fewer than their channels'
// taps, so that a loop over taps, whose addresses are looked up, is the innermost.

// fn(at, c, times, lanes) for every pixel and block of channels: whole blocks of kTimes registers, then single ones, the last of
// which repeats channels of the one before rather than be a part. B: a vocabulary with N, All, first.
template <int n>
struct Times {
  static constexpr int N = n;
};
// A pixel: bytes from the first one to it, and between their windows.
struct TapsAt {
  ptrdiff_t in, out;
};
template <class B, int kTimes, class Fn>
OCTAVO_INLINE void for_pixels(const TapRows& r, Fn fn) {
  constexpr size_t kBlock = size_t(kTimes * B::N);
  TapsAt row{0, 0};
  for (size_t y = 0; y < r.rows; ++y, row.in += r.in_row_step, row.out += r.out_row_step) {
    TapsAt at = row;
    for (size_t x = 0; x < r.pixels; ++x, at.in += r.in_step, at.out += r.out_step) {
      size_t c = 0;
      for (; c + kBlock <= r.channels; c += kBlock) fn(at, c, Times<kTimes>{}, typename B::All{});
      for (; c + B::N <= r.channels; c += B::N) fn(at, c, Times<1>{}, typename B::All{});
      if constexpr (B::N > 1) {
        if (c == r.channels) continue;
        if (c > 0)
          fn(at, r.channels - B::N, Times<1>{}, typename B::All{});
        else
          fn(at, c, Times<1>{}, B::first(r.channels));
      }
    }
  }
}
template <class T>
inline const T* tap(const TapRows& r, size_t k, TapsAt at, size_t c) {
  return reinterpret_cast<const T*>(static_cast<const char*>(r.in[k]) + at.in) + c;
}
template <class T>
inline T* tap_result(void* out, TapsAt at) {
  return reinterpret_cast<T*>(static_cast<char*>(out) + at.out);
}

// fn with the number of taps, where it is that of a common window as a constant: a loop of so few turns costs more than what it does.
// Times<0>: any number.
template <class Fn>
OCTAVO_INLINE void with_taps(size_t taps, Fn fn) {
  if (taps == 4) return fn(Times<4>{});
  if (taps == 9) return fn(Times<9>{});
  fn(Times<0>{});
}

// out = finish(step(... step(first tap, second tap) ..., last tap)), on B's registers of T. kTaps: how many, or 0. All is read from
// copies of the rows' and their pointers: as far as a compiler knows, what is stored might be they.
template <class B, class T, int kTimes, int kTaps, class Step, class Finish>
OCTAVO_INLINE void fold_taps(const TapRows& rows, void* out, Step step, Finish finish) {
  TapRows r = rows;
  const void* in[kTaps > 0 ? kTaps : 1];
  if constexpr (kTaps > 0) {
    OCTAVO_UNROLL
    for (int k = 0; k < kTaps; ++k) in[k] = rows.in[k];
    r.in = in;
  }
  for_pixels<B, kTimes>(r, [&](TapsAt at, size_t c, auto times, auto lanes) OCTAVO_LAMBDA {
    constexpr int K = decltype(times)::N;
    decltype(B::load(tap<T>(r, 0, at, c), lanes)) v[K];
    const T* p = tap<T>(r, 0, at, c);
    OCTAVO_UNROLL
    for (int j = 0; j < K; ++j) v[j] = B::load(p + j * B::N, lanes);
    const auto take = [&](size_t k) OCTAVO_LAMBDA {
      p = tap<T>(r, k, at, c);
      OCTAVO_UNROLL
      for (int j = 0; j < K; ++j) v[j] = step(v[j], B::load(p + j * B::N, lanes));
    };
    if constexpr (kTaps > 0) {
      OCTAVO_UNROLL
      for (int k = 1; k < kTaps; ++k) take(size_t(k));
    } else {
      for (size_t k = 1; k < r.taps; ++k) take(k);
    }
    T* q = tap_result<T>(out, at) + c;
    OCTAVO_UNROLL
    for (int j = 0; j < K; ++j) B::store(q + j * B::N, finish(v[j]), lanes);
  });
}

template <class V>
void max_taps(const TapRows& r, void* out, DType t) {
  using B = typename V::Bytes;
  using F = typename V::F;
  const auto same = [](auto v) OCTAVO_LAMBDA { return v; };
  with_taps(r.taps, [&](auto taps) OCTAVO_LAMBDA {
    constexpr int kTaps = decltype(taps)::N;
    if (t == DType::f32) return fold_taps<V, float, 4, kTaps>(r, out, [](F a, F b) OCTAVO_LAMBDA { return V::max(a, b); }, same);
    if (t == DType::u8) return fold_taps<B, uint8_t, 2, kTaps>(r, out, [](auto a, auto b) OCTAVO_LAMBDA { return B::max(a, b); }, same);
    fold_taps<B, uint8_t, 2, kTaps>(r, out, [](auto a, auto b) OCTAVO_LAMBDA { return B::max_s8(a, b); }, same);
  });
}

template <class V>
void avg_taps_f32(const TapRows& r, float* out, float divisor) {
  using F = typename V::F;
  with_taps(r.taps, [&](auto taps) OCTAVO_LAMBDA {
    fold_taps<V, float, 4, decltype(taps)::N>(r, out, [](F a, F b) OCTAVO_LAMBDA { return a + b; },
                                              [d = F(divisor)](F s) OCTAVO_LAMBDA { return s / d; });
  });
}

// Sums of up to 257 bytes fit 16 bits. Fewer channels than a register of bytes has go by vectors of floats.
template <class V>
void avg_taps_quantized(const TapRows& r, DType t, int32_t zp, float m, const QResult& to) {
  using I = typename V::I;
  using F = typename V::F;
  using B = typename V::Bytes;
  const QSink<V> out(to);
  const I flip(flip_of(t)), zps(int32_t(uint32_t(r.taps) * uint32_t(zp + flip_of(t))));
  const F mul(m);
  if constexpr (V::N > 1) {
    const uint8_t flip_bytes = uint8_t(flip_of(t));
    constexpr int kRegisters = B::N == 64 ? 4 : 2;  // twice as many words of each, and AVX-512 has twice as many registers
    if (r.taps <= 257 && r.channels >= size_t(B::N))
      return for_pixels<B, kRegisters>(r, [&](TapsAt at, size_t c, auto times, auto lanes) OCTAVO_LAMBDA {
        constexpr int K = decltype(times)::N;
        const auto load = [&](const uint8_t* p, int j) OCTAVO_LAMBDA { return B::flip(B::load(p + j * B::N, lanes), flip_bytes); };
        const uint8_t* p = tap<uint8_t>(r, 0, at, c);
        typename V::Words words[K];
        OCTAVO_UNROLL
        for (int j = 0; j < K; ++j) words[j] = typename V::Words(load(p, j));
        for (size_t k = 1; k < r.taps; ++k) {
          p = tap<uint8_t>(r, k, at, c);
          OCTAVO_UNROLL
          for (int j = 0; j < K; ++j) words[j].add(load(p, j));
        }
        uint8_t* q = tap_result<uint8_t>(out.data, at) + c;
        OCTAVO_UNROLL
        for (int j = 0; j < K; ++j) {
          I sums[V::kGroup];
          words[j].widen(sums);
          Group<V> g;
          OCTAVO_UNROLL
          for (int k = 0; k < V::kGroup; ++k) g.v[k] = V::to_float(sums[k] - zps) * mul;
          B::store(q + j * B::N, out.bytes(g), lanes);
        }
      });
  }
  for_pixels<V, 1>(r, [&](TapsAt at, size_t c, auto, auto lanes) OCTAVO_LAMBDA {
    I s(0);
    for (size_t k = 0; k < r.taps; ++k) s = s + (V::load_u8(tap<uint8_t>(r, k, at, c), lanes) ^ flip);
    out.store(size_t(at.out) + c, V::to_float(s - zps) * mul, lanes);
  });
}
