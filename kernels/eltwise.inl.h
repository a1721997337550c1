// Elementwise and row-wise routines (include/octavo/eltwise.h) on the vocabulary V of eltwise_math.inl.h, to which this adds
//   All, First: which lanes of a vector a memory access touches; V::first(n) = the first n, 0 < n < N
//   load(p, lanes), load(p, lanes, fill), store(p, v, lanes)           floats
//   load_u8(p, lanes), store_u8(p, i, lanes), load_s32(p, lanes)       bytes (0..255) and int32, as int32 lanes
//   V::Bytes: a whole register of bytes with N, First, load, store, max (unsigned), flip (xor), lookup(table, index)
// s8 is handled as u8 with its top bit flipped and a zero point 128 higher: one loop for both types.
#include "kernels/eltwise_math.inl.h"

// fn(i, lanes) for every vector of [0, n): the tail runs the same code as the body, on fewer lanes.
template <class V, class Fn>
inline void for_each(size_t n, Fn fn) {
  size_t i = 0;
  for (; i + V::N <= n; i += V::N) fn(i, typename V::All{});
  if constexpr (V::N > 1) {
    if (i < n) fn(i, V::first(n - i));
  }
}

template <class V, class Fn>
inline void map(const float* x, float* y, size_t n, Fn fn) {
  for_each<V>(n, [=](size_t i, auto lanes) { V::store(y + i, fn(V::load(x + i, lanes)), lanes); });
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
  template <class Op>
  float fold(Op op) const {
    float lane[16];
    for (int j = 0; j < kCount; ++j) V::store(lane + j * V::N, acc[j], typename V::All{});
    for (int w = 8; w >= 1; w /= 2)
      for (int l = 0; l < w; ++l) lane[l] = op(lane[l], lane[l + w]);
    return lane[0];
  }
};

inline int32_t flip_of(DType t) { return t == DType::s8 ? 0x80 : 0; }

// A quantized tensor as floats or int32 with the zero point taken off.
template <class V>
struct QSource {
  const uint8_t* data;
  typename V::I flip, zp;
  QSource(const void* p, DType t, int32_t zero_point)
      : data(static_cast<const uint8_t*>(p)), flip(flip_of(t)), zp(zero_point + flip_of(t)) {}
  template <class L>
  typename V::I load(size_t i, L lanes) const {
    return (V::load_u8(data + i, lanes) ^ flip) - zp;
  }
};

template <class V>
struct QSink {
  uint8_t* data;
  typename V::I flip, zp;
  typename V::F lo, hi;
  explicit QSink(const QResult& r)
      : data(static_cast<uint8_t*>(r.data)), flip(flip_of(r.dtype)), zp(r.zp + flip_of(r.dtype)), lo(r.lo), hi(r.hi) {}
  template <class L>
  void store(size_t i, typename V::F v, L lanes) const {
    V::store_u8(data + i, (V::to_int(V::min(V::max(v, lo), hi)) + zp) ^ flip, lanes);
  }
};

template <class V>
void quantize(const float* x, void* q, DType t, size_t n, float scale, int32_t zp) {
  using F = typename V::F;
  const float qmin = t == DType::s8 ? -128.0f : 0.0f;
  const QSink<V> out({q, t, zp, qmin - float(zp), qmin + 255.0f - float(zp)});
  for_each<V>(n, [=](size_t i, auto lanes) {
    const F v = V::load(x + i, lanes) / F(scale);
    out.store(i, V::select(V::is_nan(v), F(0.0f), v), lanes);
  });
}

template <class V>
void dequantize(const void* q, DType t, float* x, size_t n, float scale, int32_t zp) {
  using F = typename V::F;
  if (t == DType::s32) {
    const int32_t* p = static_cast<const int32_t*>(q);
    for_each<V>(n, [=](size_t i, auto lanes) {
      V::store(x + i, V::to_float(V::load_s32(p + i, lanes) - typename V::I(zp)) * F(scale), lanes);
    });
    return;
  }
  const QSource<V> in(q, t, zp);
  for_each<V>(n, [=](size_t i, auto lanes) { V::store(x + i, V::to_float(in.load(i, lanes)) * F(scale), lanes); });
}

