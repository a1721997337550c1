// Pools: a block of channels at a time in registers, for a run of output pixels.

template <int n>
struct Times {
  static constexpr int N = n;
};
// Bytes from the window of the first pixel to that of another, and between the pixels.
struct TapsAt {
  ptrdiff_t in, out;
};
struct Run {
  TapsAt at;
  size_t rows, pixels;
};
// fn(run, c, times, lanes) for every run of pixels and block of channels: whole blocks of kTimes registers, then of fewer, the last
// of which repeats channels of the one before rather than be a part. A run is short enough for what it reads to be near until the
// next block, and of many channels one pixel; where there is one block it is all rows. B: a vocabulary with N, All, first.
template <class B, int kTimes, class Fn>
OCTAVO_INLINE void for_runs(const TapRows& r, Fn fn) {
  constexpr size_t kBlock = size_t(kTimes * B::N), kRun = 1024;
  const auto blocks = [&](const Run& run) OCTAVO_LAMBDA {
    size_t c = 0;
    for (; c + kBlock <= r.channels; c += kBlock) fn(run, c, Times<kTimes>{}, typename B::All{});
    if constexpr (constexpr int kFewer = kTimes == 16 ? 4 : kTimes / 2; kFewer > 1)
      for (; c + kFewer * B::N <= r.channels; c += kFewer * B::N) fn(run, c, Times<kFewer>{}, typename B::All{});
    for (; c + B::N <= r.channels; c += B::N) fn(run, c, Times<1>{}, typename B::All{});
    if constexpr (B::N > 1) {
      if (c == r.channels) return;
      if (c > 0)
        fn(run, r.channels - B::N, Times<1>{}, typename B::All{});
      else
        fn(run, c, Times<1>{}, B::first(r.channels));
    }
  };
  const bool whole = r.channels == kBlock || r.channels <= size_t(B::N);
  const size_t rows = whole ? r.rows : 1, most = whole ? r.pixels : r.channels < kRun ? kRun / r.channels : 1;
  TapsAt row{0, 0};
  for (size_t y = 0; y < r.rows; y += rows, row.in += r.in_row_step, row.out += r.out_row_step) {
    TapsAt at = row;
    for (size_t x = 0; x < r.pixels; x += most, at.in += ptrdiff_t(most) * r.in_step, at.out += ptrdiff_t(most) * r.out_step)
      blocks({at, rows, r.pixels - x < most ? r.pixels - x : most});
  }
}
template <class Fn>
OCTAVO_INLINE void for_rows(const TapRows& r, const Run& run, Fn fn) {
  TapsAt at = run.at;
  for (size_t y = 0; y < run.rows; ++y, at.in += r.in_row_step, at.out += r.out_row_step) fn(at);
}
template <class Fn>
OCTAVO_INLINE void for_pixels(const TapRows& r, size_t pixels, TapsAt at, Fn fn) {
  for (size_t x = 0; x < pixels; ++x, at.in += r.in_step, at.out += r.out_step) fn(at);
}
template <class T>
inline const T* further(const T* p, ptrdiff_t bytes) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(p) + bytes);
}
template <class T>
inline const T* tap(const TapRows& r, size_t k, ptrdiff_t at, size_t c) {
  return further(static_cast<const T*>(r.in[k]), at) + c;
}
template <class T>
inline T* tap_result(void* out, ptrdiff_t at, size_t c) {
  return reinterpret_cast<T*>(static_cast<char*>(out) + at) + c;
}

// fn with the number of taps, as a constant where it is that of a common window: a loop of so few turns costs more than what it
// does. Times<0>: any number.
template <class Fn>
OCTAVO_INLINE void with_taps(size_t taps, Fn fn) {
  if (taps == 4) return fn(Times<4>{});
  if (taps == 9) return fn(Times<9>{});
  fn(Times<0>{});
}

