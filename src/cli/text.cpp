#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "error.h"

namespace octavo::cli {
namespace {

std::string scaled(double value, double step, std::initializer_list<const char*> units) {
  const char* const* unit = units.begin();
  for (; value >= step && unit + 1 != units.end(); ++unit) value /= step;
  return unit == units.begin() ? fmt::format("{:.0f}{}", value, *unit) : fmt::format("{:.1f}{}", value, *unit);
}

// Characters, not bytes: UTF-8 continuation bytes take no room.
size_t width(const std::string& text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text);
  std::replace_if(out.begin(), out.end(), [](char c) { return uint8_t(c) < 0x20 || c == 0x7f; }, '?');
  return out;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Failure("cannot write to the standard output");
}

void print_json(const Json& json) { print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"); }

std::string names_of(const std::vector<ValueInfo>& values) {
  std::string out;
  for (const ValueInfo& v : values) out += (out.empty() ? "" : ", ") + v.name;
  return out;
}

std::string dims_of(const ValueInfo& value) {
  if (!value.has_shape) return "[...]";
  std::string out = "[";
  for (const Dim& d : value.dims) {
    if (out.size() > 1) out += ",";
    out += d.size >= 0 ? std::to_string(d.size) : d.symbol.empty() ? "?" : d.symbol;
  }
  return out + "]";
}

std::string human_bytes(uint64_t bytes) { return scaled(double(bytes), 1024, {" B", " KiB", " MiB", " GiB", " TiB"}); }
std::string human_count(uint64_t count) { return scaled(double(count), 1000, {"", " K", " M", " G", " T"}); }

void Table::add(std::vector<std::string> row) {
  for (std::string& cell : row) cell = printable(cell);
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += row[i] + std::string(widths[i] - width(row[i]) + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace octavo::cli
