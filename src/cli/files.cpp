#include "files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>

#include "error.h"

namespace octavo::cli {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Failure(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

struct TemporaryFile {
  explicit TemporaryFile(const std::string& target) : path(target + ".XXXXXX") {
    fd = mkstemp(path.data());
    if (fd < 0) fail(target, "cannot create a file beside it");
  }
  ~TemporaryFile() {
    if (fd >= 0) close(fd);
    if (!path.empty()) unlink(path.c_str());
  }
  bool write_all(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = write(fd, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      bytes.remove_prefix(size_t(n));
    }
    return true;
  }
  std::string path;
  int fd = -1;
};

}  // namespace

InputFile::InputFile(const std::string& path) : file(std::fopen(path.c_str(), "rbe")) {
  if (!file) fail(path, "cannot open");
  struct stat info;
  if (fstat(fileno(file.get()), &info) != 0) fail(path, "cannot read");
  if (!S_ISREG(info.st_mode)) throw Failure(path + ": not a regular file");
  size = uint64_t(info.st_size);
}

std::string read_text(const std::string& path, uint64_t limit) {
  const InputFile in(path);
  if (in.size > limit) throw Failure(fmt::format("{}: larger than the limit of {} bytes", path, limit));
  std::string text(in.size, '\0');
  if (std::fread(text.data(), 1, text.size(), in.file.get()) != text.size()) throw Failure(path + ": cannot read");
  return text;
}

uint64_t file_size(const std::string& path) { return InputFile(path).size; }

void write_file(const std::string& path, std::string_view head, std::string_view body) {
  TemporaryFile out(path);
  // mkstemp makes the file private; the finished one gets the permissions of any other new file.
  const mode_t mask = umask(0);
  umask(mask);
  if (fchmod(out.fd, 0666 & ~mask) != 0 || !out.write_all(head) || !out.write_all(body)) fail(path, "cannot write");
  const int fd = std::exchange(out.fd, -1);
  if (close(fd) != 0 || std::rename(out.path.c_str(), path.c_str()) != 0) fail(path, "cannot write");
  out.path.clear();
}

std::string safe_file_name(std::string_view name) {
  std::string out(name.substr(0, 128));
  for (char& c : out)
    if (!std::isalnum(uint8_t(c)) && c != '_' && c != '-' && c != '.') c = '_';
  if (out.empty()) out.push_back('_');
  if (out.front() == '.') out.front() = '_';
  return out;
}

}  // namespace octavo::cli