template <class V>
void requantize(const QOperand& a, const QResult& r, size_t n) {
  const QSource<V> in(a.data, a.dtype, a.zp);
  const QSink<V> out(r);
  const typename V::F m(a.m);
  for_each<V>(n, [=](size_t i, auto lanes) { out.store(i, V::to_float(in.load(i, lanes)) * m, lanes); });
}

template <class V>
void add_quantized(const QOperand& a, const QOperand& b, const QResult& r, size_t n) {
  const QSource<V> in_a(a.data, a.dtype, a.zp), in_b(b.data, b.dtype, b.zp);
  const QSink<V> out(r);
  const typename V::F ma(a.m), mb(b.m);
  for_each<V>(n, [=](size_t i, auto lanes) {
    out.store(i, V::fma(V::to_float(in_a.load(i, lanes)), ma, V::to_float(in_b.load(i, lanes)) * mb), lanes);
  });
}

template <class V>
void mul_quantized(const QOperand& a, const QOperand& b, const QResult& r, size_t n) {
  const QSource<V> in_a(a.data, a.dtype, a.zp), in_b(b.data, b.dtype, b.zp);
  const QSink<V> out(r);
  const typename V::F m(a.m);
  for_each<V>(n, [=](size_t i, auto lanes) {
    // |(a - za) * (b - zb)| < 2^17: the product of the floats is exact.
    out.store(i, V::to_float(in_a.load(i, lanes)) * V::to_float(in_b.load(i, lanes)) * m, lanes);
  });
}

template <class V>
void lut(const void* in, void* out, size_t n, const uint8_t* table) {
  using B = typename V::Bytes;
  const uint8_t* p = static_cast<const uint8_t*>(in);
  uint8_t* q = static_cast<uint8_t*>(out);
  for_each<B>(n, [=](size_t i, auto lanes) { B::store(q + i, B::lookup(table, B::load(p + i, lanes)), lanes); });
}

template <class V>
void min_max(const float* x, size_t n, float* lo, float* hi) {
  using F = typename V::F;
  constexpr float inf = __builtin_huge_valf();
  // min(x, acc) gives acc where x is NaN.
  Lanes16<V> least(inf), largest(-inf);
  least.run(x, n, inf, [](F acc, F v) { return V::min(v, acc); });
  largest.run(x, n, -inf, [](F acc, F v) { return V::max(v, acc); });
  *lo = least.fold([](float a, float b) { return a < b ? a : b; });
  *hi = largest.fold([](float a, float b) { return a > b ? a : b; });
}

template <class V>
void unary(Unary op, const float* x, float* y, size_t n, float alpha, float beta) {
  using F = typename V::F;
  const F zero(0.0f), one(1.0f), al(alpha), be(beta);
  switch (op) {
    case Unary::abs:
      return map<V>(x, y, n, [](F v) { return V::abs(v); });
    case Unary::neg:
      return map<V>(x, y, n, [](F v) { return F(-0.0f) - v; });
    case Unary::exp:
      return map<V>(x, y, n, [](F v) { return exp<V>(v); });
    case Unary::log:
      return map<V>(x, y, n, [](F v) { return log<V>(v); });
    case Unary::sqrt:
      return map<V>(x, y, n, [](F v) { return V::sqrt(v); });
    case Unary::reciprocal:
      return map<V>(x, y, n, [=](F v) { return one / v; });
    case Unary::floor:
      return map<V>(x, y, n, [](F v) { return V::floor(v); });
    case Unary::ceil:
      return map<V>(x, y, n, [](F v) { return V::ceil(v); });
    case Unary::round:
      return map<V>(x, y, n, [](F v) { return V::rint(v); });
    case Unary::relu:
      return map<V>(x, y, n, [=](F v) { return V::max(zero, v); });
    case Unary::leaky_relu:
      return map<V>(x, y, n, [=](F v) { return V::select(V::lt(v, zero), al * v, v); });
    case Unary::elu:
      return map<V>(x, y, n, [=](F v) { return V::select(V::lt(v, zero), al * expm1<V>(v), v); });
    case Unary::sigmoid:
      return map<V>(x, y, n, [](F v) { return sigmoid<V>(v); });
    case Unary::tanh:
      return map<V>(x, y, n, [](F v) { return tanh<V>(v); });
    case Unary::erf:
      return map<V>(x, y, n, [](F v) { return erf<V>(v); });
    case Unary::gelu:
      return map<V>(x, y, n, [](F v) { return gelu<V>(v); });
    case Unary::gelu_tanh:
      return map<V>(x, y, n, [](F v) { return gelu_tanh<V>(v); });
    case Unary::silu:
      return map<V>(x, y, n, [](F v) { return silu<V>(v); });
    case Unary::hardsigmoid:
      return map<V>(x, y, n, [=](F v) { return V::min(one, V::max(zero, V::fma(al, v, be))); });
    case Unary::hardswish:
      return map<V>(x, y, n, [=](F v) { return v * V::min(one, V::max(zero, V::fma(v, F(1.0f / 6), F(0.5f)))); });
    case Unary::softplus:
      return map<V>(x, y, n, [](F v) { return softplus<V>(v); });
  }
}

