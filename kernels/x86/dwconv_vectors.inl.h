// The vocabulary of dwconv_int8.inl.h on 128 and 256 bits of AVX2. Each kernel adds kGroup, dot(),
// kPixels = how many pixels' accumulators fit the registers, kThreeByThree = how many pixels three_by_three() does at a time (0: do
// not use it).
// Tails touch only the n named bytes, words or dwords.

struct Xmm {
  using T = __m128i;
  using F = __m128;
  static constexpr int kChannels = 16;

  static T load(const void* p) { return _mm_loadu_si128(static_cast<const T*>(p)); }
  static void store(void* p, T v) { _mm_storeu_si128(static_cast<T*>(p), v); }
  static T load(const void* p, int n) { return load_pieces(static_cast<const char*>(p), n); }
  static void store(void* p, T v, int n) { store_pieces(static_cast<char*>(p), v, n); }
  static T mask(int n) { return _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)); }
  static T load_words(const void* p, int n) { return _mm_maskload_epi32(static_cast<const int*>(p), mask(n)); }
  static void store_words(void* p, T v, int n) { _mm_maskstore_epi32(static_cast<int*>(p), mask(n), v); }

  static T zero() { return _mm_setzero_si128(); }
  static T set_s8(int v) { return _mm_set1_epi8(char(v)); }
  static T set_s16(int v) { return _mm_set1_epi16(short(v)); }
  static T set_s32(int v) { return _mm_set1_epi32(v); }
  static F set_f32(float v) { return _mm_set1_ps(v); }
  static T bitxor(T a, T b) { return _mm_xor_si128(a, b); }
  static T bitor_(T a, T b) { return _mm_or_si128(a, b); }
  template <int k>
  static T shift_left(T a) {
    return _mm_slli_epi32(a, k);
  }
  template <int k>
  static T shift_right(T a) {
    return _mm_srli_epi32(a, k);
  }
  static T unpacklo8(T a, T b) { return _mm_unpacklo_epi8(a, b); }
  static T unpackhi8(T a, T b) { return _mm_unpackhi_epi8(a, b); }
  static T unpacklo16(T a, T b) { return _mm_unpacklo_epi16(a, b); }
  static T unpackhi16(T a, T b) { return _mm_unpackhi_epi16(a, b); }
  static T packs32(T a, T b) { return _mm_packs_epi32(a, b); }
  static T packus16(T a, T b) { return _mm_packus_epi16(a, b); }
  static T adds16(T a, T b) { return _mm_adds_epi16(a, b); }
  static T min8(T a, T b) { return _mm_min_epu8(a, b); }
  static T add8(T a, T b) { return _mm_add_epi8(a, b); }
  static T sub32(T a, T b) { return _mm_sub_epi32(a, b); }
  static T add32(T a, T b) { return _mm_add_epi32(a, b); }
  static T madd16(T a, T b) { return _mm_madd_epi16(a, b); }
  static F to_f32(T a) { return _mm_cvtepi32_ps(a); }
  static T to_s32(F a) { return _mm_cvtps_epi32(a); }
  static int to_s32(float a) { return _mm_cvtss_si32(_mm_set_ss(a)); }
  static F as_f32(T a) { return _mm_castsi128_ps(a); }
  static T as_s32(F a) { return _mm_castps_si128(a); }
  static F add(F a, F b) { return _mm_add_ps(a, b); }
  static F mul(F a, F b) { return _mm_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm_min_ps(a, b); }  // b if one is NaN
  static F max(F a, F b) { return _mm_max_ps(a, b); }

  static void keep(T& x) { __asm__ volatile("" : "+v"(x)); }  // in a register, here
  static bool below_one(F a) {  // all |a| < 1
    return _mm_movemask_ps(_mm_cmplt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), a), _mm_set1_ps(1))) == 0xf;
  }

  static void from_quarters(const T (&q)[4], T (&natural)[4]) {
    for (int i = 0; i < 4; ++i) natural[i] = q[i];
  }
  // n dwords in channel order; null = 0.
  static void load_quarters(const void* p, int n, T (&q)[4]) {
    for (int i = 0; i < 4; ++i) q[i] = p && n > 4 * i ? load_words(static_cast<const int*>(p) + 4 * i, n - 4 * i) : zero();
  }
};

struct Ymm {
  using T = __m256i;
  using F = __m256;
  static constexpr int kChannels = 32;

