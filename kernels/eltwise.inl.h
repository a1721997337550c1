// Elementwise and row-wise routines (include/octavo/eltwise.h) on the vocabulary V of eltwise_math.inl.h, to which this adds
//   All, First: which lanes of a vector a memory access touches; V::first(n) = the first n, 0 < n < N
//   load(p, lanes), load(p, lanes, fill), store(p, v, lanes)           floats
//   load_u8(p, lanes), store_u8(p, i, lanes), load_s32(p, lanes)       bytes (0..255) and int32, as int32 lanes
//   nan_to_zero(v)
//   V::Bytes: a whole register of bytes with N, First, load, store, max (unsigned), max_s8, flip (xor), lookup(table, index)
//   kGroup: how many vectors of floats a register of bytes becomes; Widen, Narrow, Words: the ways there and back
//   (eltwise_quantized.inl.h, eltwise_pool.inl.h); Zip: registers as 16-byte lanes (eltwise_transpose.inl.h)
#include "kernels/eltwise_math.inl.h"
#include "kernels/eltwise_loops.inl.h"
#include "kernels/eltwise_quantized.inl.h"
#include "kernels/eltwise_rows.inl.h"
#include "kernels/eltwise_pool.inl.h"
#include "kernels/eltwise_transpose.inl.h"

template <class V>
void unary(Unary op, const float* x, float* y, size_t n, float alpha, float beta) {
  using F = typename V::F;
  const F zero(0.0f), one(1.0f), al(alpha), be(beta);
  switch (op) {
    case Unary::abs:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return V::abs(v); });
    case Unary::neg:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return F(-0.0f) - v; });
    case Unary::exp:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return exp<decltype(u)>(v); });
    case Unary::log:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return log<decltype(u)>(v); });
    case Unary::sqrt:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return V::sqrt(v); });
    case Unary::reciprocal:
      return map<V>(x, y, n, [=](F v) OCTAVO_LAMBDA { return one / v; });
    case Unary::floor:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return V::floor(v); });
    case Unary::ceil:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return V::ceil(v); });
    case Unary::round:
      return map<V>(x, y, n, [](F v) OCTAVO_LAMBDA { return V::rint(v); });
    case Unary::relu:
      return map<V>(x, y, n, [=](F v) OCTAVO_LAMBDA { return V::max(zero, v); });
    case Unary::leaky_relu:
      return map<V>(x, y, n, [=](F v) OCTAVO_LAMBDA { return V::select(V::lt(v, zero), al * v, v); });
    case Unary::elu:
      return map_long<V>(x, y, n, [=](auto u, auto v) OCTAVO_LAMBDA {
        using U = decltype(u);
        using G = typename U::F;
        return U::select(U::lt(v, G(0.0f)), G(alpha) * expm1<U>(U::min(G(0.0f), U::max(G(-30.0f), v))), v);
      });
    case Unary::sigmoid:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return sigmoid<decltype(u)>(v); });
    case Unary::tanh:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return tanh<decltype(u)>(v); });
    case Unary::erf:
      return map_long<V, Twice<Sixteen<V>>>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return erf<decltype(u)>(v); });
    case Unary::gelu:
      return map_long<V, Twice<Sixteen<V>>>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return gelu<decltype(u)>(v); });
    case Unary::gelu_tanh:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return gelu_tanh<decltype(u)>(v); });
    case Unary::silu:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return silu<decltype(u)>(v); });
    case Unary::hardsigmoid:
      return map<V>(x, y, n, [=](F v) OCTAVO_LAMBDA { return V::min(one, V::max(zero, V::fma(al, v, be))); });
    case Unary::hardswish:
      return map<V>(x, y, n, [=](F v) OCTAVO_LAMBDA { return v * V::min(one, V::max(zero, V::fma(v, F(1.0f / 6), F(0.5f)))); });
    case Unary::softplus:
      return map_long<V>(x, y, n, [](auto u, auto v) OCTAVO_LAMBDA { return softplus<decltype(u)>(v); });
  }
}

template <class V>
void clamp(const float* x, float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  map<V>(x, y, n, [l = F(lo), h = F(hi)](F v) OCTAVO_LAMBDA { return V::min(h, V::max(l, v)); });
}

