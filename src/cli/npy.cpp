#include "npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "error.h"
#include "files.h"

namespace octavo::cli {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 1 << 16;
constexpr size_t kMaxRank = 8;

struct TypeCode {
  DType dtype;
  const char* code;  // without the byte order
};
constexpr TypeCode kTypes[] = {
    {DType::u8, "u1"},  {DType::s8, "i1"},  {DType::u16, "u2"}, {DType::s16, "i2"}, {DType::s32, "i4"},     {DType::u32, "u4"},
    {DType::s64, "i8"}, {DType::u64, "u8"}, {DType::f32, "f4"}, {DType::f64, "f8"}, {DType::boolean, "b1"},
};

struct Header {
  DType dtype = DType::f32;
  bool fortran_order = false;
  Shape shape;
};

// The header is a Python dictionary literal with exactly the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Header parse() {
    Header header;
    bool have_descr = false, have_order = false, have_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !have_descr) {
        have_descr = true;
        header.dtype = descr();
      } else if (key == "fortran_order" && !have_order) {
        have_order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !have_shape) {
        have_shape = true;
        header.shape = shape();
      } else {
        fail("unexpected key in the header");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) fail("trailing text in the header");
    if (!have_descr || !have_order || !have_shape) fail("incomplete header");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view why) const { throw Failure(fmt::format("{}: malformed .npy: {}", what_, why)); }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}' in the header", c));
  }
  std::string_view quoted() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("unterminated string in the header");
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}})
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    fail("fortran_order is neither True nor False");
  }
  DType descr() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[') throw Failure(what_ + ": structured element types are not supported");
    const std::string_view word = quoted();
    for (const TypeCode& t : kTypes)
      if (word.size() == 3 && word.substr(1) == t.code) {
        const bool one_byte = size_of(t.dtype) == 1;
        if (word[0] == '>' && !one_byte) throw Failure(what_ + ": big-endian arrays are not supported");
        if (word[0] == '<' || (one_byte && (word[0] == '|' || word[0] == '>'))) return t.dtype;
      }
    throw Failure(fmt::format("{}: element type '{}' is not supported", what_, word));
  }
  Shape shape() {
    Shape dims;
    expect('(');
    while (!accept(')')) {
      dims.push_back(number());
      if (dims.size() > kMaxRank) throw Failure(fmt::format("{}: more than {} dimensions", what_, kMaxRank));
      if (accept(',')) continue;
      if (dims.size() == 1) fail("a shape of one dimension needs its comma");
      expect(')');
      break;
    }
    return dims;
  }
  int64_t number() {
    skip_space();
    const size_t begin = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (value > (INT64_MAX - 9) / 10) fail("a dimension does not fit 64 bits");
      value = value * 10 + (text_[at_] - '0');
    }
    if (at_ == begin) fail("expected a dimension in the shape");
    return value;
  }

  std::string_view text_;
  const std::string& what_;
  size_t at_ = 0;
};

void read_exactly(const ByteSource& source, void* out, size_t n, const std::string& what) {
  for (size_t done = 0; done < n;) {
    const size_t got = source.read(static_cast<char*>(out) + done, n - done);
    if (got == 0) throw Failure(what + ": malformed .npy: truncated");
    done += got;
  }
}

// Element i of the row-major result lies at the same index read in column-major order.
template <class T>
void from_fortran_order(const T* in, T* out, const Shape& shape) {
  const size_t rank = shape.size();
  std::array<int64_t, kMaxRank> index{}, stride{};
  int64_t count = 1;
  for (size_t d = 0; d < rank; ++d) stride[d] = count, count *= shape[d];
  for (int64_t i = 0, from = 0; i < count; ++i) {
    out[i] = in[from];
    for (size_t d = rank; d-- > 0;) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= stride[d] * shape[d];
      index[d] = 0;
    }
  }
}

