// Routines on rows: reductions in the fixed order of 16 lanes, and what is made of them. A sum adds 16 elements in the time of one
// addition, since each waits for the one before: that, not memory, bounds sum, sum_squares and the norms in the nearest cache.

// lane[l] + lane[l + 8], of these [l] + [l + 4], then [l] + [l + 2], then [0] + [1].
typedef float Floats4 __attribute__((vector_size(16)));
inline Floats4 fold_to_4(const float* lane) {
  Floats4 v[4];
  std::memcpy(v, lane, sizeof v);
  return (v[0] + v[2]) + (v[1] + v[3]);
}
inline float fold16(const float* lane) {
  const Floats4 four = fold_to_4(lane);
  const Floats4 two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
  return two[0] + two[1];
}
// The same for four times 16 lanes: their lanes change places with the sums.
inline Floats4 fold16_of_4(const float* lane) {
  const Floats4 a = fold_to_4(lane), b = fold_to_4(lane + 16), c = fold_to_4(lane + 32), d = fold_to_4(lane + 48);
  const Floats4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
                ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Floats4 two_ab = ab + ab2, two_cd = cd + cd2;
  return __builtin_shufflevector(two_ab, two_cd, 0, 1, 4, 5) + __builtin_shufflevector(two_ab, two_cd, 2, 3, 6, 7);
}

// acc[j] = step(acc[j], x) over the 16 lanes that every float reduction keeps; lanes past the end see `fill`.
template <class V>
struct Lanes16 {
  static constexpr int kCount = 16 / V::N;
  typename V::F acc[kCount];
  explicit Lanes16(float start) {
    for (auto& a : acc) a = typename V::F(start);
  }
  template <class Step>
  void run(const float* x, size_t n, float fill, Step step) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
      for (int j = 0; j < kCount; ++j) acc[j] = step(acc[j], V::load(x + i + j * V::N, typename V::All{}));
    for (int j = 0; j < kCount && i < n; ++j, i += V::N) {
      if (i + V::N <= n) {
        acc[j] = step(acc[j], V::load(x + i, typename V::All{}));
      } else if constexpr (V::N > 1) {
        acc[j] = step(acc[j], V::load(x + i, V::first(n - i), fill));
      }
    }
  }
  void store(float* lane) const {
    for (int j = 0; j < kCount; ++j) V::store(lane + j * V::N, acc[j], typename V::All{});
  }
  float fold() const {
    float lane[16];
    store(lane);
    return fold16(lane);
  }
};

template <class V>
float sum(const float* x, size_t n) {
  using F = typename V::F;
  Lanes16<V> s(0);
  s.run(x, n, 0, [](F acc, F v) OCTAVO_LAMBDA { return acc + v; });
  return s.fold();
}

template <class V>
float sum_squares(const float* x, size_t n, float mean) {
  using F = typename V::F;
  Lanes16<V> s(0);
  s.run(x, n, mean, [m = F(mean)](F acc, F v) OCTAVO_LAMBDA { return V::fma(v - m, v - m, acc); });
  return s.fold();
}

// Minima and maxima are the same in any order but for the sign of a zero, which is made positive: four vectors at a time.
// min(x, acc) gives acc where x is NaN.
template <class V, bool kLow, bool kHigh>
OCTAVO_INLINE void extremes(const float* x, size_t n, float* lo, float* hi) {
  using F = typename V::F;
  constexpr float inf = __builtin_huge_valf();
  constexpr int kChains = 4;
  F least[kChains], largest[kChains];
  for (int j = 0; j < kChains; ++j) least[j] = F(inf), largest[j] = F(-inf);
  const auto step = [&](int j, F v) OCTAVO_LAMBDA {
    if constexpr (kLow) least[j] = V::min(v, least[j]);
    if constexpr (kHigh) largest[j] = V::max(v, largest[j]);
  };
  size_t i = 0;
  for (; i + kChains * V::N <= n; i += kChains * V::N) {
    OCTAVO_UNROLL
    for (int j = 0; j < kChains; ++j) step(j, V::load(x + i + j * V::N, typename V::All{}));
  }
  for (; i + V::N <= n; i += V::N) step(0, V::load(x + i, typename V::All{}));
  if constexpr (V::N > 1) {
    if (i < n) {
      if constexpr (kLow) least[1] = V::min(V::load(x + i, V::first(n - i), inf), least[1]);
      if constexpr (kHigh) largest[1] = V::max(V::load(x + i, V::first(n - i), -inf), largest[1]);
    }
  }
  float low[V::N], high[V::N];
  V::store(low, V::min(V::min(least[0], least[1]), V::min(least[2], least[3])), typename V::All{});
  V::store(high, V::max(V::max(largest[0], largest[1]), V::max(largest[2], largest[3])), typename V::All{});
  for (int l = 1; l < V::N; ++l) {
    if (low[l] < low[0]) low[0] = low[l];
    if (high[l] > high[0]) high[0] = high[l];
  }
  *lo = low[0] + 0.0f;
  *hi = high[0] + 0.0f;
}
template <class V>
void min_max(const float* x, size_t n, float* lo, float* hi) {
  extremes<V, true, true>(x, n, lo, hi);
}