// An operand of binary(): a tensor, or one value for all.
template <class V>
struct Each {
  const float* p;
  template <class L>
  OCTAVO_INLINE typename V::F load(size_t i, L lanes) const {
    return V::load(p + i, lanes);
  }
};
template <class V>
struct Same {
  typename V::F v;
  template <class L>
  OCTAVO_INLINE typename V::F load(size_t, L) const {
    return v;
  }
};

template <class V, class A, class B>
void binary(Binary op, const A& a, const B& b, float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  constexpr float inf = __builtin_huge_valf();
  const F l(lo), h(hi);
  const auto run = [=](auto fn) {
    if (lo == -inf && hi == inf)
      return for_each<V, 4>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA { V::store(y + i, fn(a.load(i, lanes), b.load(i, lanes)), lanes); });
    for_each<V, 4>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
      V::store(y + i, V::min(h, V::max(l, fn(a.load(i, lanes), b.load(i, lanes)))), lanes);
    });
  };
  switch (op) {
    case Binary::add:
      return run([](F u, F v) OCTAVO_LAMBDA { return u + v; });
    case Binary::sub:
      return run([](F u, F v) OCTAVO_LAMBDA { return u - v; });
    case Binary::mul:
      return run([](F u, F v) OCTAVO_LAMBDA { return u * v; });
    case Binary::div:
      return run([](F u, F v) OCTAVO_LAMBDA { return u / v; });
    case Binary::max:
      return run([](F u, F v) OCTAVO_LAMBDA { return V::select(V::is_nan(u), u, V::max(u, v)); });
    case Binary::min:
      return run([](F u, F v) OCTAVO_LAMBDA { return V::select(V::is_nan(u), u, V::min(u, v)); });
    case Binary::pow:
      for_each<V>(n, [=](size_t i, auto lanes) {
        float x[V::N], e[V::N];
        V::store(x, a.load(i, lanes), typename V::All{});
        V::store(e, b.load(i, lanes), typename V::All{});
        for (int k = 0; k < V::N; ++k) x[k] = pow_of(x[k], e[k]);
        V::store(y + i, V::min(h, V::max(l, V::load(x, typename V::All{}))), lanes);
      });
  }
}

template <class V>
void binary(Binary op, const float* a, int a_step, const float* b, int b_step, float* y, size_t n, float lo, float hi) {
  using F = typename V::F;
  if (op == Binary::pow && b_step == 0 && *b == 2) return binary<V>(Binary::mul, a, a_step, a, a_step, y, n, lo, hi);
  if (a_step && b_step) return binary<V>(op, Each<V>{a}, Each<V>{b}, y, n, lo, hi);
  if (a_step) return binary<V>(op, Each<V>{a}, Same<V>{F(*b)}, y, n, lo, hi);
  if (b_step) return binary<V>(op, Same<V>{F(*a)}, Each<V>{b}, y, n, lo, hi);
  binary<V>(op, Same<V>{F(*a)}, Same<V>{F(*b)}, y, n, lo, hi);
}

template <class V>
void scale_shift(const float* x, const float* scale, const float* bias, float* y, size_t n) {
  for_each<V, 2>(n, [=](size_t i, auto lanes) OCTAVO_LAMBDA {
    V::store(y + i, V::fma(V::load(x + i, lanes), V::load(scale + i, lanes), V::load(bias + i, lanes)), lanes);
  });
}

template <class V>
constexpr EltwiseKernels eltwise_table(const char* name, Isa needs) {
  return {name,           needs,      quantize<V>,   dequantize<V>,      requantize<V>, add_quantized<V>, mul_quantized<V>,
          scale_shift_quantized<V>, lut<V>, min_max<V>, unary<V>, clamp<V>, binary<V>, scale_shift<V>, sum<V>,
          sum_squares<V>, add_products<V>, softmax<V>, layer_norm<V>, rms_norm<V>,        dequantize_sums<V>, max_taps<V>, avg_taps_f32<V>,
          avg_taps_quantized<V>, transpose<V>};
}
