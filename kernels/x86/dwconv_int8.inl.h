// One channel block of a depthwise int8 convolution on a vector vocabulary V (Ymm, Xmm, Zmm of dwconv_vectors.inl.h).
//
// First, columns: the bytes of kGroup rows of an input column (VNNI: 4, else 2, widened to words) are interleaved by unpacking,
// so that one dword holds kGroup vertical neighbours of one channel. They go to a strip of columns on the stack.
// Then, outputs: a window is kw columns of the strip. Where kh leaves part of its last group of rows free, the same columns
// serve the output row below too, with weights moved down by one row.
// A kernel of one row (kh = 1) is turned by 90 degrees: a column is kGroup horizontal neighbours.
//
// Unpacking deals the channels to four quarters: quarter q holds the channels 16*l + 4*q .. 4*q+3 of every 16-byte lane l.
// Weights are packed in that order (PackFormat::unpack_order); bias and scale are put in it once per call; packing the result
// to bytes undoes it.

template <class V, bool kTail>
inline typename V::T load_bytes(const char* p, int n) {
  if constexpr (kTail) return V::load(p, n);
  return V::load(p);
}

// What does not change over the pixels.
template <class V>
struct Channels {
  typename V::T bias[4], scale[4], float_bias[4];
  typename V::T residual_flip, residual_zp, minus_lo, range, base;
  typename V::F residual_scale, hi;
  bool plain;       // no residual, and float(acc) * scale converts to s32 whatever acc is: |scale| < 1, as in all networks
  int64_t channel;  // the first one
  int n;            // channels, <= V::kChannels

  Channels(const EpilogueArgs& e, int64_t first_channel, int channels) : channel(first_channel), n(channels) {
    V::load_quarters(e.bias ? e.bias + channel : nullptr, n, bias);
    V::load_quarters(e.scale ? e.scale + channel : nullptr, n, scale);
    V::load_quarters(e.bias_f32 ? e.bias_f32 + channel : nullptr, n, float_bias);
    for (int q = 0; q < 4 && !e.scale; ++q) scale[q] = V::as_s32(V::set_f32(1));
    plain = !e.residual;
    for (int q = 0; q < 4; ++q) plain &= V::below_one(V::as_f32(scale[q]));
    const int r = e.residual_dtype == DType::s8 ? 128 : 0;
    const unsigned lo = unsigned(V::to_s32(e.lo));  // unsigned, since bounds that no byte needs may fit no integer
    residual_flip = V::set_s8(r);
    residual_zp = V::set_s32(e.residual_zp + r);
    residual_scale = V::set_f32(e.residual_scale);
    hi = V::set_f32(e.hi);
    minus_lo = V::set_s16(int(0 - lo));
    range = V::set_s8(int(unsigned(V::to_s32(e.hi)) - lo));
    base = V::set_s8(int(lo + unsigned(e.zp)));
  }
};

// u8, s8: rounding is monotonic, so that the clamp may follow it. With x = rne(v), what is stored is
// min(max(x - lo, 0), hi - lo) + (lo + zp), the last sum modulo 256; packing to u8 is the max. What does not fit s32, and NaN,
// becomes its minimum: unless all fits, the upper bound must come before the conversion.
// rounded(): x of quarter q. kPlain: no residual, and all fits. r: the residual's bytes, or null.
template <class V, bool kPlain, bool kTail, int q>
inline typename V::T rounded(typename V::T acc, const Channels<V>& k, const char* r) {
  typename V::F v = V::to_f32(acc);
  if constexpr (kPlain) return V::to_s32(V::mul(v, V::as_f32(k.scale[q])));
  if (r) {
    const typename V::T bytes = V::bitxor(load_bytes<V, kTail>(r, k.n), k.residual_flip);
    const typename V::T half = q < 2 ? V::unpacklo8(bytes, V::zero()) : V::unpackhi8(bytes, V::zero());
    const typename V::T residual = q % 2 ? V::unpackhi16(half, V::zero()) : V::unpacklo16(half, V::zero());
    v = V::fma(v, V::as_f32(k.scale[q]), V::mul(V::to_f32(V::sub32(residual, k.residual_zp)), k.residual_scale));
  } else {
    v = V::mul(v, V::as_f32(k.scale[q]));
  }
  return V::to_s32(V::min(k.hi, v));
}