// out = finish(step(... step(first tap, second tap) ..., last tap)), on B's registers of T. kTaps: how many, or 0. All is read from
// copies of the rows and their pointers: as far as a compiler knows, what is stored might be they.
template <class B, class T, int kTimes, int kTaps, class Step, class Finish>
OCTAVO_INLINE void fold_taps(const TapRows& rows, void* out, Step step, Finish finish) {
  // Of many taps registers enough for memory to be read in its order.
  constexpr int kMany = sizeof(T) == 1 ? kTimes : B::N == 16 ? 16 : 8;
  const TapRows r = rows;
  for_runs<B, kTaps == 0 ? kMany : kTimes>(r, [&](const Run& run, size_t c, auto times, auto lanes) OCTAVO_LAMBDA {
    constexpr int K = decltype(times)::N;
    for_rows(r, run, [&](TapsAt row) OCTAVO_LAMBDA {
      const T* p[kTaps > 0 ? kTaps : 1];
      OCTAVO_UNROLL
      for (int k = 0; k < kTaps; ++k) {
        p[k] = tap<T>(r, size_t(k), row.in, c);
        asm("" : "+r"(p[k]));  // of the row: no compiler keeps those of all rows in registers beside it
      }
      for_pixels(r, run.pixels, {kTaps > 0 ? 0 : row.in, row.out}, [&](TapsAt at) OCTAVO_LAMBDA {
        decltype(B::load(p[0], lanes)) v[K];
        const auto take = [&](const T* from, auto fn) OCTAVO_LAMBDA {
          OCTAVO_UNROLL
          for (int j = 0; j < K; ++j) v[j] = fn(v[j], B::load(from + j * B::N, lanes));
        };
        const auto first = [](auto, auto w) OCTAVO_LAMBDA { return w; };
        if constexpr (kTaps > 0) {
          take(further(p[0], at.in), first);
          OCTAVO_UNROLL
          for (int k = 1; k < kTaps; ++k) take(further(p[k], at.in), step);
        } else {
          take(tap<T>(r, 0, at.in, c), first);
          for (size_t k = 1; k < r.taps; ++k) {
            const T* from = tap<T>(r, k, at.in, c);
            asm("" : "+r"(from));  // else the compiler keeps an offset for each register, and reads in any order
            take(from, step);
          }
        }
        T* q = tap_result<T>(out, at.out, c);
        OCTAVO_UNROLL
        for (int j = 0; j < K; ++j) B::store(q + j * B::N, finish(v[j]), lanes);
      });
    });
  });
}

// The same for windows of 3x3 of which each shares a column with the next, and a step whose order does not matter.
template <class B, class Step>
OCTAVO_INLINE void fold_columns(const TapRows& rows, void* out, Step step) {
  const TapRows r = rows;
  for_runs<B, 2>(r, [&](const Run& run, size_t c, auto times, auto lanes) OCTAVO_LAMBDA {
    constexpr int K = decltype(times)::N;
    for_rows(r, run, [&](TapsAt row) OCTAVO_LAMBDA {
      const uint8_t* p[9];
      OCTAVO_UNROLL
      for (int k = 0; k < 9; ++k) p[k] = tap<uint8_t>(r, size_t(k), row.in, c);
      const auto column = [&](int k, ptrdiff_t x) OCTAVO_LAMBDA {
        return step(step(B::load(p[k] + x, lanes), B::load(p[k + 3] + x, lanes)), B::load(p[k + 6] + x, lanes));
      };
      decltype(column(0, 0)) last[K];
      OCTAVO_UNROLL
      for (int j = 0; j < K; ++j) last[j] = column(0, j * B::N);
      for_pixels(r, run.pixels, {0, row.out}, [&](TapsAt at) OCTAVO_LAMBDA {
        uint8_t* q = tap_result<uint8_t>(out, at.out, c);
        OCTAVO_UNROLL
        for (int j = 0; j < K; ++j) {
          const auto so_far = step(last[j], column(1, at.in + j * B::N));
          last[j] = column(2, at.in + j * B::N);
          B::store(q + j * B::N, step(so_far, last[j]), lanes);
        }
      });
    });
  });
}
inline bool share_columns(const TapRows& r) {
  const auto next = [&](size_t k) { return static_cast<const char*>(r.in[k]) + r.in_step == r.in[k + 2]; };
  return r.taps == 9 && next(0) && next(3) && next(6);
}
template <class B, class Step>
OCTAVO_INLINE void fold_bytes(const TapRows& r, void* out, Step step) {
  if (share_columns(r)) return fold_columns<B>(r, out, step);
  with_taps(r.taps, [&](auto taps) OCTAVO_LAMBDA {
    fold_taps<B, uint8_t, 2, decltype(taps)::N>(r, out, step, [](auto v) OCTAVO_LAMBDA { return v; });
  });
}

template <class V>
void max_taps(const TapRows& r, void* out, DType t) {
  using B = typename V::Bytes;
  using F = typename V::F;
  if (t == DType::u8) return fold_bytes<B>(r, out, [](auto a, auto b) OCTAVO_LAMBDA { return B::max(a, b); });
  if (t == DType::s8) return fold_bytes<B>(r, out, [](auto a, auto b) OCTAVO_LAMBDA { return B::max_s8(a, b); });
  with_taps(r.taps, [&](auto taps) OCTAVO_LAMBDA {
    fold_taps<V, float, V::N == 8 ? 8 : 4, decltype(taps)::N>(r, out, [](F a, F b) OCTAVO_LAMBDA { return V::max(a, b); },
                                              [](F v) OCTAVO_LAMBDA { return v; });
  });
}

