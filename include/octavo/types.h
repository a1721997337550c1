// Octavo's vocabulary types: element types, error values, views.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <utility>
#include <variant>

namespace octavo {

// Element types. Kernels compute on u8, s8, s32 and f32; the others occur in graphs only.
enum class DType : uint8_t { u8, s8, u16, s16, s32, u32, s64, u64, f32, f64, boolean };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::u8: case DType::s8: case DType::boolean: return 1;
    case DType::u16: case DType::s16: return 2;
    case DType::s32: case DType::u32: case DType::f32: return 4;
    case DType::s64: case DType::u64: case DType::f64: return 8;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::u8: return "u8";
    case DType::s8: return "s8";
    case DType::u16: return "u16";
    case DType::s16: return "s16";
    case DType::s32: return "s32";
    case DType::u32: return "u32";
    case DType::s64: return "s64";
    case DType::u64: return "u64";
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    case DType::boolean: return "bool";
  }
  return "?";
}

enum class Code : uint8_t {
  ok,
  invalid_argument,  // the caller passed something that can never be right
  unsupported,       // right, but this library does not do it
  overflow,          // a size or an accumulator would not fit its type
  out_of_memory,
  io,                // a file could not be read or written
  internal,          // a bug in Octavo
};

// An error value. It holds its text inline, so that reporting "out of memory" needs no memory.
// A text longer than the buffer is cut.
class [[nodiscard]] Status {
 public:
  Status() noexcept { text_[0] = '\0'; }  // not all of the text: every run makes some that are ok
  [[gnu::format(printf, 2, 3)]] static Status error(Code code, const char* format, ...) noexcept {
    Status s;
    s.code_ = code;
    va_list args;
    va_start(args, format);
    std::vsnprintf(s.text_, sizeof s.text_, format, args);
    va_end(args);
    return s;
  }
  bool ok() const noexcept { return code_ == Code::ok; }
  Code code() const noexcept { return code_; }
  const char* text() const noexcept { return text_; }

 private:
  Code code_ = Code::ok;
  char text_[383];
};

// A value, or the Status that says why there is none.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) noexcept : state_(std::in_place_index<0>, std::move(value)) {}
  Expected(Status error) noexcept : state_(std::in_place_index<1>, error) {}

  explicit operator bool() const noexcept { return state_.index() == 0; }
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  Status status() const noexcept {
    const Status* s = std::get_if<1>(&state_);
    return s ? *s : Status();
  }

 private:
  std::variant<T, Status> state_;
};

}  // namespace octavo
