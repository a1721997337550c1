// Routines from, to and between bytes. s8 is handled as u8 with its top bit flipped and a zero point 128 higher: one loop for both.
// Whole registers of bytes come first: they become V::kGroup vectors of floats, in whatever order the instruction set gives them,
// and go back the same way. The tail goes by vectors of floats.

constexpr float kByteMost = 512;  // more than a byte without its zero point
inline int32_t flip_of(DType t) { return t == DType::s8 ? 0x80 : 0; }

template <class V>
struct Group {
  typename V::F v[V::kGroup];
};

// A quantized tensor as floats with the zero point taken off.
template <class V>
struct QSource {
  const uint8_t* data;
  typename V::I flip, zp;
  typename V::Widen widen;
  QSource(const void* p, DType t, int32_t zero_point)
      : data(static_cast<const uint8_t*>(p)), flip(flip_of(t)), zp(zero_point + flip_of(t)),
        widen(zero_point + flip_of(t), uint8_t(flip_of(t))) {}
  template <class L>
  OCTAVO_INLINE typename V::F load(size_t i, L lanes) const {
    return V::to_float((V::load_u8(data + i, lanes) ^ flip) - zp);
  }
  OCTAVO_INLINE Group<V> group(size_t i) const {
    Group<V> g;
    widen(V::Bytes::load(data + i, typename V::Bytes::All{}), g.v);
    return g;
  }
};

// kNear: all that is stored is so small (V::Narrow::kNear) that it converts as it is.
template <class V, bool kNear = false>
struct QSink {
  uint8_t* data;
  typename V::I flip, zp;
  typename V::F lo, hi;
  typename V::Narrow narrow;
  explicit QSink(const QResult& r)
      : data(static_cast<uint8_t*>(r.data)), flip(flip_of(r.dtype)), zp(r.zp + flip_of(r.dtype)), lo(r.lo), hi(r.hi),
        narrow(r.zp + flip_of(r.dtype), bound(r.lo, r.zp, r.dtype), bound(r.hi, r.zp, r.dtype), uint8_t(flip_of(r.dtype))) {}
  // To round and then to clamp to rounded bounds is to clamp and then to round.
  static uint8_t bound(float v, int32_t zero, DType t) {
    const float q = __builtin_rintf(v < -1000 ? -1000 : v > 1000 ? 1000 : v) + float(zero + flip_of(t));
    return uint8_t(q < 0 ? 0 : q > 255 ? 255 : q);
  }
  template <class L>
  OCTAVO_INLINE void store(size_t i, typename V::F v, L lanes) const {
    V::store_u8(data + i, (V::to_int(V::min(V::max(v, lo), hi)) + zp) ^ flip, lanes);
  }
  OCTAVO_INLINE auto bytes(const Group<V>& g) const {
    typename V::I q[V::kGroup];
    OCTAVO_UNROLL
    for (int k = 0; k < V::kGroup; ++k) q[k] = kNear ? V::to_int(g.v[k]) : V::Narrow::round(g.v[k], lo, hi);
    return narrow(q);
  }
  OCTAVO_INLINE void group(size_t i, const Group<V>& g) const {
    V::Bytes::store(data + i, bytes(g), typename V::Bytes::All{});
  }
  // The same for floats in the order of memory.
  OCTAVO_INLINE void ordered(size_t i, const Group<V>& g) const {
    V::Bytes::store(data + i, V::Narrow::in_order(bytes(g)), typename V::Bytes::All{});
  }
};

// out = fn(in...) from bytes to bytes.
template <class V, class Sink, class Fn, class... In>
OCTAVO_INLINE void map_bytes_to(const Sink& out, size_t n, Fn fn, const In&... in) {
  constexpr size_t kBytes = V::Bytes::N;
  size_t i = 0;
  if constexpr (V::N > 1) {
    for (; i + kBytes <= n; i += kBytes) {
      Group<V> g;
      const auto each = [&](const auto&... from) OCTAVO_LAMBDA {
        OCTAVO_UNROLL
        for (int k = 0; k < V::kGroup; ++k) g.v[k] = fn(from.v[k]...);
      };
      each(in.group(i)...);
      out.group(i, g);
    }
  }
  for_each<V>(n - i, [&](size_t j, auto lanes) OCTAVO_LAMBDA { out.store(i + j, fn(in.load(i + j, lanes)...), lanes); });
}

// most: what no result of fn exceeds.
template <class V, class Fn, class... In>
OCTAVO_INLINE void map_bytes(const QResult& r, float most, size_t n, Fn fn, const In&... in) {
  if constexpr (V::Narrow::kNear > 0) {
    if (most < V::Narrow::kNear) return map_bytes_to<V>(QSink<V, true>(r), n, fn, in...);
  }
  map_bytes_to<V>(QSink<V>(r), n, fn, in...);
}

template <class V, class Divide>
OCTAVO_INLINE void quantize_by(const QSink<V>& out, const float* x, size_t n, Divide divide) {
  constexpr size_t kBytes = V::Bytes::N;
  size_t i = 0;
  if constexpr (V::N > 1) {
    for (; i + kBytes <= n; i += kBytes) {
      Group<V> g;
      OCTAVO_UNROLL
      for (int k = 0; k < V::kGroup; ++k) g.v[k] = divide(V::load(x + i + k * V::N, typename V::All{}));
      out.ordered(i, g);
    }
  }
  for_each<V>(n - i, [&](size_t j, auto lanes) OCTAVO_LAMBDA { out.store(i + j, divide(V::load(x + i + j, lanes)), lanes); });
}