// s32, f32: the quarters are put back in channel order.
template <class V, bool kTail>
OCTAVO_INLINE void store_words(const typename V::T (&acc)[4], const Channels<V>& k, const EpilogueArgs& e, const char* r, char* c) {
  using T = typename V::T;
  using F = typename V::F;
  const bool floats = e.out == DType::f32;
  T quarters[4], natural[4];
  for (int q = 0; q < 4; ++q)
    quarters[q] = floats ? V::as_s32(V::fma(V::to_f32(acc[q]), V::as_f32(k.scale[q]), V::as_f32(k.float_bias[q]))) : acc[q];
  V::from_quarters(quarters, natural);
  constexpr int kStep = V::kChannels / 4;
  for (int i = 0; i < 4; ++i, c += kStep * 4) {
    const int n = k.n - i * kStep;
    if (kTail && n <= 0) return;
    const bool part = kTail && n < kStep;  // stores under a mask are slow
    T out = natural[i];
    if (floats) {
      F v = V::as_f32(out);
      if (r) v = V::add(v, V::as_f32(part ? V::load_words(r + i * kStep * 4, n) : V::load(r + i * kStep * 4)));
      out = V::as_s32(V::min(V::max(v, V::set_f32(e.lo)), V::set_f32(e.hi)));
    }
    part ? V::store_words(c, out, n) : V::store(c, out);
  }
}

// Where a pixel goes, and its residual (null if there is none).
struct Place {
  char* c;
  const char* r;
  OCTAVO_INLINE Place(const DwconvArgs& g, int64_t channel_bytes, int64_t row, int64_t x)
      : c(static_cast<char*>(g.c) + row * g.c_row_stride_bytes + x * g.c_stride_bytes + channel_bytes),
        r(static_cast<const char*>(g.epi->residual)) {
    if (r) r += row * g.residual_row_stride_bytes + x * g.epi->residual_stride_bytes + channel_bytes;
  }
};

// The window as columns: kw of them, `dilation` apart, each of `groups` groups of kGroup rows.
struct Window {
  int groups;
  int64_t kw, dilation;
  bool turned;

  Window(const DwconvArgs& g, int group)
      : groups((g.kh + group - 1) / group), kw(g.kw), dilation(g.dilation_w), turned(g.kh == 1) {
    if (turned) kw = (kw + group - 1) / group, dilation *= group;
  }
  explicit Window(int groups_of_one_column) : groups(groups_of_one_column), kw(1), dilation(1), turned(false) {}
  ptrdiff_t bytes(int nr) const { return kw * groups * 4 * nr; }  // of the packed weights of nr channels
  int64_t columns(int64_t pixels, int64_t stride) const { return (pixels - 1) * stride + (kw - 1) * dilation + 1; }
};

// A pointer whose target the compiler takes for new: what it points to is read where it is used, as a memory operand, and
// not kept in registers that are needed for other things.
template <class T>
inline const T& reread(const T& object) {
  const T* p = &object;
  __asm__("" : "+r"(p));
  return *p;
}

// One dword per channel, in quarters: four rows as bytes for vpdpbusd, or two rows as words for vpmaddwd.
template <class V>
inline void interleave(const typename V::T (&a)[V::kGroup], typename V::T* d) {
  using T = typename V::T;
  const T low = V::unpacklo8(a[0], a[1]), high = V::unpackhi8(a[0], a[1]);
  if constexpr (V::kGroup == 4) {
    const T low2 = V::unpacklo8(a[2], a[3]), high2 = V::unpackhi8(a[2], a[3]);
    d[0] = V::unpacklo16(low, low2);
    d[1] = V::unpackhi16(low, low2);
    d[2] = V::unpacklo16(high, high2);
    d[3] = V::unpackhi16(high, high2);
  } else {
    d[0] = V::unpacklo8(low, V::zero());
    d[1] = V::unpackhi8(low, V::zero());
    d[2] = V::unpacklo8(high, V::zero());
    d[3] = V::unpackhi8(high, V::zero());
  }
}

