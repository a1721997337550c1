// Depthwise float convolution on a vocabulary V: F, N, load(p), load(p, n), store(p, v), store(p, v, n), set, fma, add, min, max.
//   acc[x][c] = sum of rows[y][x*stride + z*dilation][c] * w[y][z][c], one fma each from 0, in the order y, z
// Weights: blocks of V::N channels, [taps][N]. kPixels outputs share every weight that is read; windows of 3, 5 and 7 columns next
// to each other also share the pixels. A few blocks of channels of the same pixels come one behind the other, so that memory is
// read and written in runs; all rows of a call for these come before the next channels: what several output rows see is in L1 by
// then. Strides are multiples of 4 bytes.

constexpr int kPixels = 4;
constexpr int kBlocks = 4;

template <class V, bool kTail>
OCTAVO_INLINE typename V::F load_channels(const char* p, int n) {
  if constexpr (kTail) return V::load(reinterpret_cast<const float*>(p), n);
  return V::load(reinterpret_cast<const float*>(p));
}

// A row of outputs. By value: what is behind a pointer would be read again after each store.
template <class V>
struct F32Row {
  const void* const* rows;
  const int kh, kw;
  const ptrdiff_t pixel, next, step;  // bytes to the next pixel, to that of the next output, to the next column of the window
  const int64_t n;
  char* const c;
  const ptrdiff_t c_stride;
  const float *const scale, *const bias;  // or null
  const char* const residual;             // or null
  const ptrdiff_t residual_stride;
  const typename V::F lo, hi;

  F32Row(const DwconvArgs& g, int64_t row)
      : rows(g.rows + row * g.stride_h), kh(g.kh), kw(g.kw), pixel(g.pixel_stride_bytes), next(g.stride_w * pixel),
        step(g.dilation_w * pixel), n(g.n), c(static_cast<char*>(g.c) + row * g.c_row_stride_bytes), c_stride(g.c_stride_bytes),
        scale(g.epi->scale), bias(g.epi->bias_f32),
        residual(g.epi->residual ? static_cast<const char*>(g.epi->residual) + row * g.residual_row_stride_bytes : nullptr),
        residual_stride(g.epi->residual_stride_bytes), lo(V::set(g.epi->lo)), hi(V::set(g.epi->hi)) {}
};

// Some of its channels.
struct F32Block {
  int64_t channel;  // the first one
  int n;
  const float* w;
};

template <class V, int X, bool kTail>
OCTAVO_INLINE void store_f32(typename V::F (&acc)[X], const F32Row<V>& r, const F32Block& b, int64_t x) {
  using F = typename V::F;
  const auto of_channel = [&](const float* p) OCTAVO_LAMBDA {
    return load_channels<V, kTail>(reinterpret_cast<const char*>(p + b.channel), b.n);
  };
  const F bias = r.bias ? of_channel(r.bias) : V::set(0);
  if (r.scale) {
    const F scale = of_channel(r.scale);
    OCTAVO_UNROLL
    for (int i = 0; i < X; ++i) acc[i] = V::fma(acc[i], scale, bias);
  } else {
    OCTAVO_UNROLL
    for (int i = 0; i < X; ++i) acc[i] = V::add(acc[i], bias);
  }
  if (r.residual) {
    const char* residual = r.residual + x * r.residual_stride + b.channel * 4;
    OCTAVO_UNROLL
    for (int i = 0; i < X; ++i) acc[i] = V::add(acc[i], load_channels<V, kTail>(residual + i * r.residual_stride, b.n));
  }
  char* c = r.c + x * r.c_stride + b.channel * 4;
  OCTAVO_UNROLL
  for (int i = 0; i < X; ++i, c += r.c_stride) {
    const F v = V::min(V::max(acc[i], r.lo), r.hi);
    if constexpr (kTail) {
      V::store(reinterpret_cast<float*>(c), v, b.n);
    } else {
      V::store(reinterpret_cast<float*>(c), v);
    }
  }
}

