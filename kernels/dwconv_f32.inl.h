// Depthwise float convolution on a vocabulary V: F, N, load(p), load(p, n), store(p, v), store(p, v, n), set, fma, add, min, max,
// keep (in a register).
//   acc[x][c] = sum of rows[y][x*stride + z*dilation - pad_left][c] * w[y][z][c], one fma each from 0, in the order y, z
// Weights: blocks of V::N channels, [taps][N]. kPixels outputs share every weight that is read; windows of 3, 5 and 7 columns next
// to each other, of stride 1 or 2, also share the pixels. A few blocks of channels of the same pixels come one behind the other, so
// that memory is read and written in runs; all rows of a call for these come before the next channels: what several output rows see
// is in L1 by then. Strides are multiples of 4 bytes.

// Images of 7, 14, 28, 56 columns are whole tiles; with 7 columns of weights and a pixel they fill the registers of AVX2.
constexpr int kPixels = 7;
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
  const ptrdiff_t pixel;  // bytes to the next one
  const int64_t stride, dilation, pad_left, n;
  const int64_t columns;  // that are there and that outputs see
  char* const c;
  const ptrdiff_t c_stride;
  const float *const scale, *const bias;  // or null
  const char* const residual;             // or null
  const ptrdiff_t residual_stride;
  const typename V::F lo, hi;

  static int64_t seen(const DwconvArgs& g) {
    const int64_t all = (g.n - 1) * g.stride_w + (g.kw - 1) * int64_t(g.dilation_w) + 1 - g.pad_left;
    return all < 0 ? 0 : all < g.columns ? all : g.columns;
  }
  F32Row(const DwconvArgs& g, int64_t row)
      : rows(g.rows + row * g.stride_h), kh(g.kh), kw(g.kw), pixel(g.pixel_stride_bytes), stride(g.stride_w),
        dilation(g.dilation_w), pad_left(g.pad_left), n(g.n), columns(seen(g)),
        c(static_cast<char*>(g.c) + row * g.c_row_stride_bytes), c_stride(g.c_stride_bytes), scale(g.epi->scale),
        bias(g.epi->bias_f32),
        residual(g.epi->residual ? static_cast<const char*>(g.epi->residual) + row * g.residual_row_stride_bytes : nullptr),
        residual_stride(g.epi->residual_stride_bytes), lo(V::set(g.epi->lo)), hi(V::set(g.epi->hi)) {}
};

// Some of its channels.
struct F32Block {
  int64_t channel;  // the first one
  int n;
  const float* w;
};

// kEdge: outputs from pixel n on are none.
template <class V, bool kTail, bool kEdge>
OCTAVO_INLINE void store_f32(typename V::F (&acc)[kPixels], const F32Row<V>& r, const F32Block& b, int64_t x) {
  using F = typename V::F;
  const auto of_channel = [&](const float* p) OCTAVO_LAMBDA {
    return load_channels<V, kTail>(reinterpret_cast<const char*>(p + b.channel), b.n);
  };
  const F bias = r.bias ? of_channel(r.bias) : V::set(0);
  if (r.scale) {
    const F scale = of_channel(r.scale);
    OCTAVO_UNROLL
    for (int i = 0; i < kPixels; ++i) acc[i] = V::fma(acc[i], scale, bias);
  } else {
    OCTAVO_UNROLL
    for (int i = 0; i < kPixels; ++i) acc[i] = V::add(acc[i], bias);
  }
  if (r.residual) {
    const char* residual = r.residual + x * r.residual_stride + b.channel * 4;
    OCTAVO_UNROLL
    for (int i = 0; i < kPixels; ++i, residual += r.residual_stride) {
      asm("" : "+r"(residual));
      if (!kEdge || x + i < r.n) acc[i] = V::add(acc[i], load_channels<V, kTail>(residual, b.n));
    }
  }
  char* c = r.c + x * r.c_stride + b.channel * 4;
  OCTAVO_UNROLL
  for (int i = 0; i < kPixels; ++i, c += r.c_stride) {
    asm("" : "+r"(c));
    if (kEdge && x + i >= r.n) return;
    const F v = V::min(V::max(acc[i], r.lo), r.hi);
    if constexpr (kTail) {
      V::store(reinterpret_cast<float*>(c), v, b.n);
    } else {
      V::store(reinterpret_cast<float*>(c), v);
    }
  }
}

// kPixels outputs from x on, of any window. kEdge: not all of what they see is there.
template <class V, bool kTail, bool kEdge>
OCTAVO_INLINE void f32_any(const F32Row<V>& r, const F32Block& b, int64_t x, typename V::F (&acc)[kPixels]) {
  ptrdiff_t next = r.stride * r.pixel;
  const float* w = b.w;
  for (int y = 0; y < r.kh; ++y) {
    if (!r.rows[y]) {
      w += r.kw * V::N;
      continue;
    }
    int64_t column = x * r.stride - r.pad_left;
    const char* p = static_cast<const char*>(r.rows[y]) + column * r.pixel + b.channel * 4;
    for (int z = 0; z < r.kw; ++z, column += r.dilation, p += r.dilation * r.pixel, w += V::N) {
      asm("" : "+r"(next));  // multiples of it are addressing modes, not registers that GCC runs out of
      const typename V::F weight = V::load(w);
      OCTAVO_UNROLL
      for (int i = 0; i < kPixels; ++i)
        if (!kEdge || uint64_t(column + i * r.stride) < uint64_t(r.columns))
          acc[i] = V::fma(load_channels<V, kTail>(p + i * next, b.n), weight, acc[i]);
    }
  }
}