// `columns` columns of one group of rows, a[t] being the first pixel of row t. To d, `d_step` vectors apart.
// kFlip: s8 pixels become u8.
template <class V, bool kTail, bool kFlip>
[[gnu::noinline]] void interleave_columns(const char* const (&rows)[V::kGroup], ptrdiff_t step, int64_t columns, int n,
                                          typename V::T* d, ptrdiff_t d_step) {
  using T = typename V::T;
  const char* p[V::kGroup];
  for (int t = 0; t < V::kGroup; ++t) p[t] = rows[t];
  for (int64_t i = 0; i < columns; ++i, d += d_step) {
    T a[V::kGroup];
    for (int t = 0; t < V::kGroup; ++t) {
      a[t] = load_bytes<V, kTail>(p[t], n);
      p[t] += step;
      if constexpr (kFlip) a[t] = V::bitxor(a[t], V::set_s8(128));
    }
    interleave<V>(a, d);
  }
}

// Group i of the columns [x, x + columns), for the output row whose window begins at rows[0]. `rows` has `last` + 1 rows; groups
// that need more see the last one again: the weights there are 0. So are those of neighbours beyond pixel `end`, if turned.
template <class V, bool kTail, bool kFlip>
inline void interleave_group(const DwconvArgs& g, const Window& w, const void* const* rows, int last, int64_t end,
                             const Channels<V>& k, int i, int64_t x, int64_t columns, typename V::T* d, ptrdiff_t d_step) {
  const ptrdiff_t step = g.pixel_stride_bytes;
  const char* a[V::kGroup];
  if (!w.turned) {
    for (int t = 0; t < V::kGroup; ++t) {
      const int y = i * V::kGroup + t;
      a[t] = static_cast<const char*>(rows[y < last ? y : last]) + x * step + k.channel;
    }
    return interleave_columns<V, kTail, kFlip>(a, step, columns, k.n, d, d_step);
  }
  const int64_t whole = end - (V::kGroup - 1) * int64_t(g.dilation_w) - x;  // columns that have all their neighbours
  for (int64_t c = 0, some; c < columns; c += some) {
    some = c < whole ? (whole < columns ? whole : columns) : 1;
    for (int t = 0; t < V::kGroup; ++t) {
      const int64_t pixel = x + c + t * int64_t(g.dilation_w);
      a[t] = static_cast<const char*>(rows[0]) + (pixel < end ? pixel : end - 1) * step + k.channel;
    }
    interleave_columns<V, kTail, kFlip>(a, step, some, k.n, d + c * d_step, d_step);
  }
}

// Weights of a window: group i of column z is packed at w + (z*groups + i) * 4*kNr bytes, quarters kNr bytes apart. Those of the
// output row below, moved down by one row, at below[z*groups + i].
template <class V>
struct Weights {
  const char* w;
  const typename V::T (*below)[4];
};

// acc[q][r][i] += the products of one group of rows of a column, for quarters q of [kBegin, kEnd), R output rows x X pixels.
// `d`: the column under pixel 0's tap, `at`: which group of the weights.
template <class V, int kNr, int R, int X, int kBegin, int kEnd>
OCTAVO_INLINE void dot_group(const Weights<V>& weights, int64_t at, const typename V::T* d, ptrdiff_t pixel,
                             typename V::T (*acc)[R][X]) {
  using T = typename V::T;
  OCTAVO_UNROLL
  for (int q = kBegin; q < kEnd; ++q) {
    T w[R];
    OCTAVO_UNROLL
    for (int r = 0; r < R; ++r) {
      w[r] = r ? weights.below[at][q] : V::load(weights.w + at * 4 * kNr + q * kNr);
      if (X > 1) V::keep(w[r]);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < X; ++i) {
      T a = d[i * pixel + q];
      if (R > 1) V::keep(a);
      OCTAVO_UNROLL
      for (int r = 0; r < R; ++r) acc[q - kBegin][r][i] = V::dot(acc[q - kBegin][r][i], a, w[r]);
    }
  }
}

// All groups of any window, all quarters.
template <class V, int kNr, int R, int X>
OCTAVO_INLINE void dot_window(const Window& window, const Weights<V>& weights, const Channels<V>& k, const typename V::T* d,
                              ptrdiff_t pixel, typename V::T (&acc)[4][R][X]) {
  OCTAVO_UNROLL
  for (int i = 0; i < 4 * R * X; ++i) acc[i / (R * X)][i / X % R][i % X] = k.bias[i / (R * X)];
  const ptrdiff_t skip = 4 * (window.dilation - 1) * window.groups;
  int64_t at = 0;
  for (int64_t z = 0; z < window.kw; ++z, d += skip)
    for (int i = 0; i < window.groups; ++i, d += 4) dot_group<V, kNr, R, X, 0, 4>(weights, at++, d, pixel, acc);
}

