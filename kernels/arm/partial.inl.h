// Loads and stores of less than a register that touch only the n named elements; what is not loaded is zero.

inline uint64_t load_below_8(const uint8_t* p, size_t n) {
  if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, p, 4);
    std::memcpy(&last, p + n - 4, 4);  // bytes that both have are the same
    return first | uint64_t(last) << (8 * (n - 4));
  }
  if (n >= 2) {
    uint16_t first, last;
    std::memcpy(&first, p, 2);
    std::memcpy(&last, p + n - 2, 2);
    return first | uint64_t(last) << (8 * (n - 2));
  }
  return n ? *p : 0;
}
inline void store_below_8(uint8_t* p, uint64_t v, size_t n) {
  if (n & 4) std::memcpy(p, &v, 4), p += 4, v >>= 32;
  if (n & 2) std::memcpy(p, &v, 2), p += 2, v >>= 16;
  if (n & 1) *p = uint8_t(v);
}

// Bytes, n < 16.
inline uint8x16_t load_part(const uint8_t* p, size_t n) {
  if (n < 8) return vcombine_u8(vcreate_u8(load_below_8(p, n)), vdup_n_u8(0));
  return vcombine_u8(vld1_u8(p), vcreate_u8(load_below_8(p + 8, n - 8)));
}
inline void store_part(uint8_t* p, uint8x16_t v, size_t n) {
  uint64_t rest = vgetq_lane_u64(vreinterpretq_u64_u8(v), 0);
  if (n >= 8) vst1_u8(p, vget_low_u8(v)), p += 8, n -= 8, rest = vgetq_lane_u64(vreinterpretq_u64_u8(v), 1);
  store_below_8(p, rest, n);
}

// Floats, n < 4. Lanes that are not loaded keep what `fill` has.
inline float32x4_t load_part(const float* p, size_t n, float32x4_t fill) {
  if (n == 1) return vld1q_lane_f32(p, fill, 0);
  if (n >= 2) fill = vcombine_f32(vld1_f32(p), vget_high_f32(fill));
  return n == 3 ? vld1q_lane_f32(p + 2, fill, 2) : fill;
}
inline void store_part(float* p, float32x4_t v, size_t n) {
  if (n == 1) vst1q_lane_f32(p, v, 0);
  if (n >= 2) vst1_f32(p, vget_low_f32(v));
  if (n == 3) vst1q_lane_f32(p + 2, v, 2);
}
inline float32x4_t load_part(const float* p, size_t n) { return load_part(p, n, vdupq_n_f32(0)); }