template <class V>
void avg_taps_f32(const TapRows& r, float* out, float divisor) {
  using F = typename V::F;
  with_taps(r.taps, [&](auto taps) OCTAVO_LAMBDA {
    fold_taps<V, float, V::N == 8 ? 8 : 4, decltype(taps)::N>(r, out, [](F a, F b) OCTAVO_LAMBDA { return a + b; },
                                              [d = F(divisor)](F s) OCTAVO_LAMBDA { return s / d; });
  });
}

// Sums of up to 257 bytes fit 16 bits. finish(sums): a register of bytes of them.
template <class V, int kTaps, class Load, class Finish>
OCTAVO_INLINE void sum_bytes(const TapRows& rows, void* out, Load load, Finish finish) {
  using B = typename V::Bytes;
  constexpr int kRegisters = B::N == 64 || (B::N == 32 && kTaps == 0) ? 4 : 2;  // twice as many of sums, and what finishes them
  const TapRows r = rows;
  for_runs<B, kRegisters>(r, [&](const Run& run, size_t c, auto times, auto lanes) OCTAVO_LAMBDA {
    constexpr int K = decltype(times)::N;
    for_rows(r, run, [&](TapsAt row) OCTAVO_LAMBDA {
      for_pixels(r, run.pixels, row, [&](TapsAt at) OCTAVO_LAMBDA {
        typename V::Words words[K];
        const auto take = [&](size_t k, size_t l) OCTAVO_LAMBDA {
          const uint8_t *p = tap<uint8_t>(r, k, at.in, c), *q = tap<uint8_t>(r, l, at.in, c);
          asm("" : "+r"(p), "+r"(q));  // as in fold_taps
          OCTAVO_UNROLL
          for (int j = 0; j < K; ++j) words[j].add(load(B::load(p + j * B::N, lanes)), load(B::load(q + j * B::N, lanes)));
        };
        if constexpr (kTaps > 0) {
          OCTAVO_UNROLL
          for (int k = 0; k < kTaps; k += 2) take(size_t(k), size_t(k + 1));
        } else {
          for (size_t k = 0; k + 2 <= r.taps; k += 2) take(k, k + 1);
          if (r.taps % 2 != 0) {
            const uint8_t* p = tap<uint8_t>(r, r.taps - 1, at.in, c);
            OCTAVO_UNROLL
            for (int j = 0; j < K; ++j) words[j].add(load(B::load(p + j * B::N, lanes)));
          }
        }
        uint8_t* q = tap_result<uint8_t>(out, at.out, c);
        OCTAVO_UNROLL
        for (int j = 0; j < K; ++j) B::store(q + j * B::N, finish(words[j]), lanes);
      });
    });
  });
}

// Fewer channels than a register of bytes has go by vectors of floats.
template <class V>
void avg_taps_quantized(const TapRows& r, DType t, int32_t zp, float m, const QResult& to) {
  using I = typename V::I;
  using F = typename V::F;
  using B = typename V::Bytes;
  const QSink<V> out(to);
  const int32_t sum_of_zeros = int32_t(uint32_t(r.taps) * uint32_t(zp + flip_of(t)));
  const I flip(flip_of(t)), zps(sum_of_zeros);
  const F mul(m);
  if constexpr (V::N > 1) {
    if (r.taps <= 257 && r.channels >= size_t(B::N)) {
      const F zero(float(0x800000 + sum_of_zeros));  // sums become floats by the exponent of 2^23
      const auto finish = [&](const typename V::Words& words) OCTAVO_LAMBDA {
        Group<V> g;
        words.widen(zero, g.v);
        OCTAVO_UNROLL
        for (int k = 0; k < V::kGroup; ++k) g.v[k] = g.v[k] * mul;
        return out.bytes(g);
      };
      const auto run = [&](auto load) OCTAVO_LAMBDA {
        if (r.taps == 4) return sum_bytes<V, 4>(r, to.data, load, finish);
        sum_bytes<V, 0>(r, to.data, load, finish);
      };
      if (t == DType::s8) return run([](auto v) OCTAVO_LAMBDA { return B::flip(v, 0x80); });
      return run([](auto v) OCTAVO_LAMBDA { return v; });
    }
  }
  for_runs<V, 1>(r, [&](const Run& run, size_t c, auto, auto lanes) OCTAVO_LAMBDA {
    for_rows(r, run, [&](TapsAt row) OCTAVO_LAMBDA {
      for_pixels(r, run.pixels, row, [&](TapsAt at) OCTAVO_LAMBDA {
        I s(0);
        for (size_t k = 0; k < r.taps; ++k) s = s + (V::load_u8(tap<uint8_t>(r, k, at.in, c), lanes) ^ flip);
        out.store(size_t(at.out) + c, V::to_float(s - zps) * mul, lanes);
      });
    });
  });
}