template <class V>
void clamp(const float* x, float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  map<V>(x, y, n, [l = F(lo), h = F(hi)](F v) { return V::min(h, V::max(l, v)); });
}

template <class V>
void binary(Binary op, const float* a, int a_step, const float* b, int b_step, float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  // A single value becomes a vector of it that the loop reads over and over.
  float fill_a[V::N], fill_b[V::N];
  if (a_step == 0) V::store(fill_a, F(*a), typename V::All{}), a = fill_a;
  if (b_step == 0) V::store(fill_b, F(*b), typename V::All{}), b = fill_b;
  const size_t sa = size_t(a_step), sb = size_t(b_step);
  const F l(lo), h(hi);
  const auto run = [=](auto fn) {
    for_each<V>(n, [=](size_t i, auto lanes) {
      const F v = fn(V::load(a + i * sa, lanes), V::load(b + i * sb, lanes));
      V::store(y + i, V::min(h, V::max(l, v)), lanes);
    });
  };
  switch (op) {
    case Binary::add:
      return run([](F u, F v) { return u + v; });
    case Binary::sub:
      return run([](F u, F v) { return u - v; });
    case Binary::mul:
      return run([](F u, F v) { return u * v; });
    case Binary::div:
      return run([](F u, F v) { return u / v; });
    case Binary::max:
      return run([](F u, F v) { return V::select(V::is_nan(u), u, V::max(u, v)); });
    case Binary::min:
      return run([](F u, F v) { return V::select(V::is_nan(u), u, V::min(u, v)); });
    case Binary::pow:
      if (b_step == 0 && *b == 2) return run([](F u, F) { return u * u; });
      return run([](F u, F v) {
        float x[V::N], e[V::N];
        V::store(x, u, typename V::All{});
        V::store(e, v, typename V::All{});
        for (int k = 0; k < V::N; ++k) x[k] = pow_of(x[k], e[k]);
        return V::load(x, typename V::All{});
      });
  }
}

template <class V>
void scale_shift(const float* x, const float* scale, const float* bias, float* y, size_t n) {
  for_each<V>(n, [=](size_t i, auto lanes) {
    V::store(y + i, V::fma(V::load(x + i, lanes), V::load(scale + i, lanes), V::load(bias + i, lanes)), lanes);
  });
}

inline float plus(float a, float b) { return a + b; }

template <class V>
float sum(const float* x, size_t n) {
  using F = typename V::F;
  Lanes16<V> s(0);
  s.run(x, n, 0, [](F acc, F v) { return acc + v; });
  return s.fold(plus);
}

template <class V>
float sum_squares(const float* x, size_t n, float mean) {
  using F = typename V::F;
  Lanes16<V> s(0);
  s.run(x, n, mean, [m = F(mean)](F acc, F v) { return V::fma(v - m, v - m, acc); });
  return s.fold(plus);
}

