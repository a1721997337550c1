#include "npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <memory>

#include "error.h"
#include "files.h"
#include "npy.h"

namespace octavo::cli {
namespace {

struct ZipCloser {
  void operator()(zip_t* z) const { zip_discard(z); }
  void operator()(zip_file_t* f) const { zip_fclose(f); }
};

std::unique_ptr<zip_t, ZipCloser> open_archive(const std::string& path) {
  file_size(path);  // a clear error for what is missing or no regular file
  int code = 0;
  if (zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY, &code)) return std::unique_ptr<zip_t, ZipCloser>(archive);
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  throw Failure(fmt::format("{}: not a readable .npz file: {}", path, text));
}

// Bytes that an entry can hold at most: deflate makes at most 1032 bytes of one.
uint64_t most_bytes(const zip_stat_t& info) {
  return info.comp_method == ZIP_CM_STORE ? info.comp_size : info.comp_size * 1032 + 64;
}

Tensor read_entry(zip_t* archive, const zip_stat_t& info, const std::string& what) {
  const std::unique_ptr<zip_file_t, ZipCloser> file(zip_fopen_index(archive, info.index, 0));
  if (!file) throw Failure(fmt::format("{}: cannot read: {}", what, zip_strerror(archive)));
  const auto read = [&](void* out, size_t n) -> size_t {
    const zip_int64_t got = zip_fread(file.get(), out, n);
    if (got < 0) throw Failure(fmt::format("{}: cannot read: {}", what, zip_error_strerror(zip_file_get_error(file.get()))));
    return size_t(got);
  };
  Tensor tensor = read_npy({read, info.size}, what);
  // Reading on to the end makes libzip compare the checksum.
  char extra;
  if (read(&extra, 1) != 0) throw Failure(what + ": more data than the archive's directory says");
  return tensor;
}

}  // namespace

std::map<std::string, Tensor> load_npz(const std::string& path, const std::set<std::string>& names, const NpzLimits& limits) {
  const auto archive = open_archive(path);
  const zip_int64_t entries = zip_get_num_entries(archive.get(), 0);
  if (entries > limits.max_entries) throw Failure(fmt::format("{}: more than {} entries", path, limits.max_entries));
  std::map<std::string, Tensor> arrays;
  uint64_t left = limits.max_bytes;
  for (zip_int64_t i = 0; i < entries; ++i) {
    zip_stat_t info;
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_INDEX | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(archive.get(), zip_uint64_t(i), 0, &info) != 0 || (info.valid & kNeeded) != kNeeded)
      throw Failure(fmt::format("{}: malformed zip directory", path));
    std::string name = info.name;
    if (!name.ends_with(".npy")) continue;
    name.resize(name.size() - 4);
    if (names.count(name) == 0) continue;
    const std::string what = fmt::format("{}: array '{}'", path, name);
    if (arrays.count(name) != 0) throw Failure(what + " occurs twice");
    if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE)
      throw Failure(fmt::format("{}: compression method {} is not supported", what, info.comp_method));
    if (info.size > most_bytes(info))
      throw Failure(fmt::format("{}: claims {} bytes, more than {} compressed bytes can hold", what, info.size, info.comp_size));
    if (info.size > left)
      throw Failure(fmt::format("{}: {} bytes take the archive over the limit of {} bytes", what, info.size, limits.max_bytes));
    left -= info.size;
    arrays.emplace(name, read_entry(archive.get(), info, what));
  }
  return arrays;
}

}  // namespace octavo::cli
