// Depthwise float convolution on a vocabulary V: F, N, load(p), load(p, n), store(p, v), store(p, v, n), set, fma, add, min, max.
//   acc[x][c] = sum of rows[y][x*stride + z*dilation][c] * w[y][z][c], one fma each from 0, in the order y, z
// Weights: blocks of V::N channels, [taps][N]. kPixels outputs share every weight that is read. Strides are multiples of 4 bytes.

template <class V, bool kTail>
inline typename V::F load_channels(const float* p, int n) {
  if constexpr (kTail) return V::load(p, n);
  return V::load(p);
}

template <class V, bool kTail>
inline void store_f32(typename V::F acc, const DwconvArgs& g, int64_t channel, int n, int64_t x) {
  using F = typename V::F;
  const EpilogueArgs& e = *g.epi;
  float* c = reinterpret_cast<float*>(static_cast<char*>(g.c) + x * g.c_stride_bytes) + channel;
  const F bias = e.bias_f32 ? load_channels<V, kTail>(e.bias_f32 + channel, n) : V::set(0);
  F v = e.scale ? V::fma(acc, load_channels<V, kTail>(e.scale + channel, n), bias) : V::add(acc, bias);
  if (e.residual) {
    const char* r = static_cast<const char*>(e.residual) + x * e.residual_stride_bytes;
    v = V::add(v, load_channels<V, kTail>(reinterpret_cast<const float*>(r) + channel, n));
  }
  v = V::min(V::max(v, V::set(e.lo)), V::set(e.hi));
  if constexpr (kTail) {
    V::store(c, v, n);
  } else {
    V::store(c, v);
  }
}

// K: the window is K x K; 0 = any, from the arguments.
template <class V, int kPixels, int K, bool kTail>
[[gnu::noinline]] void f32_pixels(const DwconvArgs& g, const float* w, int64_t channel, int n, int64_t x) {
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes;
  ptrdiff_t next = g.stride_w * g.pixel_stride_bytes;
  const int kh = K ? K : g.kh, kw = K ? K : g.kw;
  typename V::F acc[kPixels];
  for (int i = 0; i < kPixels; ++i) acc[i] = V::set(0);
  for (int y = 0; y < kh; ++y) {
    const char* p = static_cast<const char*>(g.rows[y]) + x * next + channel * 4;
    for (int z = 0; z < kw; ++z, p += step) {
      asm("" : "+r"(next));  // multiples of it are addressing modes, not registers that GCC runs out of
      const typename V::F weight = V::load(w + (y * kw + z) * V::N);
      for (int i = 0; i < kPixels; ++i)
        acc[i] = V::fma(load_channels<V, kTail>(reinterpret_cast<const float*>(p + i * next), n), weight, acc[i]);
    }
  }
  for (int i = 0; i < kPixels; ++i) store_f32<V, kTail>(acc[i], g, channel, n, x + i);
}

// One kernel row of four neighbouring outputs of a 3x3 window of stride 1: six pixels are read once.
template <class V, bool kTail>
inline void f32_shared_row(const float* p, ptrdiff_t step, int n, typename V::F w0, typename V::F w1, typename V::F w2,
                           typename V::F (&acc)[4]) {
  using F = typename V::F;
  const F p0 = load_channels<V, kTail>(p, n), p1 = load_channels<V, kTail>(p + step, n);
  acc[0] = V::fma(p1, w1, V::fma(p0, w0, acc[0]));
  const F p2 = load_channels<V, kTail>(p + 2 * step, n);
  acc[0] = V::fma(p2, w2, acc[0]);
  acc[1] = V::fma(p2, w1, V::fma(p1, w0, acc[1]));
  const F p3 = load_channels<V, kTail>(p + 3 * step, n);
  acc[1] = V::fma(p3, w2, acc[1]);
  acc[2] = V::fma(p3, w1, V::fma(p2, w0, acc[2]));
  const F p4 = load_channels<V, kTail>(p + 4 * step, n);
  acc[2] = V::fma(p4, w2, acc[2]);
  acc[3] = V::fma(p4, w1, V::fma(p3, w0, acc[3]));
  acc[3] = V::fma(load_channels<V, kTail>(p + 5 * step, n), w2, acc[3]);
}

// Four outputs at a time, the nine weights in registers. Returns how many it did.
template <class V, bool kTail>
inline int64_t f32_shared_3x3(const DwconvArgs& g, const float* w, int64_t channel, int n) {
  constexpr int N = V::N;
  const typename V::F weight[9] = {V::load(w),         V::load(w + N),     V::load(w + 2 * N),
                                   V::load(w + 3 * N), V::load(w + 4 * N), V::load(w + 5 * N),
                                   V::load(w + 6 * N), V::load(w + 7 * N), V::load(w + 8 * N)};
  const ptrdiff_t step = g.pixel_stride_bytes / 4;
  const float* p0 = static_cast<const float*>(g.rows[0]) + channel;
  const float* p1 = static_cast<const float*>(g.rows[1]) + channel;
  const float* p2 = static_cast<const float*>(g.rows[2]) + channel;
  int64_t x = 0;
  for (; x + 4 <= g.n; x += 4) {
    typename V::F acc[4] = {V::set(0), V::set(0), V::set(0), V::set(0)};
    f32_shared_row<V, kTail>(p0 + x * step, step, n, weight[0], weight[1], weight[2], acc);
    f32_shared_row<V, kTail>(p1 + x * step, step, n, weight[3], weight[4], weight[5], acc);
    f32_shared_row<V, kTail>(p2 + x * step, step, n, weight[6], weight[7], weight[8], acc);
    for (int i = 0; i < 4; ++i) store_f32<V, kTail>(acc[i], g, channel, n, x + i);
  }
  return x;
}

template <class V, int K, bool kTail>
inline void f32_row(const DwconvArgs& g, const float* w, int64_t channel, int n) {
  int64_t x = 0;
  if (K == 3 && g.stride_w == 1 && g.dilation_w == 1) x = f32_shared_3x3<V, kTail>(g, w, channel, n);
  if constexpr (!kTail)  // with masks GCC 12 keeps four accumulators in memory
    for (; x + 4 <= g.n; x += 4) f32_pixels<V, 4, K, kTail>(g, w, channel, n, x);
  for (; x < g.n; ++x) f32_pixels<V, 1, K, kTail>(g, w, channel, n, x);
}

template <class V>
inline void dwconv_f32(const DwconvArgs& g) {
  const float* w = static_cast<const float*>(g.w);
  const ptrdiff_t block = ptrdiff_t(g.kh) * g.kw * V::N;
  const bool three = g.kh == 3 && g.kw == 3;
  int64_t c = 0;
  for (; c + V::N <= g.channels; c += V::N, w += block)
    three ? f32_row<V, 3, false>(g, w, c, V::N) : f32_row<V, 0, false>(g, w, c, V::N);
  if (c < g.channels)
    three ? f32_row<V, 3, true>(g, w, c, int(g.channels - c)) : f32_row<V, 0, true>(g, w, c, int(g.channels - c));
}