// One division for each element: it is the definition, and on Zen 3 and 4 (3 cycles for 8 floats) all else fits beside it. By a
// positive and finite scale a quotient is NaN where x is: less has to wait for the division.
template <class V>
void quantize(const float* x, void* q, DType t, size_t n, float scale, int32_t zp) {
  using F = typename V::F;
  const float qmin = t == DType::s8 ? -128.0f : 0.0f;
  const QSink<V> out({q, t, zp, qmin - float(zp), qmin + 255.0f - float(zp)});
  const F s(scale);
  if (scale > 0 && scale < __builtin_huge_valf())
    return quantize_by(out, x, n, [=](F v) OCTAVO_LAMBDA { return V::nan_to_zero(v) / s; });
  quantize_by(out, x, n, [=](F v) OCTAVO_LAMBDA { return V::nan_to_zero(v / s); });
}

template <class V>
void dequantize(const void* q, DType t, float* x, size_t n, float scale, int32_t zp) {
  using F = typename V::F;
  const F s(scale);
  if (t == DType::s32) {
    const int32_t* p = static_cast<const int32_t*>(q);
    const typename V::I zero(zp);
    for_each<V, 4>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
      V::store(x + i, V::to_float(V::load_s32(p + i, lanes) - zero) * s, lanes);
    });
    return;
  }
  const QSource<V> in(q, t, zp);
  size_t i = 0;
  if constexpr (V::N > 1) {
    for (; i + V::Bytes::N <= n; i += V::Bytes::N) {
      Group<V> g;
      in.widen.in_order(in.data + i, g.v);
      OCTAVO_UNROLL
      for (int k = 0; k < V::kGroup; ++k) V::store(x + i + size_t(k * V::N), g.v[k] * s, typename V::All{});
    }
  }
  for_each<V>(n - i, [&](size_t j, auto lanes) OCTAVO_LAMBDA { V::store(x + i + j, in.load(i + j, lanes) * s, lanes); });
}

template <class V>
void requantize(const QOperand& a, const QResult& r, size_t n) {
  using F = typename V::F;
  map_bytes<V>(r, kByteMost * __builtin_fabsf(a.m), n, [m = F(a.m)](F v) OCTAVO_LAMBDA { return v * m; },
               QSource<V>(a.data, a.dtype, a.zp));
}

template <class V>
void add_quantized(const QOperand& a, const QOperand& b, const QResult& r, size_t n) {
  using F = typename V::F;
  map_bytes<V>(r, kByteMost * (__builtin_fabsf(a.m) + __builtin_fabsf(b.m)), n,
               [ma = F(a.m), mb = F(b.m)](F u, F v) OCTAVO_LAMBDA { return V::fma(u, ma, v * mb); },
               QSource<V>(a.data, a.dtype, a.zp), QSource<V>(b.data, b.dtype, b.zp));
}

// |(a - za) * (b - zb)| < 2^17: the product of the floats is exact.
template <class V>
void mul_quantized(const QOperand& a, const QOperand& b, const QResult& r, size_t n) {
  using F = typename V::F;
  map_bytes<V>(r, kByteMost * kByteMost * __builtin_fabsf(a.m), n, [m = F(a.m)](F u, F v) OCTAVO_LAMBDA { return u * v * m; },
               QSource<V>(a.data, a.dtype, a.zp), QSource<V>(b.data, b.dtype, b.zp));
}

// Scales and shifts lie in the order of memory: so must the floats.
template <class V>
void scale_shift_quantized(const void* in, DType t, const float* scale, const float* bias, const QResult& r, size_t n) {
  const QSource<V> source(in, t, 0);
  const QSink<V> out(r);
  const auto map = [=](size_t i, typename V::F v, auto lanes) OCTAVO_LAMBDA { return V::fma(v, V::load(scale + i, lanes), V::load(bias + i, lanes)); };
  size_t i = 0;
  if constexpr (V::N > 1) {
    for (; i + V::Bytes::N <= n; i += V::Bytes::N) {
      Group<V> g;
      source.widen.in_order(source.data + i, g.v);
      OCTAVO_UNROLL
      for (int k = 0; k < V::kGroup; ++k) g.v[k] = map(i + size_t(k * V::N), g.v[k], typename V::All{});
      out.ordered(i, g);
    }
  }
  for_each<V>(n - i, [&](size_t j, auto lanes) OCTAVO_LAMBDA { out.store(i + j, map(i + j, source.load(i + j, lanes), lanes), lanes); });
}

template <class V>
void lut(const void* in, void* out, size_t n, const uint8_t* table) {
  using B = typename V::Bytes;
  const uint8_t* p = static_cast<const uint8_t*>(in);
  uint8_t* q = static_cast<uint8_t*>(out);
  for_each<B>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA { B::store(q + i, B::lookup(table, B::load(p + i, lanes)), lanes); });
}

template <class V>
void dequantize_sums(const int32_t* sums, const int32_t* offset, float row_scale, const float* w_scale, const float* bias,
                     float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  const F scale(row_scale), l(lo), h(hi);
  for_each<V, 2>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
    const F v = V::fma(V::to_float(V::load_s32(sums + i, lanes) - V::load_s32(offset + i, lanes)),
                       scale * V::load(w_scale + i, lanes), V::load(bias + i, lanes));
    V::store(y + i, V::min(V::max(v, l), h), lanes);
  });
}