// X pixels from x on. K: the window is K x K; 0 = any.
template <class V, int X, int K, bool kTail>
OCTAVO_INLINE void f32_pixels(const F32Row<V>& r, const F32Block& b, int64_t x) {
  const int kh = K ? K : r.kh, kw = K ? K : r.kw;
  ptrdiff_t next = r.next;
  typename V::F acc[X];
  OCTAVO_UNROLL
  for (int i = 0; i < X; ++i) acc[i] = V::set(0);
  const float* w = b.w;
  for (int y = 0; y < kh; ++y) {
    const char* p = static_cast<const char*>(r.rows[y]) + x * next + b.channel * 4;
    for (int z = 0; z < kw; ++z, p += r.step, w += V::N) {
      asm("" : "+r"(next));  // multiples of it are addressing modes, not registers that GCC runs out of
      const typename V::F weight = V::load(w);
      OCTAVO_UNROLL
      for (int i = 0; i < X; ++i) acc[i] = V::fma(load_channels<V, kTail>(p + i * next, b.n), weight, acc[i]);
    }
  }
  store_f32<V, X, kTail>(acc, r, b, x);
}

// The same of stride 1, KW columns next to each other, KH rows (0: any): pixels that outputs share are read once.
template <class V, int KH, int KW, bool kTail>
OCTAVO_INLINE void f32_shared(const F32Row<V>& r, const F32Block& b, int64_t x) {
  using F = typename V::F;
  F acc[kPixels];
  OCTAVO_UNROLL
  for (int i = 0; i < kPixels; ++i) acc[i] = V::set(0);
  const float* w = b.w;
  const int kh = KH ? KH : r.kh;
  for (int y = 0; y < kh; ++y, w += KW * V::N) {
    const char* p = static_cast<const char*>(r.rows[y]) + x * r.pixel + b.channel * 4;
    F pixels[KW + kPixels - 1];
    OCTAVO_UNROLL
    for (int i = 0; i < KW + kPixels - 1; ++i, p += r.pixel) pixels[i] = load_channels<V, kTail>(p, b.n);
    OCTAVO_UNROLL
    for (int z = 0; z < KW; ++z) {
      const F weight = V::load(w + z * V::N);
      OCTAVO_UNROLL
      for (int i = 0; i < kPixels; ++i) acc[i] = V::fma(pixels[i + z], weight, acc[i]);
    }
  }
  store_f32<V, kPixels, kTail>(acc, r, b, x);
}

// Channels [begin, end) of all pixels of a row. K: 3 for windows of 3x3, else 0. KW: the columns of a window whose pixels are
// shared, 0: they are not.
template <class V, int K, int KW>
[[gnu::noinline]] void f32_row(const DwconvArgs& g, int64_t row, const float* w, int64_t begin, int64_t end) {
  const F32Row<V> r(g, row);
  const ptrdiff_t block = ptrdiff_t(r.kh) * r.kw * V::N;
  const auto all = [&]<int X>(int64_t x) OCTAVO_LAMBDA {
    const auto some = [&]<bool kTail>(const F32Block& b) OCTAVO_LAMBDA {
      if constexpr (X > 1 && KW > 0) {
        f32_shared<V, K, KW, kTail>(r, b, x);
      } else {
        f32_pixels<V, X, K, kTail>(r, b, x);
      }
    };
    F32Block b{begin, V::N, w};
    for (; b.channel + V::N <= end; b.channel += V::N, b.w += block) some.template operator()<false>(b);
    b.n = int(end - b.channel);
    if (b.n > 0) some.template operator()<true>(b);
  };
  int64_t x = 0;
  for (; x + kPixels <= r.n; x += kPixels) all.template operator()<kPixels>(x);
  // The last ones with some before them once more, unless the residual may be what was written.
  if (x < r.n && x > 0 && !r.residual) return all.template operator()<kPixels>(r.n - kPixels);
  for (; x < r.n; ++x) all.template operator()<1>(x);
}

template <class V>
inline void dwconv_f32(const DwconvArgs& g) {
  const bool three = g.kh == 3 && g.kw == 3, shared = g.stride_w == 1 && g.dilation_w == 1;
  const auto run = three ? (shared ? f32_row<V, 3, 3> : f32_row<V, 3, 0>)
                   : !shared || (g.kw != 3 && g.kw != 5 && g.kw != 7) ? f32_row<V, 0, 0>
                   : g.kw == 3                                        ? f32_row<V, 0, 3>
                   : g.kw == 5                                        ? f32_row<V, 0, 5>
                                                                      : f32_row<V, 0, 7>;
  const float* w = static_cast<const float*>(g.w);
  for (int64_t c = 0; c < g.channels; c += kBlocks * V::N, w += kBlocks * ptrdiff_t(g.kh) * g.kw * V::N) {
    const int64_t end = g.channels - c < kBlocks * V::N ? g.channels : c + kBlocks * V::N;
    for (int64_t row = 0; row < g.m; ++row) run(g, row, w, c, end);
  }
}
