// The part of the elementwise vocabulary (kernels/eltwise_math.inl.h) that xsimd gives, for one xsimd architecture.
// All but fma: xsimd 8.1 multiplies and adds on AVX-512.
template <class Arch>
struct XsimdVec {
  using F = xsimd::batch<float, Arch>;
  using I = xsimd::batch<int32_t, Arch>;
  using M = xsimd::batch_bool<float, Arch>;
  static constexpr int N = int(F::size);
  struct All {};

  static F min(F a, F b) { return xsimd::min(a, b); }
  static F max(F a, F b) { return xsimd::max(a, b); }
  static F sqrt(F a) { return xsimd::sqrt(a); }
  static F floor(F a) { return xsimd::floor(a); }
  static F ceil(F a) { return xsimd::ceil(a); }
  static F rint(F a) { return xsimd::nearbyint(a); }
  static F abs(F a) { return from_bits(bits(a) & I(0x7fffffff)); }
  static F copysign(F a, F s) { return from_bits((bits(a) & I(0x7fffffff)) | (bits(s) & I(INT32_MIN))); }
  static M lt(F a, F b) { return a < b; }
  static M is_nan(F a) { return xsimd::isnan(a); }  // a != a is ordered in xsimd 8.1 on AVX-512
  static F select(M m, F a, F b) { return xsimd::select(m, a, b); }
  static I bits(F a) { return xsimd::bitwise_cast<I>(a); }
  static F from_bits(I i) { return xsimd::bitwise_cast<F>(i); }
  static I to_int(F a) { return xsimd::nearbyint_as_int(a); }
  static F to_float(I i) { return xsimd::to_float(i); }

  static F load(const float* p, All) { return F::load_unaligned(p); }
  static void store(float* p, F a, All) { a.store_unaligned(p); }
  static I load_s32(const int32_t* p, All) { return I::load_unaligned(p); }
};