// Two vectors of 16 lanes are computed side by side and added up in their order.
template <class V>
void softmax(const float* x, float* y, size_t n) {
  using F = typename V::F;
  using W = Sixteen<V>;
  using W2 = Twice<W>;
  using All = typename V::All;
  float lo, hi;
  extremes<V, false, true>(x, n, &lo, &hi);
  const auto exponential = [=](auto u, auto v) OCTAVO_LAMBDA {
    using U = decltype(u);
    return exp_of_minus<U>(typename U::F(hi) - v);
  };
  float lane[16] = {};
  size_t i = 0;
  if constexpr (W::N == 16) {
    typename W::F s(0.0f);
    for (; i + 32 <= n; i += 32) {
      const typename W2::F e = exponential(W2{}, W2::load(x + i, All{}));
      W2::store(y + i, e, All{});
      s = s + e.a;
      s = s + e.b;
    }
    W::store(lane, s, All{});
  }
  const auto add = [&](F e) OCTAVO_LAMBDA {
    float* l = lane + i % 16;
    V::store(l, V::load(l, All{}) + e, All{});
  };
  for (; i + V::N <= n; i += V::N) {
    const F e = exponential(V{}, V::load(x + i, All{}));
    V::store(y + i, e, All{});
    add(e);
  }
  if constexpr (V::N > 1) {
    if (i < n) {
      const auto lanes = V::first(n - i);
      const F e = exponential(V{}, V::load(x + i, lanes, -__builtin_huge_valf()));  // 0 past the end
      V::store(y + i, e, lanes);
      add(e);
    }
  }
  map<V>(y, y, n, [r = F(1.0f / fold16(lane))](F v) OCTAVO_LAMBDA { return v * r; });
}

template <class V>
void layer_norm(const float* x, const float* gamma, const float* beta, float* y, size_t n, float eps) {
  using F = typename V::F;
  const float mean = sum<V>(x, n) / float(n);
  const F m(mean), inv(1.0f / __builtin_sqrtf(sum_squares<V>(x, n, mean) / float(n) + eps));
  const auto run = [=](auto finish) OCTAVO_LAMBDA {
    for_each<V, 2>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
      V::store(y + i, finish(i, lanes, (V::load(x + i, lanes) - m) * inv), lanes);
    });
  };
  if (gamma && beta)
    return run([=](size_t i, auto lanes, F v) OCTAVO_LAMBDA { return V::fma(v, V::load(gamma + i, lanes), V::load(beta + i, lanes)); });
  if (gamma) return run([=](size_t i, auto lanes, F v) OCTAVO_LAMBDA { return v * V::load(gamma + i, lanes); });
  if (beta) return run([=](size_t i, auto lanes, F v) OCTAVO_LAMBDA { return v + V::load(beta + i, lanes); });
  run([=](size_t, auto, F v) OCTAVO_LAMBDA { return v; });
}

template <class V>
void rms_norm(const float* x, const float* gamma, float* y, size_t n, float eps) {
  using F = typename V::F;
  const F inv(1.0f / __builtin_sqrtf(sum_squares<V>(x, n, 0) / float(n) + eps));
  for_each<V, 2>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
    V::store(y + i, V::load(x + i, lanes) * inv * V::load(gamma + i, lanes), lanes);
  });
}

// R rows at a time hide the time that each of their sums takes.
template <class V, int R>
OCTAVO_INLINE void add_products_of(const float* w, size_t n, const float* x, float* y) {
  using F = typename V::F;
  constexpr int kVectors = 16 / V::N;
  F acc[R][kVectors];
  OCTAVO_UNROLL
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kVectors; ++j) acc[r][j] = F(0.0f);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    OCTAVO_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const F e = V::load(x + i + j * V::N, typename V::All{});
      OCTAVO_UNROLL
      for (int r = 0; r < R; ++r) acc[r][j] = V::fma(V::load(w + r * n + i + j * V::N, typename V::All{}), e, acc[r][j]);
    }
  }
  for (int j = 0; j < kVectors && i < n; ++j, i += V::N) {
    for (int r = 0; r < R; ++r) {
      if (i + V::N <= n) {
        acc[r][j] = V::fma(V::load(w + r * n + i, typename V::All{}), V::load(x + i, typename V::All{}), acc[r][j]);
      } else if constexpr (V::N > 1) {
        acc[r][j] = V::fma(V::load(w + r * n + i, V::first(n - i), 0), V::load(x + i, V::first(n - i), 0), acc[r][j]);
      }
    }
  }
  float lane[R * 16];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kVectors; ++j) V::store(lane + r * 16 + j * V::N, acc[r][j], typename V::All{});
  if constexpr (R == 1) {
    *y += fold16(lane);
  } else {
    for (int r = 0; r < R; r += 4) {
      Floats4 sums;
      std::memcpy(&sums, y + r, sizeof sums);
      sums += fold16_of_4(lane + r * 16);
      std::memcpy(y + r, &sums, sizeof sums);
    }
  }
}

template <class V>
void add_products(const float* w, size_t rows, size_t n, const float* x, ptrdiff_t x_stride, float* y, ptrdiff_t y_stride,
                  size_t m) {
  constexpr int kRows = V::N == 16 ? 8 : 4;
  size_t j = 0;
  for (; j + kRows <= rows; j += kRows)
    for (size_t i = 0; i < m; ++i)
      add_products_of<V, kRows>(w + j * n, n, x + ptrdiff_t(i) * x_stride, y + ptrdiff_t(i) * y_stride + j);
  for (; j < rows; ++j)
    for (size_t i = 0; i < m; ++i) add_products_of<V, 1>(w + j * n, n, x + ptrdiff_t(i) * x_stride, y + ptrdiff_t(i) * y_stride + j);
}