  static T load(const void* p) { return _mm256_loadu_si256(static_cast<const T*>(p)); }
  static void store(void* p, T v) { _mm256_storeu_si256(static_cast<T*>(p), v); }
  static T mask(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
  static T load_words(const void* p, int n) { return _mm256_maskload_epi32(static_cast<const int*>(p), mask(n)); }
  static void store_words(void* p, T v, int n) { _mm256_maskstore_epi32(static_cast<int*>(p), mask(n), v); }

  static T zero() { return _mm256_setzero_si256(); }
  static T set_s8(int v) { return _mm256_set1_epi8(char(v)); }
  static T set_s16(int v) { return _mm256_set1_epi16(short(v)); }
  static T set_s32(int v) { return _mm256_set1_epi32(v); }
  static F set_f32(float v) { return _mm256_set1_ps(v); }
  static T bitxor(T a, T b) { return _mm256_xor_si256(a, b); }
  static T bitor_(T a, T b) { return _mm256_or_si256(a, b); }
  template <int k>
  static T shift_left(T a) {
    return _mm256_slli_epi32(a, k);
  }
  template <int k>
  static T shift_right(T a) {
    return _mm256_srli_epi32(a, k);
  }
  static T unpacklo8(T a, T b) { return _mm256_unpacklo_epi8(a, b); }
  static T unpackhi8(T a, T b) { return _mm256_unpackhi_epi8(a, b); }
  static T unpacklo16(T a, T b) { return _mm256_unpacklo_epi16(a, b); }
  static T unpackhi16(T a, T b) { return _mm256_unpackhi_epi16(a, b); }
  static T packs32(T a, T b) { return _mm256_packs_epi32(a, b); }
  static T packus16(T a, T b) { return _mm256_packus_epi16(a, b); }
  static T adds16(T a, T b) { return _mm256_adds_epi16(a, b); }
  static T min8(T a, T b) { return _mm256_min_epu8(a, b); }
  static T add8(T a, T b) { return _mm256_add_epi8(a, b); }
  static T sub32(T a, T b) { return _mm256_sub_epi32(a, b); }
  static T add32(T a, T b) { return _mm256_add_epi32(a, b); }
  static T madd16(T a, T b) { return _mm256_madd_epi16(a, b); }
  static F to_f32(T a) { return _mm256_cvtepi32_ps(a); }
  static T to_s32(F a) { return _mm256_cvtps_epi32(a); }
  static int to_s32(float a) { return Xmm::to_s32(a); }
  static F as_f32(T a) { return _mm256_castsi256_ps(a); }
  static T as_s32(F a) { return _mm256_castps_si256(a); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }

  static void keep(T& x) { __asm__ volatile("" : "+v"(x)); }  // in a register, here
  static bool below_one(F a) {
    const F magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
    return _mm256_movemask_ps(_mm256_cmp_ps(magnitude, _mm256_set1_ps(1), _CMP_LT_OQ)) == 0xff;
  }

  static void from_quarters(const T (&q)[4], T (&natural)[4]) {
    natural[0] = _mm256_permute2x128_si256(q[0], q[1], 0x20);
    natural[1] = _mm256_permute2x128_si256(q[2], q[3], 0x20);
    natural[2] = _mm256_permute2x128_si256(q[0], q[1], 0x31);
    natural[3] = _mm256_permute2x128_si256(q[2], q[3], 0x31);
  }
  static void load_quarters(const void* p, int n, T (&q)[4]) {
    T natural[4];
    for (int i = 0; i < 4; ++i) natural[i] = p && n > 8 * i ? load_words(static_cast<const int*>(p) + 8 * i, n - 8 * i) : zero();
    q[0] = _mm256_permute2x128_si256(natural[0], natural[2], 0x20);
    q[1] = _mm256_permute2x128_si256(natural[0], natural[2], 0x31);
    q[2] = _mm256_permute2x128_si256(natural[1], natural[3], 0x20);
    q[3] = _mm256_permute2x128_si256(natural[1], natural[3], 0x31);
  }
};

// Eight channels in half of a register: so many remain of most of those that are no multiple of 16. V: of 16 channels.
template <class V>
struct Eight : V {
  using T = typename V::T;
  using V::load, V::store;
  static T load(const void* p, int) { return _mm_loadl_epi64(static_cast<const T*>(p)); }
  static void store(void* p, T v, int) { _mm_storel_epi64(static_cast<T*>(p), v); }
};

// All blocks of nr = 32 channels on V32 and V16: no masks, so that only the last 15 channels take the slow partial loads.
template <class V32, class V16, bool kFlip>
inline void dwconv_blocks_of_32(const DwconvArgs& g) {
  const ptrdiff_t block = Window(g, V32::kGroup).bytes(32);
  const char* w = static_cast<const char*>(g.w);
  for (int64_t c = 0; c < g.channels; c += 32, w += block) {
    const int left = g.channels - c < 32 ? int(g.channels - c) : 32;
    if (left == 32) {
      channels_of<V32, 32, false, kFlip>(g, w, c, 32);
      continue;
    }
    if (left >= 16) channels_of<V16, 32, false, kFlip>(g, w, c, 16);
    const int done = left / 16 * 16;
    if (left - done == 8)
      channels_of<Eight<V16>, 32, true, kFlip>(g, w + done, c + done, 8);
    else if (left > done)
      channels_of<V16, 32, true, kFlip>(g, w + done, c + done, left - done);
  }
}
