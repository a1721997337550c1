// Numbers as little-endian bytes.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace octavo {

template <class T>
void put(std::string& out, T value) {
  if constexpr (std::is_floating_point_v<T>) {
    put(out, std::bit_cast<uint32_t>(value));
  } else {
    for (size_t i = 0; i < sizeof value; ++i) out.push_back(char(uint8_t(value >> (8 * i))));
  }
}

// Takes a number off the front; false: there are not so many bytes.
template <class T>
bool take(std::string_view& in, T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    uint32_t bits = 0;
    if (!take(in, bits)) return false;
    value = std::bit_cast<float>(bits);
  } else {
    if (in.size() < sizeof value) return false;
    value = 0;
    for (size_t i = 0; i < sizeof value; ++i) value = T(value | T(T(uint8_t(in[i])) << (8 * i)));
    in.remove_prefix(sizeof value);
  }
  return true;
}

// FNV-1a, for telling files and models apart, not against an adversary.
class Fnv {
 public:
  void add(const void* data, size_t bytes) noexcept {
    for (size_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  }
  void add(std::string_view text) noexcept {
    add(text.data(), text.size());
    add("", 1);
  }
  uint64_t value() const noexcept { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace octavo
