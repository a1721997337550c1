// What the commands print: tables, sizes, JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/graph.h"

namespace octavo::cli {

using Json = nlohmann::ordered_json;

// Names come from untrusted files: control characters become '?', so that a name is one line and no terminal command.
std::string printable(std::string_view text);

// Writes to stdout. Throws Failure if that does not work (a full disk, a closed pipe).
void print(std::string_view text);
void print_json(const Json& json);

std::string names_of(const std::vector<ValueInfo>& values);  // "a, b"
std::string dims_of(const ValueInfo& value);                 // "[N,3,224,224]"
std::string human_bytes(uint64_t bytes);                     // "12.3 MiB"
std::string human_count(uint64_t count);                     // "4.1 G"

// Columns padded to their widest cell; the first row is the heading.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) { add(std::move(heading)); }
  void add(std::vector<std::string> row);
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace octavo::cli