// u8 or s8 output of R output rows x X pixels from pixel x of row `row` on. add.operator()<q>(acc) adds the products of quarter
// q. One quarter after the other: while one is multiplied, the one before is converted, in other parts of the CPU.
template <class V, int R, int X, bool kPlain, bool kTail, class Add>
OCTAVO_INLINE void tile_of_bytes(const DwconvArgs& g, const Channels<V>& k, int64_t row, int64_t x, const Add& add) {
  using T = typename V::T;
  const Place place(g, k.channel, row, x);
  const ptrdiff_t c_row = g.c_row_stride_bytes, c_pixel = g.c_stride_bytes;
  const ptrdiff_t r_row = g.residual_row_stride_bytes, r_pixel = g.epi->residual_stride_bytes;
  T even[R][X], words[R][X][2];
  const auto quarter = [&]<int q>() __attribute__((always_inline)) {
    T acc[R][X];
    OCTAVO_UNROLL
    for (int i = 0; i < R * X; ++i) acc[i / X][i % X] = k.bias[q];
    add.template operator()<q>(acc);
    OCTAVO_UNROLL
    for (int i = 0; i < R * X; ++i) {
      V::keep(acc[i / X][i % X]);
      const char* r = !kPlain && place.r ? place.r + i / X * r_row + i % X * r_pixel : nullptr;
      const T v = rounded<V, kPlain, kTail, q>(acc[i / X][i % X], k, r);
      if constexpr (q % 2 == 0) {
        even[i / X][i % X] = v;
      } else {
        words[i / X][i % X][q / 2] = V::adds16(V::packs32(even[i / X][i % X], v), k.minus_lo);
      }
    }
  };
  quarter.template operator()<0>();
  quarter.template operator()<1>();
  quarter.template operator()<2>();
  quarter.template operator()<3>();
  OCTAVO_UNROLL
  for (int i = 0; i < R * X; ++i) {
    const T(&w)[2] = words[i / X][i % X];
    const T bytes = V::add8(V::min8(V::packus16(w[0], w[1]), k.range), k.base);
    char* c = place.c + i / X * c_row + i % X * c_pixel;
    if constexpr (kTail) {
      V::store(c, bytes, k.n);
    } else {
      V::store(c, bytes);
    }
  }
}

// s32 or f32 output of R output rows x X pixels from pixel x of row `row` on.
template <class V, int R, int X, bool kTail>
OCTAVO_INLINE void store_sums(const DwconvArgs& g, const Channels<V>& k, int64_t row, int64_t x,
                              const typename V::T (&sums)[4][R][X]) {
  OCTAVO_UNROLL
  for (int i = 0; i < R * X; ++i) {
    const int r = i / X, j = i % X;
    const Place place(g, k.channel * 4, row + r, x + j);
    store_words<V, kTail>({sums[0][r][j], sums[1][r][j], sums[2][r][j], sums[3][r][j]}, k, *g.epi, place.r, place.c);
  }
}

// As tile_of_bytes() with s32 or f32 output.
template <class V, int R, int X, bool kTail, class Add>
OCTAVO_INLINE void tile_of_words(const DwconvArgs& g, const Channels<V>& k, int64_t row, int64_t x, const Add& add) {
  typename V::T sums[4][R][X];
  OCTAVO_UNROLL
  for (int i = 0; i < 4 * R * X; ++i) sums[i / (R * X)][i / X % R][i % X] = k.bias[i / (R * X)];
  add.template operator()<0>(sums[0]);
  add.template operator()<1>(sums[1]);
  add.template operator()<2>(sums[2]);
  add.template operator()<3>(sums[3]);
  store_sums<V, R, X, kTail>(g, k, row, x, sums);
}