template <class V>
void softmax(const float* x, float* y, size_t n) {
  using F = typename V::F;
  float lo, hi;
  min_max<V>(x, n, &lo, &hi);
  map<V>(x, y, n, [m = F(hi)](F v) { return exp<V>(v - m); });
  map<V>(y, y, n, [s = F(sum<V>(y, n))](F v) { return v / s; });
}

template <class V>
void layer_norm(const float* x, const float* gamma, const float* beta, float* y, size_t n, float eps) {
  using F = typename V::F;
  const float mean = sum<V>(x, n) / float(n);
  const float inv = 1.0f / __builtin_sqrtf(sum_squares<V>(x, n, mean) / float(n) + eps);
  for_each<V>(n, [=](size_t i, auto lanes) {
    F v = (V::load(x + i, lanes) - F(mean)) * F(inv);
    if (gamma) v = v * V::load(gamma + i, lanes);
    if (beta) v = v + V::load(beta + i, lanes);
    V::store(y + i, v, lanes);
  });
}

template <class V>
void dequantize_sums(const int32_t* sums, const int32_t* offset, float row_scale, const float* w_scale, const float* bias,
                     float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  for_each<V>(n, [=](size_t i, auto lanes) {
    const F v = V::fma(V::to_float(V::load_s32(sums + i, lanes) - V::load_s32(offset + i, lanes)),
                       F(row_scale) * V::load(w_scale + i, lanes), V::load(bias + i, lanes));
    V::store(y + i, V::min(V::max(v, F(lo)), F(hi)), lanes);
  });
}

template <class V>
void max_taps(const void* const* in, size_t taps, void* out, DType t, size_t channels) {
  if (t == DType::f32) {
    const float* const* p = reinterpret_cast<const float* const*>(in);
    for_each<V>(channels, [=](size_t i, auto lanes) {
      typename V::F m = V::load(p[0] + i, lanes);
      for (size_t k = 1; k < taps; ++k) m = V::max(m, V::load(p[k] + i, lanes));
      V::store(static_cast<float*>(out) + i, m, lanes);
    });
    return;
  }
  using B = typename V::Bytes;
  const uint8_t* const* p = reinterpret_cast<const uint8_t* const*>(in);
  const uint8_t flip = uint8_t(flip_of(t));
  for_each<B>(channels, [=](size_t i, auto lanes) {
    auto m = B::flip(B::load(p[0] + i, lanes), flip);
    for (size_t k = 1; k < taps; ++k) m = B::max(m, B::flip(B::load(p[k] + i, lanes), flip));
    B::store(static_cast<uint8_t*>(out) + i, B::flip(m, flip), lanes);
  });
}

template <class V>
void avg_taps_f32(const float* const* in, size_t taps, float* out, size_t channels, float divisor) {
  using F = typename V::F;
  for_each<V>(channels, [=](size_t i, auto lanes) {
    F s = V::load(in[0] + i, lanes);
    for (size_t k = 1; k < taps; ++k) s = s + V::load(in[k] + i, lanes);
    V::store(out + i, s / F(divisor), lanes);
  });
}

template <class V>
void avg_taps_quantized(const void* const* in, size_t taps, DType t, int32_t zp, float m, const QResult& r, size_t channels) {
  using I = typename V::I;
  const uint8_t* const* p = reinterpret_cast<const uint8_t* const*>(in);
  const QSink<V> out(r);
  const I flip(flip_of(t)), zps(int32_t(uint32_t(taps) * uint32_t(zp + flip_of(t))));
  const typename V::F mul(m);
  for_each<V>(channels, [=](size_t i, auto lanes) {
    I s(0);
    for (size_t k = 0; k < taps; ++k) s = s + (V::load_u8(p[k] + i, lanes) ^ flip);
    out.store(i, V::to_float(s - zps) * mul, lanes);
  });
}

