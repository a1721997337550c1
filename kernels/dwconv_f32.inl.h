// Depthwise float convolution on a vocabulary V: F, N, load(p), load(p, n), store(p, v), store(p, v, n), set, fma, add, min, max.
//   acc[x][c] = sum of rows[y][x*stride + z*dilation][c] * w[y][z][c], one fma each from 0, in the order y, z
// Weights: blocks of V::N channels, [taps][N]. kPixels outputs share every weight that is read.

template <class V, bool kTail>
inline typename V::F load_channels(const float* p, int n) {
  if constexpr (kTail) return V::load(p, n);
  return V::load(p);
}

template <class V, bool kTail>
inline void store_f32(typename V::F acc, const EpilogueArgs& e, int64_t channel, int n, const float* r, float* c) {
  using F = typename V::F;
  const F bias = e.bias_f32 ? load_channels<V, kTail>(e.bias_f32 + channel, n) : V::set(0);
  F v = e.scale ? V::fma(acc, load_channels<V, kTail>(e.scale + channel, n), bias) : V::add(acc, bias);
  if (r) v = V::add(v, load_channels<V, kTail>(r, n));
  v = V::min(V::max(v, V::set(e.lo)), V::set(e.hi));
  if constexpr (kTail) {
    V::store(c, v, n);
  } else {
    V::store(c, v);
  }
}

// K: the window is K x K; 0 = any, from the arguments.
template <class V, int kPixels, int K, bool kTail>
inline void f32_pixels(const DwconvArgs& g, const float* w, int64_t channel, int n, int64_t x) {
  const ptrdiff_t step = g.dilation_w * g.pixel_stride_bytes, next = g.stride_w * g.pixel_stride_bytes;
  const int kh = K ? K : g.kh, kw = K ? K : g.kw;
  typename V::F acc[kPixels];
  for (int i = 0; i < kPixels; ++i) acc[i] = V::set(0);
#pragma GCC unroll 3
  for (int y = 0; y < kh; ++y) {
    const char* p = static_cast<const char*>(g.rows[y]) + x * next + channel * 4;
#pragma GCC unroll 3
    for (int z = 0; z < kw; ++z, p += step) {
      const typename V::F weight = V::load(w + (y * kw + z) * V::N);
      for (int i = 0; i < kPixels; ++i)
        acc[i] = V::fma(load_channels<V, kTail>(reinterpret_cast<const float*>(p + i * next), n), weight, acc[i]);
    }
  }
  const EpilogueArgs& e = *g.epi;
  for (int i = 0; i < kPixels; ++i) {
    const ptrdiff_t offset = channel * 4 + (x + i) * e.residual_stride_bytes;
    const float* r = e.residual ? reinterpret_cast<const float*>(static_cast<const char*>(e.residual) + offset) : nullptr;
    store_f32<V, kTail>(acc[i], e, channel, n, r,
                        reinterpret_cast<float*>(static_cast<char*>(g.c) + (x + i) * g.c_stride_bytes + channel * 4));
  }
}

template <class V, int K, bool kTail>
inline void f32_row(const DwconvArgs& g, const float* w, int64_t channel, int n) {
  int64_t x = 0;
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
  if (c < g.channels) f32_row<V, 0, true>(g, w, c, int(g.channels - c));
}
