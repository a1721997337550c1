#include "src/packed.h"

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "src/buffer.h"

namespace octavo {
namespace detail {
namespace {

constexpr char kMagic[8] = {'o', 'c', 't', 'a', 'v', 'o', 'p', 'w'};
constexpr uint64_t kVersion = 1;

struct Header {
  char magic[8];
  uint64_t version;
  PackedShape shape;
  uint64_t bytes;     // of everything
  uint64_t checksum;  // of what stands before it
};
static_assert(std::has_unique_object_representations_v<Header>);
constexpr size_t kHeaderBytes = align_up(sizeof(Header));

// FNV-1a.
uint64_t checksum(const Header& h) noexcept {
  unsigned char bytes[offsetof(Header, checksum)];
  std::memcpy(bytes, &h, sizeof bytes);
  uint64_t sum = 0xcbf29ce484222325u;
  for (unsigned char b : bytes) sum = (sum ^ b) * 0x100000001b3u;
  return sum;
}

size_t sums_bytes(const PackedShape& s) noexcept { return align_up(size_t(s.sum_rows * s.columns) * sizeof(int32_t)); }

Header header_of(const PackedWeights& w) noexcept {
  Header h;
  std::memcpy(&h, w.data(), sizeof h);
  return h;
}

}  // namespace

PackedWeights PackedAccess::make(const PackedShape& s) {
  const size_t groups = size_t((s.k + s.kr - 1) / s.kr),
               panels = size_t(s.panels * s.taps) * groups * size_t(s.kr * s.nr * s.elem_bytes);
  Header h;
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.shape = s;
  h.bytes = kHeaderBytes + sums_bytes(s) + panels;
  h.checksum = checksum(h);
  auto owner = std::make_shared<Buffer<char>>(Buffer<char>::uninitialized(h.bytes));
  std::memset(owner->get(), 0, kHeaderBytes + sums_bytes(s));
  std::memcpy(owner->get(), &h, sizeof h);
  PackedWeights w;
  w.data_ = owner->get();
  w.bytes_ = h.bytes;
  w.owner_ = std::move(owner);
  return w;
}

int32_t* PackedAccess::sums(PackedWeights& w) noexcept { return const_cast<int32_t*>(sums_of(w)); }
char* PackedAccess::panels(PackedWeights& w) noexcept { return const_cast<char*>(panels_of(w)); }

int64_t taps_of(const PackedWeights& w) noexcept { return w.bytes() == 0 ? 0 : header_of(w).shape.taps; }
const int32_t* sums_of(const PackedWeights& w) noexcept {
  if (header_of(w).shape.sum_rows == 0) return nullptr;
  return reinterpret_cast<const int32_t*>(static_cast<const char*>(w.data()) + kHeaderBytes);
}
const char* panels_of(const PackedWeights& w) noexcept {
  return static_cast<const char*>(w.data()) + kHeaderBytes + sums_bytes(header_of(w).shape);
}

Status check_packed(const PackedWeights& w, const PackedShape& shape, const KernelInfo& kernel) noexcept {
  if (w.bytes() == 0) return Status::error(Code::invalid_argument, "packed holds no weights");
  constexpr struct {
    const char* name;
    int64_t PackedShape::* field;
  } kFields[] = {
      {"convolution", &PackedShape::convolution},
      {"is_float", &PackedShape::is_float},
      {"nr", &PackedShape::nr},
      {"kr", &PackedShape::kr},
      {"elem_bytes", &PackedShape::elem_bytes},
      {"columns", &PackedShape::columns},
      {"depth", &PackedShape::depth},
      {"kh", &PackedShape::kh},
      {"kw", &PackedShape::kw},
      {"groups", &PackedShape::groups},
      {"panels", &PackedShape::panels},
      {"taps", &PackedShape::taps},
      {"k", &PackedShape::k},
      {"sum_rows", &PackedShape::sum_rows},
  };
  static_assert(sizeof kFields / sizeof *kFields * sizeof(int64_t) == sizeof(PackedShape));
  const Header h = header_of(w);
  for (const auto& f : kFields) {
    if (h.shape.*f.field == shape.*f.field) continue;
    return Status::error(Code::invalid_argument, "packed: %s is %lld: this plan, with the kernel %s, needs %lld", f.name,
                         static_cast<long long>(h.shape.*f.field), kernel.name, static_cast<long long>(shape.*f.field));
  }
  // The shape is the plan's, whose sizes are known to fit; and so `bytes` is what make() made of it, or the header lies.
  const size_t panels = size_t(shape.panels * shape.taps) * panel_bytes(kernel.format, shape.k);
  if (h.bytes == kHeaderBytes + sums_bytes(shape) + panels && h.bytes <= w.bytes()) return {};
  return Status::error(Code::invalid_argument, "packed: the header says %llu bytes: these weights take %zu",
                       static_cast<unsigned long long>(h.bytes), kHeaderBytes + sums_bytes(shape) + panels);
}

}  // namespace detail

using namespace detail;

Expected<PackedWeights> PackedWeights::view(const void* data, size_t bytes) noexcept {
  if (!data) return Status::error(Code::invalid_argument, "data is null");
  if (reinterpret_cast<uintptr_t>(data) % kAlign)
    return Status::error(Code::invalid_argument, "data is %p: must be aligned to %zu bytes", data, kAlign);
  if (bytes < kHeaderBytes)
    return Status::error(Code::invalid_argument, "bytes is %zu: packed weights have a header of %zu", bytes, kHeaderBytes);
  PackedWeights w;
  w.data_ = data;
  w.bytes_ = bytes;
  const Header h = header_of(w);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
    return Status::error(Code::invalid_argument, "data does not begin as packed weights do");
  if (h.version != kVersion)
    return Status::error(Code::unsupported, "data is packed weights of version %llu: this library reads %llu",
                         static_cast<unsigned long long>(h.version), static_cast<unsigned long long>(kVersion));
  if (h.checksum != checksum(h)) return Status::error(Code::invalid_argument, "data has a damaged header: its checksum is wrong");
  if (h.bytes > bytes)
    return Status::error(Code::invalid_argument, "bytes is %zu: the header says %llu", bytes,
                         static_cast<unsigned long long>(h.bytes));
  w.bytes_ = h.bytes;
  return w;
}

}  // namespace octavo
