#include "op_types.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "files.h"

namespace octavo::cli {
namespace {

// Field numbers of onnx.proto.
constexpr uint64_t kModelGraph = 7, kGraphNode = 1, kNodeOpType = 4;

// Calls visit(field number, bytes) for each length-delimited field of a message.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <class Visit>
  void each_message(Visit visit) {
    enum : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
    for (uint64_t key, size; !bytes_.empty() && varint(key);) {
      switch (key & 7) {
        case kVarint:
          if (!varint(size)) return;
          continue;
        case kFixed64:
          size = 8;
          break;
        case kFixed32:
          size = 4;
          break;
        case kBytes:
          if (!varint(size)) return;
          break;
        default:
          return;
      }
      if (size > bytes_.size()) return;
      if ((key & 7) == kBytes) visit(key >> 3, bytes_.substr(0, size));
      bytes_.remove_prefix(size);
    }
  }

 private:
  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const uint8_t byte = uint8_t(bytes_.front());
      bytes_.remove_prefix(1);
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  std::string_view bytes_;
};

}  // namespace

std::vector<std::string> onnx_op_types(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t(2) << 30;  // as the importer has it
  const std::string bytes = read_text(path, kMaxBytes);
  std::vector<std::string> types;
  WireReader(bytes).each_message([&](uint64_t model_field, std::string_view graph) {
    if (model_field != kModelGraph) return;
    WireReader(graph).each_message([&](uint64_t graph_field, std::string_view node) {
      if (graph_field != kGraphNode) return;
      WireReader(node).each_message([&](uint64_t node_field, std::string_view text) {
        if (node_field == kNodeOpType && std::find(types.begin(), types.end(), text) == types.end()) types.emplace_back(text);
      });
    });
  });
  return types;
}

}  // namespace octavo::cli