// R output rows x `pixels` pixels, from pixel x of row `row` on, whose first column is the strip's first.
// kThree: 3 columns of 3 rows, next to each other.
template <class V, int kNr, int R, bool kThree, bool kPlain, bool kTail>
[[gnu::noinline]] void tiles_of_bytes(const DwconvArgs& g, const Window& window, const Weights<V>& weights, const Channels<V>& k,
                                      const typename V::T* strip, int64_t row, int64_t x, int64_t pixels) {
  using T = typename V::T;
  constexpr int kAtOnce = V::kPixels / R;
  const ptrdiff_t pixel = ptrdiff_t(g.stride_w) * window.groups * 4;
  const auto tile = [&]<int X>(int64_t i) __attribute__((always_inline)) {
    const Weights<V>& w = reread(weights);
    const T* d = strip + i * pixel;
    T sums[4][R][X];
    if constexpr (!kThree) dot_window<V, kNr, R, X>(window, w, reread(k), d, pixel, sums);
    tile_of_bytes<V, R, X, kPlain, kTail>(g, reread(k), row, x + i, [&]<int q>(T(&acc)[R][X]) __attribute__((always_inline)) {
      OCTAVO_UNROLL
      for (int at = 0; kThree && at < 3 * ((2 + V::kGroup) / V::kGroup); ++at)
        dot_group<V, kNr, R, X, q, q + 1>(w, at, d + 4 * at, pixel, &acc);
      OCTAVO_UNROLL
      for (int i = 0; !kThree && i < R * X; ++i) acc[i / X][i % X] = sums[q][i / X][i % X];
    });
  };
  int64_t i = 0;
  for (; i + kAtOnce <= pixels; i += kAtOnce) tile.template operator()<kAtOnce>(i);
  for (; i < pixels; ++i) tile.template operator()<1>(i);
}

// The same with s32 or f32 output.
template <class V, int kNr, int R, bool kTail>
[[gnu::noinline]] void tiles_of_words(const DwconvArgs& g, const Window& window, const Weights<V>& weights, const Channels<V>& k,
                                      const typename V::T* strip, int64_t row, int64_t x, int64_t pixels) {
  constexpr int kAtOnce = V::kPixels / R;
  const ptrdiff_t pixel = ptrdiff_t(g.stride_w) * window.groups * 4;
  const auto tile = [&]<int X>(int64_t first) __attribute__((always_inline)) {
    typename V::T sums[4][R][X];
    dot_window<V, kNr, R, X>(window, weights, k, strip + first * pixel, pixel, sums);
    store_sums<V, R, X, kTail>(g, k, row, x + first, sums);
  };
  int64_t i = 0;
  for (; i + kAtOnce <= pixels; i += kAtOnce) tile.template operator()<kAtOnce>(i);
  for (; i < pixels; ++i) tile.template operator()<1>(i);
}

template <class V, int kNr, int R, bool kTail>
inline void tiles(const DwconvArgs& g, const Window& window, const Weights<V>& weights, const Channels<V>& k,
                  const typename V::T* strip, int64_t row, int64_t x, int64_t pixels) {
  if (g.epi->out != DType::u8 && g.epi->out != DType::s8) {
    tiles_of_words<V, kNr, R, kTail>(g, window, weights, k, strip, row, x, pixels);
  } else if (!k.plain) {
    tiles_of_bytes<V, kNr, R, false, false, kTail>(g, window, weights, k, strip, row, x, pixels);
  } else if (V::kThreeByThree == 0 && g.kh == 3 && g.kw == 3 && window.dilation == 1) {
    tiles_of_bytes<V, kNr, R, V::kThreeByThree == 0, true, kTail>(g, window, weights, k, strip, row, x, pixels);
  } else {
    tiles_of_bytes<V, kNr, R, false, true, kTail>(g, window, weights, k, strip, row, x, pixels);
  }
}

// Vectors of the strip, and groups of weights for the output row below: 16 KB and 4 KB of zmm.
constexpr int kStrip = 64, kBelow = 16;

// What the outputs of a call are: bytes of sums that fit and no residual, other bytes, s32 or f32.
enum class Outputs { plain_bytes, bytes, words };

