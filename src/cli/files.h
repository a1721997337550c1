// Files: reading with a known size, writing without ever leaving half a file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace octavo::cli {

struct FileCloser {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

// An open regular file and its size. Throws Failure.
struct InputFile {
  explicit InputFile(const std::string& path);
  File file;
  uint64_t size = 0;
};

// A text file of at most `limit` bytes.
std::string read_text(const std::string& path, uint64_t limit);

uint64_t file_size(const std::string& path);

// Writes head and body to a temporary file beside `path` and renames it, so that `path` is either old or complete.
void write_file(const std::string& path, std::string_view head, std::string_view body = {});

// A name that is safe as a file name on any system: letters, digits, '_', '-', '.', not hidden, not too long.
std::string safe_file_name(std::string_view name);

}  // namespace octavo::cli