// The same of windows of KH rows (0: any) and KW columns next to each other, of stride S: a pixel is read once for all outputs.
template <class V, int KH, int KW, int S, bool kTail, bool kEdge>
OCTAVO_INLINE void f32_shared(const F32Row<V>& r, const F32Block& b, int64_t x, typename V::F (&acc)[kPixels]) {
  using F = typename V::F;
  const float* w = b.w;
  const int kh = KH ? KH : r.kh;
  for (int y = 0; y < kh; ++y, w += KW * V::N) {
    if (!r.rows[y]) continue;
    int64_t column = x * S - r.pad_left;
    const char* p = static_cast<const char*>(r.rows[y]) + column * r.pixel + b.channel * 4;
    F weights[KW];
    OCTAVO_UNROLL
    for (int z = 0; z < KW; ++z) weights[z] = V::load(w + z * V::N);
    OCTAVO_UNROLL
    for (int j = 0; j < (kPixels - 1) * S + KW; ++j, ++column, p += r.pixel) {
      asm("" : "+r"(p));  // sums, not registers that GCC runs out of
      if constexpr (kEdge) asm("" : "+r"(column));
      if (kEdge && uint64_t(column) >= uint64_t(r.columns)) continue;
      F pixel = load_channels<V, kTail>(p, b.n);
      V::keep(pixel);
      OCTAVO_UNROLL
      for (int i = 0; i < kPixels; ++i)
        if (j - i * S >= 0 && j - i * S < KW) acc[i] = V::fma(pixel, weights[j - i * S], acc[i]);
    }
  }
}

// Channels [begin, end) of all pixels of a row. KH, KW, S: the window, whose pixels are shared (KW = 0: they are not).
template <class V, int KH, int KW, int S>
[[gnu::noinline]] void f32_row(const DwconvArgs& g, int64_t row, const float* w, int64_t begin, int64_t end) {
  using F = typename V::F;
  const F32Row<V> r(g, row);
  const ptrdiff_t block = ptrdiff_t(r.kh) * r.kw * V::N;
  const auto tile = [&]<bool kTail, bool kEdge>(const F32Block& b, int64_t x) OCTAVO_LAMBDA {
    F acc[kPixels];
    OCTAVO_UNROLL
    for (int i = 0; i < kPixels; ++i) acc[i] = V::set(0);
    if constexpr (KW > 0) {
      f32_shared<V, KH, KW, S, kTail, kEdge>(r, b, x, acc);
    } else {
      f32_any<V, kTail, kEdge>(r, b, x, acc);
    }
    store_f32<V, kTail, kEdge>(acc, r, b, x);
  };
  const auto all = [&]<bool kEdge>(int64_t x) OCTAVO_LAMBDA {
    F32Block b{begin, V::N, w};
    for (; b.channel + V::N <= end; b.channel += V::N, b.w += block) tile.template operator()<false, kEdge>(b, x);
    b.n = int(end - b.channel);
    if (b.n > 0) tile.template operator()<true, kEdge>(b, x);
  };
  for (int64_t x = 0; x < r.n; x += kPixels) {
    const int64_t first = x * r.stride - r.pad_left, last = first + (kPixels - 1) * r.stride + (r.kw - 1) * r.dilation;
    first >= 0 && last < r.columns && x + kPixels <= r.n ? all.template operator()<false>(x) : all.template operator()<true>(x);
  }
}

template <class V, int S>
inline auto f32_row_of(const DwconvArgs& g) {
  return g.kw == 3   ? (g.kh == 3 ? f32_row<V, 3, 3, S> : f32_row<V, 0, 3, S>)
         : g.kw == 5 ? f32_row<V, 0, 5, S>
         : g.kw == 7 ? f32_row<V, 0, 7, S>
                     : f32_row<V, 0, 0, 0>;
}

template <class V>
inline void dwconv_f32(const DwconvArgs& g) {
  const auto run = g.dilation_w > 1 || g.stride_w > 2 ? f32_row<V, 0, 0, 0>
                   : g.stride_w == 1                  ? f32_row_of<V, 1>(g)
                                                      : f32_row_of<V, 2>(g);
  const float* w = static_cast<const float*>(g.w);
  for (int64_t c = 0; c < g.channels; c += kBlocks * V::N, w += kBlocks * ptrdiff_t(g.kh) * g.kw * V::N) {
    const int64_t end = g.channels - c < kBlocks * V::N ? g.channels : c + kBlocks * V::N;
    for (int64_t row = 0; row < g.m; ++row) run(g, row, w, c, end);
  }
}