Tensor to_row_major(const Tensor& in, const std::string& what) {
  Tensor out = value(Tensor::create(in.dtype(), in.shape()), what);
  switch (size_of(in.dtype())) {
    case 1:
      from_fortran_order(in.as<uint8_t>(), static_cast<uint8_t*>(out.mutable_data()), in.shape());
      break;
    case 2:
      from_fortran_order(in.as<uint16_t>(), static_cast<uint16_t*>(out.mutable_data()), in.shape());
      break;
    case 4:
      from_fortran_order(in.as<uint32_t>(), static_cast<uint32_t*>(out.mutable_data()), in.shape());
      break;
    default:
      from_fortran_order(in.as<uint64_t>(), static_cast<uint64_t*>(out.mutable_data()), in.shape());
      break;
  }
  return out;
}

}  // namespace

Tensor read_npy(const ByteSource& source, const std::string& what) {
  std::array<uint8_t, 12> prefix{};  // magic, major, minor, header length in 2 bytes (version 1) or 4
  read_exactly(source, prefix.data(), 10, what);
  if (std::memcmp(prefix.data(), kMagic.data(), kMagic.size()) != 0) throw Failure(what + ": not an .npy array (wrong magic)");
  const int version = prefix[6];
  if (version < 1 || version > 3 || prefix[7] != 0)
    throw Failure(fmt::format("{}: .npy version {}.{} is not supported", what, version, prefix[7]));
  size_t header_bytes = prefix[8] | size_t(prefix[9]) << 8, data_offset = 10;
  if (version > 1) {
    read_exactly(source, prefix.data() + 10, 2, what);
    header_bytes |= size_t(prefix[10]) << 16 | size_t(prefix[11]) << 24;
    data_offset = 12;
  }
  if (header_bytes > kMaxHeader) throw Failure(fmt::format("{}: malformed .npy: a header of {} bytes", what, header_bytes));
  std::string text(header_bytes, '\0');
  read_exactly(source, text.data(), text.size(), what);
  const Header header = HeaderParser(text, what).parse();
  data_offset += header_bytes;

  const int64_t count = value(element_count(header.shape, header.dtype), what);
  const uint64_t bytes = uint64_t(count) * size_of(header.dtype),
                 there = source.size - std::min<uint64_t>(source.size, data_offset);
  if (bytes != there)
    throw Failure(fmt::format("{}: malformed .npy: shape {} of {} needs {} bytes of data, {} are there", what,
                              to_string(header.shape), name_of(header.dtype), bytes, there));
  Tensor tensor = value(Tensor::create(header.dtype, header.shape), what);
  if (bytes > 0) read_exactly(source, tensor.mutable_data(), bytes, what);
  if (header.dtype == DType::boolean &&
      std::any_of(tensor.as<uint8_t>(), tensor.as<uint8_t>() + count, [](uint8_t b) { return b > 1; }))
    throw Failure(what + ": malformed .npy: a bool that is neither 0 nor 1");
  return header.fortran_order && header.shape.size() > 1 ? to_row_major(tensor, what) : tensor;
}

Tensor load_npy(const std::string& path) {
  const InputFile in(path);
  const auto read = [&in, &path](void* out, size_t n) {
    const size_t got = std::fread(out, 1, n, in.file.get());
    if (got == 0 && std::ferror(in.file.get())) throw Failure(path + ": cannot read");
    return got;
  };
  return read_npy({read, in.size}, path);
}

void save_npy(const std::string& path, const Tensor& tensor) {
  const char* code = "";
  for (const TypeCode& t : kTypes)
    if (t.dtype == tensor.dtype()) code = t.code;
  std::string dims;
  for (int64_t d : tensor.shape()) dims += fmt::format("{}, ", d);
  if (tensor.shape().size() > 1) dims.resize(dims.size() - 2);
  if (tensor.shape().size() == 1) dims.resize(dims.size() - 1);
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                   size_of(tensor.dtype()) == 1 ? '|' : '<', code, dims);
  // Spaces and a newline make the data start at a multiple of 64 bytes.
  header.resize((kMagic.size() + 4 + header.size() + 1 + 63) / 64 * 64 - (kMagic.size() + 4) - 1, ' ');
  header += '\n';
  std::string head(kMagic);
  head += {'\x01', '\x00', char(header.size() & 0xff), char(header.size() >> 8)};
  write_file(path, head + header, {static_cast<const char*>(tensor.data()), tensor.bytes()});
}

}  // namespace octavo::cli
