// The loops of the elementwise routines, and two vectors as one.
#include "kernels/unroll.inl.h"

// fn(i, lanes) for every vector of [0, n), kUnroll of them at a time; the tail runs the same code on fewer lanes.
template <class V, int kUnroll = 1, class Fn>
OCTAVO_INLINE void for_each(size_t n, Fn fn) {
  size_t i = 0;
  if constexpr (kUnroll > 1) {
    for (; i + kUnroll * V::N <= n; i += kUnroll * V::N) {
      OCTAVO_UNROLL
      for (int j = 0; j < kUnroll; ++j) fn(i + size_t(j * V::N), typename V::All{});
    }
  }
  for (; i + V::N <= n; i += V::N) fn(i, typename V::All{});
  if constexpr (V::N > 1) {
    if (i < n) fn(i, V::first(n - i));
  }
}

// A short function: what the loop itself costs counts.
template <class V, class Fn>
OCTAVO_INLINE void map(const float* x, float* y, size_t n, Fn fn) {
  for_each<V, 4>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA { V::store(y + i, fn(V::load(x + i, lanes)), lanes); });
}

// Two vectors as one of twice the lanes, without tails: a chain of dependent instructions has another beside it.
template <class V>
struct Twice {
  static constexpr int N = 2 * V::N;
  struct F {
    typename V::F a, b;
    F() = default;
    explicit F(float v) : a(v), b(a) {}
    F(typename V::F u, typename V::F v) : a(u), b(v) {}
    friend OCTAVO_INLINE F operator+(F x, F y) { return {x.a + y.a, x.b + y.b}; }
    friend OCTAVO_INLINE F operator-(F x, F y) { return {x.a - y.a, x.b - y.b}; }
    friend OCTAVO_INLINE F operator*(F x, F y) { return {x.a * y.a, x.b * y.b}; }
    friend OCTAVO_INLINE F operator/(F x, F y) { return {x.a / y.a, x.b / y.b}; }
  };
  struct I {
    typename V::I a, b;
    explicit I(int32_t v) : a(v), b(a) {}
    I(typename V::I u, typename V::I v) : a(u), b(v) {}
    friend OCTAVO_INLINE I operator+(I x, I y) { return {x.a + y.a, x.b + y.b}; }
    friend OCTAVO_INLINE I operator-(I x, I y) { return {x.a - y.a, x.b - y.b}; }
    friend OCTAVO_INLINE I operator<<(I x, int s) { return {x.a << s, x.b << s}; }
    friend OCTAVO_INLINE I operator>>(I x, int s) { return {x.a >> s, x.b >> s}; }
  };
  struct M {
    typename V::M a, b;
  };
  using All = typename V::All;
  static OCTAVO_INLINE F fma(F x, F y, F z) { return {V::fma(x.a, y.a, z.a), V::fma(x.b, y.b, z.b)}; }
  static OCTAVO_INLINE F min(F x, F y) { return {V::min(x.a, y.a), V::min(x.b, y.b)}; }
  static OCTAVO_INLINE F max(F x, F y) { return {V::max(x.a, y.a), V::max(x.b, y.b)}; }
  static OCTAVO_INLINE F abs(F x) { return {V::abs(x.a), V::abs(x.b)}; }
  static OCTAVO_INLINE F copysign(F x, F s) { return {V::copysign(x.a, s.a), V::copysign(x.b, s.b)}; }
  static OCTAVO_INLINE M lt(F x, F y) { return {V::lt(x.a, y.a), V::lt(x.b, y.b)}; }
  static OCTAVO_INLINE M is_nan(F x) { return {V::is_nan(x.a), V::is_nan(x.b)}; }
  static OCTAVO_INLINE F select(M m, F x, F y) { return {V::select(m.a, x.a, y.a), V::select(m.b, x.b, y.b)}; }
  static OCTAVO_INLINE I bits(F x) { return {V::bits(x.a), V::bits(x.b)}; }
  static OCTAVO_INLINE F from_bits(I i) { return {V::from_bits(i.a), V::from_bits(i.b)}; }
  static OCTAVO_INLINE F to_float(I i) { return {V::to_float(i.a), V::to_float(i.b)}; }
  static OCTAVO_INLINE F load(const float* p, All all) { return {V::load(p, all), V::load(p + V::N, all)}; }
  static void store(float* p, F v, All all) { V::store(p, v.a, all), V::store(p + V::N, v.b, all); }
};


// 16 lanes as one vector, where a register has 8.
template <class V, int N>
struct SixteenOf {
  using W = V;
};
template <class V>
struct SixteenOf<V, 8> {
  using W = Twice<V>;
};
template <class V>
using Sixteen = typename SixteenOf<V, V::N>::W;

// A long function, written for any vocabulary: fn(U{}, x) with U = V or W, four of them. What an out-of-order core looks ahead is
// about one such function: it takes four chains side by side to fill two multipliers. Two are enough, and need no more registers
// than there are, where they are as wide as those of AVX-512 and the function has two chains: Twice<Sixteen<V>>.
template <class V, class W = Twice<Twice<V>>, class Fn>
OCTAVO_INLINE void map_long(const float* x, float* y, size_t n, Fn fn) {
  size_t i = 0;
  if constexpr (V::N > 1) {
    for (; i + W::N <= n; i += W::N) W::store(y + i, fn(W{}, W::load(x + i, typename W::All{})), typename W::All{});
  }
  for_each<V>(n - i, [=](size_t j, auto lanes) OCTAVO_LAMBDA {
    V::store(y + i + j, fn(V{}, V::load(x + i + j, lanes)), lanes);
  });
}