// A 3x3 window of stride S without a strip: from pixel x on, R output rows x X pixels at a time, whose columns are in registers.
// Returns where it came to: fewer than X may be left.
template <class V, int kNr, int R, int X, int S, Outputs kOutputs, bool kTail, bool kFlip>
[[gnu::noinline]] int64_t three_by_three(const DwconvArgs& g, const Weights<V>& all_weights, const Channels<V>& all_k,
                                         int64_t row, int64_t x) {
  using T = typename V::T;
  constexpr int kColumns = (X - 1) * S + 3, kOld = 3 - S, kRows = R + 2;
  const ptrdiff_t step = g.pixel_stride_bytes;
  const char* p[kRows];
  for (int t = 0; t < kRows; ++t)
    p[t] = static_cast<const char*>(g.rows[row * g.stride_h + t]) + x * S * step + all_k.channel;
  const int n = all_k.n;
  T d[kColumns][4];
  const auto columns = [&](int begin, int end) __attribute__((always_inline)) {
    OCTAVO_UNROLL
    for (int i = begin; i < end; ++i) {
      T a[V::kGroup];
      OCTAVO_UNROLL
      for (int t = 0; t < V::kGroup; ++t) {
        if (t >= kRows) {
          a[t] = a[kRows - 1];
          continue;
        }
        a[t] = load_bytes<V, kTail>(p[t], n);
        if constexpr (kFlip) a[t] = V::bitxor(a[t], V::set_s8(128));
        p[t] += step;
      }
      interleave<V>(a, d[i]);
    }
  };
  columns(0, kOld);
  for (; x + X <= g.n; x += X) {
    const Weights<V>& weights = reread(all_weights);
    columns(kOld, kColumns);
    const auto add = [&]<int q>(T(&acc)[R][X]) __attribute__((always_inline)) {
      OCTAVO_UNROLL
      for (int z = 0; z < 3; ++z) {
        OCTAVO_UNROLL
        for (int r = 0; r < R; ++r) {
          T w = r ? weights.below[z][q] : V::load(weights.w + z * 4 * kNr + q * kNr);
          if (X > 1) V::keep(w);
          OCTAVO_UNROLL
          for (int i = 0; i < X; ++i) acc[r][i] = V::dot(acc[r][i], d[i * S + z][q], w);
        }
      }
    };
    if constexpr (kOutputs == Outputs::words) {
      tile_of_words<V, R, X, kTail>(g, reread(all_k), row, x, add);
    } else {
      tile_of_bytes<V, R, X, kOutputs == Outputs::plain_bytes, kTail>(g, reread(all_k), row, x, add);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kOld; ++i) {
      OCTAVO_UNROLL
      for (int q = 0; q < 4; ++q) d[i][q] = d[kColumns - kOld + i][q];
    }
  }
  return x;
}

// A K x K window of stride 2 without a strip: all outputs that see a column take it while it is in registers, so that sums are
// kept, and not columns. Weights come from memory for each. (Of stride 1 more see it; that is no faster than two output rows at a
// time.)
template <class V, int kNr, int K, Outputs kOutputs, bool kTail, bool kFlip>
[[gnu::noinline]] void rolling_sums(const DwconvArgs& g, const Weights<V>& all_weights, const Channels<V>& all_k, int64_t row) {
  using T = typename V::T;
  constexpr int S = 2, kSums = (K - 1) / S + 1, kGroups = (K + V::kGroup - 1) / V::kGroup;
  const ptrdiff_t step = g.pixel_stride_bytes;
  const char* p[K];
  for (int t = 0; t < K; ++t) p[t] = static_cast<const char*>(g.rows[row * g.stride_h + t]) + all_k.channel;
  const int n = all_k.n;
  T acc[kSums][4];  // of the next outputs
  const auto columns = [&](const char* w, int begin, int end) __attribute__((always_inline)) {  // columns of the first one's window
    OCTAVO_UNROLL
    for (int c = begin; c < end; ++c) {
      OCTAVO_UNROLL
      for (int i = 0; i < kGroups; ++i) {
        T a[V::kGroup], d[4];
        OCTAVO_UNROLL
        for (int t = 0; t < V::kGroup; ++t) {
          const int y = i * V::kGroup + t;
          if (y >= K) {
            a[t] = a[t - 1];
            continue;
          }
          a[t] = load_bytes<V, kTail>(p[y], n);
          if constexpr (kFlip) a[t] = V::bitxor(a[t], V::set_s8(128));
          p[y] += step;
        }
        interleave<V>(a, d);
        OCTAVO_UNROLL
        for (int o = 0; o < kSums; ++o) {
          if (c - o * S < 0) continue;
          OCTAVO_UNROLL
          for (int q = 0; q < 4; ++q)
            acc[o][q] = V::dot(acc[o][q], d[q], V::load(w + ((c - o * S) * kGroups + i) * 4 * kNr + q * kNr));
        }
      }
    }
  };
  OCTAVO_UNROLL
  for (int i = 0; i < kSums * 4; ++i) acc[i / 4][i % 4] = all_k.bias[i % 4];
  columns(all_weights.w, 0, K - S);
  for (int64_t x = 0; x < g.n; ++x) {
    const Channels<V>& k = reread(all_k);
    columns(reread(all_weights).w, K - S, K);
    const auto sums = [&]<int q>(T(&out)[1][1]) __attribute__((always_inline)) { out[0][0] = acc[0][q]; };
    if constexpr (kOutputs == Outputs::words) {
      tile_of_words<V, 1, 1, kTail>(g, k, row, x, sums);
    } else {
      tile_of_bytes<V, 1, 1, kOutputs == Outputs::plain_bytes, kTail>(g, k, row, x, sums);
    }
    OCTAVO_UNROLL
    for (int o = 0; o < kSums; ++o) {
      OCTAVO_UNROLL
      for (int q = 0; q < 4; ++q) acc[o][q] = o + 1 < kSums ? acc[o + 1 < kSums ? o + 1 : o][q] : k.bias[q];
    }
  }
}