// 16 bytes by the compilers' own vectors: rows of a small square, which is transposed by interleaving its halves.
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint32_t Words4 __attribute__((vector_size(16)));
inline Bytes16 zip_low(Bytes16 a, Bytes16 b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Bytes16 zip_high(Bytes16 a, Bytes16 b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
inline Words4 zip_low(Words4 a, Words4 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline Words4 zip_high(Words4 a, Words4 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
template <class T>
struct Row16;
template <>
struct Row16<uint8_t> {
  using V = Bytes16;
};
template <>
struct Row16<uint32_t> {
  using V = Words4;
};
template <class T>
inline void transpose_square(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride) {
  constexpr int N = 16 / int(sizeof(T));
  typename Row16<T>::V v[N], w[N];
  for (int i = 0; i < N; ++i) std::memcpy(&v[i], in + i * in_stride, 16);
  for (int round = 1; round < N; round *= 2) {
    for (int i = 0; i < N / 2; ++i) {
      w[2 * i] = zip_low(v[i], v[i + N / 2]);
      w[2 * i + 1] = zip_high(v[i], v[i + N / 2]);
    }
    for (int i = 0; i < N; ++i) v[i] = w[i];
  }
  for (int i = 0; i < N; ++i) std::memcpy(out + i * out_stride, &v[i], 16);
}

// Tiles of 16 x 16 keep both the rows that are read and the rows that are written in the nearest cache.
template <class T>
void transpose_tiles(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  constexpr size_t kTile = 16, kSquare = 16 / sizeof(T);
  for (size_t i0 = 0; i0 < rows; i0 += kTile) {
    const size_t i1 = i0 + kTile < rows ? i0 + kTile : rows;
    for (size_t j0 = 0; j0 < cols; j0 += kTile) {
      const size_t j1 = j0 + kTile < cols ? j0 + kTile : cols;
      const bool whole = i1 - i0 == kTile && j1 - j0 == kTile;
      for (size_t j = j0; j < j1; j += whole ? kSquare : 1)
        for (size_t i = i0; i < i1; i += whole ? kSquare : 1) {
          const T* from = in + ptrdiff_t(i) * in_stride + ptrdiff_t(j);
          T* to = out + ptrdiff_t(j) * out_stride + ptrdiff_t(i);
          whole ? transpose_square(from, in_stride, to, out_stride) : void(*to = *from);
        }
    }
  }
}
// A few dense rows become a dense matrix of as many columns: an image [c][h*w] and its pixels. With the number of rows known the
// compiler interleaves whole vectors.
template <size_t kRows, class T>
void interleave(const T* in, ptrdiff_t in_stride, T* out, size_t cols) {
  for (size_t j = 0; j < cols; ++j)
    for (size_t i = 0; i < kRows; ++i) out[j * kRows + i] = in[ptrdiff_t(i) * in_stride + ptrdiff_t(j)];
}
template <class T>
void transpose(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  if (rows == 2 && out_stride == 2) return interleave<2>(in, in_stride, out, cols);
  if (rows == 3 && out_stride == 3) return interleave<3>(in, in_stride, out, cols);
  if (rows == 4 && out_stride == 4) return interleave<4>(in, in_stride, out, cols);
  transpose_tiles(in, in_stride, out, out_stride, rows, cols);
}
inline void transpose(const void* in, ptrdiff_t in_stride, void* out, ptrdiff_t out_stride, size_t rows, size_t cols,
                      size_t bytes) {
  if (bytes == 1) {
    transpose(static_cast<const uint8_t*>(in), in_stride, static_cast<uint8_t*>(out), out_stride, rows, cols);
  } else {
    transpose(static_cast<const uint32_t*>(in), in_stride, static_cast<uint32_t*>(out), out_stride, rows, cols);
  }
}

template <class V>
constexpr EltwiseKernels eltwise_table(const char* name, Isa needs) {
  return {name,           needs,      quantize<V>,   dequantize<V>,      requantize<V>, add_quantized<V>, mul_quantized<V>,
          lut<V>,         min_max<V>, unary<V>,      clamp<V>,           binary<V>,     scale_shift<V>,   sum<V>,
          sum_squares<V>, softmax<V>, layer_norm<V>, dequantize_sums<V>, max_taps<V>,   avg_taps_f32<V>,  avg_taps_quantized<V>,
          transpose};
}
