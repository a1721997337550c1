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

  // Two 16-byte lanes (eltwise_transpose.inl.h), on AVX-512 too: Zen 4 inserts lanes and shuffles 64 bytes no faster than 32.
  template <class T>
  struct Zip {
    using R = __m256i;
    static constexpr int kLanes = 2;
    static OCTAVO_INLINE R load(const T* p, ptrdiff_t stride) {
      const auto row = [=](int l) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + l * stride)); };
      return _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
    }
    static OCTAVO_INLINE void store(T* p, R r) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), r); }
    static OCTAVO_INLINE R low(R a, R b) { return sizeof(T) == 1 ? _mm256_unpacklo_epi8(a, b) : _mm256_unpacklo_epi32(a, b); }
    static OCTAVO_INLINE R high(R a, R b) { return sizeof(T) == 1 ? _mm256_unpackhi_epi8(a, b) : _mm256_unpackhi_epi32(a, b); }
  };

  // 32 bytes of each of three rows, interleaved: each row is put into an order in which registers of the result blend it with the
  // others.
  static OCTAVO_INLINE void interleave(const uint32_t* a, const uint32_t* b, const uint32_t* c, uint32_t* out) {
    const auto load = [](const uint32_t* p, __m256i order) {
      return _mm256_permutevar8x32_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), order);
    };
    const __m256i x = load(a, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5)), y = load(b, _mm256_setr_epi32(5, 0, 3, 6, 1, 4, 7, 2)),
                  z = load(c, _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7));
    const auto store = [&](int r, __m256i first, __m256i second, __m256i third) {
      const __m256i all = _mm256_blend_epi32(_mm256_blend_epi32(first, second, 0x92), third, 0x24);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8 * r), all);
    };
    store(0, x, y, z), store(1, z, x, y), store(2, y, z, x);
  }
};