// A window that no strip holds, for X pixels of which the first `skip` are not stored: one group of rows after the other. Pixels
// share columns that are next to each other.
template <class V, int kNr, int X, bool kTail, bool kFlip>
[[gnu::noinline]] void wide_window(const DwconvArgs& g, const Window& window, const char* w, const Channels<V>& k, int64_t end,
                                   int64_t row, int64_t x, int skip, typename V::T* strip) {
  using T = typename V::T;
  const int64_t columns = (X - 1) * g.stride_w + window.kw, at_once = window.dilation == 1 ? kStrip : 1;
  const ptrdiff_t column = ptrdiff_t(window.groups) * 4 * kNr, back = g.stride_w * column;
  T acc[X][4];
  OCTAVO_UNROLL
  for (int i = 0; i < X * 4; ++i) acc[i / 4][i % 4] = k.bias[i % 4];
  for (int i = 0; i < window.groups; ++i, w += 4 * kNr)
    for (int64_t begin = 0; begin < columns; begin += at_once) {
      const int64_t last = columns - begin < at_once ? columns : begin + at_once;
      interleave_group<V, kTail, kFlip>(g, window, g.rows + row * g.stride_h, g.kh - 1, end, k, i,
                                        x * g.stride_w + begin * window.dilation, last - begin, strip, 4);
      const T* d = strip;
      for (int64_t c = begin; c < last; ++c, d += 4) {
        const char* at = w + c * column;
        int64_t z = c;
        OCTAVO_UNROLL
        for (int o = 0; o < X; ++o, z -= g.stride_w, at -= back) {
          __asm__("" : "+r"(z), "+r"(at));  // differences, not registers that GCC runs out of
          if (uint64_t(z) >= uint64_t(window.kw)) continue;
          OCTAVO_UNROLL
          for (int q = 0; q < 4; ++q) acc[o][q] = V::dot(acc[o][q], d[q], V::load(at + q * kNr));
        }
      }
    }
  // The rest as if it were a window of one tap whose weight is 0.
  const Window none(1);
  alignas(64) static constexpr char kZeros[4 * kNr] = {};
  T sums[X][4];
  for (int i = 0; i < X * 4; ++i) sums[i / 4][i % 4] = acc[i / 4][i % 4];
  Channels<V> one = k;
  for (int o = skip; o < X; ++o) {
    for (int q = 0; q < 4; ++q) one.bias[q] = sums[o][q];
    tiles<V, kNr, 1, kTail>(g, none, {kZeros, nullptr}, one, strip, row, x + o, 1);
  }
}

// n <= V::kChannels channels of all pixels, from `channel` on. w: their first column in a block of kNr channels.
template <class V, int kNr, bool kTail, bool kFlip>
inline void channels_of(const DwconvArgs& g, const char* w, int64_t channel, int n) {
  using T = typename V::T;
  constexpr int kBits = 32 / V::kGroup;
  const Channels<V> k(*g.epi, channel, n);
  const Window window(g, V::kGroup);
  const int64_t end = (g.n - 1) * g.stride_w + (g.kw - 1) * int64_t(g.dilation_w) + 1;
  alignas(64) T strip[kStrip * 4], below[kBelow][4];
  const Weights<V> weights{w, below};
  const int64_t columns = kStrip / window.groups, more = columns - window.columns(1, 1);
  if (more < 0) {
    constexpr int X = V::kPixels == 4 ? 6 : 2;
    const bool share = window.dilation == 1 && g.n >= X;
    for (int64_t row = 0; row < g.m; ++row)
      for (int64_t x = 0, next; x < g.n; x = next) {
        next = share && x + X < g.n ? x + X : share ? g.n : x + 1;
        share ? wide_window<V, kNr, X, kTail, kFlip>(g, window, w, k, end, row, next - X, int(X - (next - x)), strip)
              : wide_window<V, kNr, 1, kTail, kFlip>(g, window, w, k, end, row, x, 0, strip);
      }
    return;
  }
  const int64_t at_once = more / g.stride_w + 1;
  const bool bytes = g.epi->out == DType::u8 || g.epi->out == DType::s8;
  const Outputs outputs = !bytes ? Outputs::words : k.plain ? Outputs::plain_bytes : Outputs::bytes;
  const bool three = V::kThreeByThree && g.kh == 3 && g.kw == 3 && g.dilation_w == 1 && g.stride_w <= 2;
  const bool rolling =
      V::kThreeByThree == 2 && g.kh == g.kw && (g.kw == 5 || g.kw == 7) && g.dilation_w == 1 && g.stride_w == 2;
  const bool pairs = !rolling && g.m > 1 && g.stride_h == 1 && g.kh % V::kGroup != 0 && !window.turned &&
                     window.kw * window.groups <= kBelow && !(three && (V::kThreeByThree == 1 || g.stride_w == 2));
  if (pairs)
    for (int64_t i = 0; i < window.kw * window.groups; ++i)
      for (int q = 0; q < 4; ++q) {
        const char* at = w + i * 4 * kNr + q * kNr;
        below[i][q] = V::template shift_left<kBits>(V::load(at));
        if (i % window.groups) below[i][q] = V::bitor_(below[i][q], V::template shift_right<32 - kBits>(V::load(at - 4 * kNr)));
      }
  for (int64_t row = 0, rows; row < g.m; row += rows) {
    const void* const* in = g.rows + row * g.stride_h;
    rows = pairs && row + 2 <= g.m ? 2 : 1;
    if (three || rolling) {
      const auto run = [&]<Outputs kOutputs>() {
        constexpr int R = V::kThreeByThree;  // 2 x 2 or (never) 1 x 1
        const auto pixels = [&]<int X>(int64_t x) {
          return rows == 2         ? three_by_three<V, kNr, R, X, 1, kOutputs, kTail, kFlip>(g, weights, k, row, x)
                 : g.stride_w == 1 ? three_by_three<V, kNr, 1, X, 1, kOutputs, kTail, kFlip>(g, weights, k, row, x)
                                   : three_by_three<V, kNr, 1, X, 2, kOutputs, kTail, kFlip>(g, weights, k, row, x);
        };
        if constexpr (R > 0) {
          const int64_t done = three ? pixels.template operator()<R>(0) : g.n;
          if (done < g.n) pixels.template operator()<1>(done);
          if (three) return;
        }
        if constexpr (R > 1)
          g.kw == 5 ? rolling_sums<V, kNr, 5, kOutputs, kTail, kFlip>(g, weights, k, row)
                    : rolling_sums<V, kNr, 7, kOutputs, kTail, kFlip>(g, weights, k, row);
      };
      outputs == Outputs::plain_bytes ? run.template operator()<Outputs::plain_bytes>()
      : outputs == Outputs::bytes     ? run.template operator()<Outputs::bytes>()
                                      : run.template operator()<Outputs::words>();
      continue;
    }
    for (int64_t x = 0; x < g.n; x += at_once) {
      const int64_t pixels = g.n - x < at_once ? g.n - x : at_once;
      for (int i = 0; i < window.groups; ++i)
        interleave_group<V, kTail, kFlip>(g, window, in, g.kh - 1 + int(rows) - 1, end, k, i, x * g.stride_w,
                                          window.columns(pixels, g.stride_w), strip + 4 * i, 4 * window.groups);
      rows == 2 ? tiles<V, kNr, 2, kTail>(g, window, weights, k, strip, row, x, pixels)
                : tiles<V, kNr, 1, kTail>(g, window, weights, k, strip, row, x, pixels);
    }
  }
}
