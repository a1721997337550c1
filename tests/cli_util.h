// What the tests of the command share: running it, folders that vanish, and files in NumPy's, zip's and ONNX's formats.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "octavo/graph.h"
#include "octavo/onnx.h"
#include "paths.h"

namespace octavo::test {

using Json = nlohmann::json;

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline std::string write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

class TempDir {
 public:
  TempDir() : path_((std::filesystem::temp_directory_path() / "octavo_cli.XXXXXX").string()) {
    if (!mkdtemp(path_.data())) std::abort();
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

struct Result {
  int code = -1;  // 128 + signal if it was killed
  std::string out, err;
  Json json() const { return Json::parse(out, nullptr, false); }
};

// Runs the built command. `isa` becomes OCTAVO_ISA ("" = not set).
inline Result octavo(const std::vector<std::string>& arguments, const std::string& isa = "") {
  const TempDir dir;
  const std::string out = dir / "out", err = dir / "err";
  std::vector<char*> argv;
  if (*kEmulator) argv.push_back(const_cast<char*>(kEmulator));
  argv.push_back(const_cast<char*>(kCli));
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(open(out.c_str(), O_CREAT | O_WRONLY, 0600), STDOUT_FILENO);
    dup2(open(err.c_str(), O_CREAT | O_WRONLY, 0600), STDERR_FILENO);
    if (!isa.empty()) setenv("OCTAVO_ISA", isa.c_str(), 1);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
}

// Exit code 2, nothing on stdout, and one line on stderr that holds `what`.
inline void expect_bad_input(const Result& result, const std::string& what) {
  EXPECT_EQ(result.code, 2) << result.out;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("octavo: error: ")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// An .npy file whose header is the given text.
inline std::string npy_raw(const std::string& header, const std::string& data, int version = 1) {
  std::string out = "\x93NUMPY";
  out += char(version);
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += char(header.size() >> (8 * i) & 0xff);
  return out + header + data;
}
inline std::string npy(const std::string& descr, const std::string& shape, const std::string& data, bool fortran = false,
                       int version = 1) {
  return npy_raw("{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }\n",
                 data, version);
}
inline std::string npy_f32(const std::string& shape, const std::vector<float>& values) {
  return npy("<f4", shape, bytes_of(values));
}

// What an .npy that the command wrote holds, as floats; the header is checked by its text.
inline std::vector<float> npy_values(const std::string& path, const std::string& descr, const std::string& shape) {
  const std::string file = read_file(path);
  const size_t header_end = 10 + uint8_t(file.at(8)) + 256 * uint8_t(file.at(9));
  const std::string header = file.substr(10, header_end - 10);
  EXPECT_EQ(header_end % 64, 0u);
  EXPECT_NE(header.find("'descr': '" + descr + "'"), std::string::npos) << header;
  EXPECT_NE(header.find("'shape': " + shape + ","), std::string::npos) << header;
  std::vector<float> values((file.size() - header_end) / sizeof(float));
  std::memcpy(values.data(), file.data() + header_end, values.size() * sizeof(float));
  return values;
}

inline uint32_t crc32(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= uint8_t(c);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

// One file of a zip archive, stored. Fields that lie make hostile archives.
struct ZipEntry {
  ZipEntry(std::string entry_name, std::string entry_data)
      : name(std::move(entry_name)), data(std::move(entry_data)), size(uint32_t(data.size())), checksum(crc32(data)) {}
  std::string name, data;
  uint32_t size, checksum;
  uint16_t method = 0;
};

inline std::string zip(const std::vector<ZipEntry>& entries) {
  std::string out, directory;
  const auto put = [](std::string& to, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) to += char(value >> (8 * i) & 0xff);
  };
  for (const ZipEntry& e : entries) {
    const uint32_t offset = uint32_t(out.size());
    std::string common;  // what the local header and the directory share
    put(common, 20, 2), put(common, 0, 2), put(common, e.method, 2), put(common, 0, 2), put(common, 0x21, 2);
    put(common, e.checksum, 4), put(common, uint32_t(e.data.size()), 4), put(common, e.size, 4);
    put(common, uint32_t(e.name.size()), 2), put(common, 0, 2);
    put(out, 0x04034b50, 4);
    out += common + e.name + e.data;
    put(directory, 0x02014b50, 4), put(directory, 20, 2);
    directory += common;
    put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 4), put(directory, offset, 4);
    directory += e.name;
  }
  const uint32_t start = uint32_t(out.size());
  out += directory;
  put(out, 0x06054b50, 4), put(out, 0, 4), put(out, uint32_t(entries.size()), 2), put(out, uint32_t(entries.size()), 2);
  put(out, uint32_t(directory.size()), 4), put(out, start, 4), put(out, 0, 2);
  return out;
}

// A serialized TensorProto of f32.
inline std::string tensor_proto(const std::vector<int>& dims, const std::vector<float>& values) {
  std::string out;
  const auto varint = [&out](size_t v) {
    for (; v >= 0x80; v >>= 7) out += char(v | 0x80);
    out += char(v);
  };
  for (int d : dims) varint(1 << 3), varint(size_t(d));
  varint(2 << 3), varint(1);
  varint(9 << 3 | 2), varint(values.size() * sizeof(float));
  return out + bytes_of(values);
}

// y = relu(x), x [N,width].
inline Graph relu_model(int64_t batch = -1, int64_t width = 4) {
  Graph g;
  g.name = "relu";
  const std::vector<Dim> dims = {{batch, batch < 0 ? "N" : ""}, {width, ""}};
  g.inputs = {{"x", DType::f32, dims}};
  g.add_node("Relu", "y", {"x"});
  g.outputs = {{"y", DType::f32, dims}};
  return g;
}

// A small CNN, image [N,3,8,8] -> logits [N,4]: Conv, Relu, GlobalAveragePool, Flatten, Gemm.
inline Graph small_cnn(int64_t batch = -1) {
  Graph g;
  g.name = "small_cnn";
  const Dim n{batch, batch < 0 ? "N" : ""};
  g.inputs = {{"image", DType::f32, {n, {3, ""}, {8, ""}, {8, ""}}}};
  const auto weights = [](size_t count, float scale) {
    std::vector<float> w(count);
    uint32_t state = 12345;
    for (float& v : w) {
      state = state * 1664525 + 1013904223;
      v = scale * (float(state >> 8) * 0x1p-23f - 1);
    }
    return w;
  };
  g.add_initializer("w1", Tensor::from(DType::f32, {64, 3, 3, 3}, weights(64 * 27, 0.4f)));
  g.add_initializer("b1", Tensor::from(DType::f32, {64}, weights(64, 0.1f)));
  g.add_initializer("w2", Tensor::from(DType::f32, {4, 64}, weights(4 * 64, 0.5f)));
  g.add_initializer("b2", Tensor::from(DType::f32, {4}, weights(4, 0.1f)));
  g.add_node("Conv", "conv", {"image", "w1", "b1"},
             {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  g.add_node("Relu", "relu", {"conv"});
  g.add_node("GlobalAveragePool", "pool", {"relu"});
  g.add_node("Flatten", "flat", {"pool"});
  g.add_node("Gemm", "logits", {"flat", "w2", "b2"}, {{"transB", int64_t(1)}});
  g.outputs = {{"logits", DType::f32, {n, {4, ""}}}};
  return g;
}

inline std::string save(const Graph& graph, const std::string& path) {
  const Status status = save_onnx(graph, path);
  EXPECT_TRUE(status.ok()) << status.text();
  return path;
}

// Images for small_cnn: bright or dark, each with its own pattern.
inline std::vector<float> images(int count) {
  std::vector<float> pixels(size_t(count) * 3 * 8 * 8);
  uint32_t state = 99;
  for (float& p : pixels) {
    state = state * 1664525 + 1013904223;
    p = float(state >> 8) * 0x1p-23f - 1;
  }
  return pixels;
}

inline std::string images_npz(const std::string& path, int count, const std::vector<int64_t>& labels = {}) {
  const std::string n = std::to_string(count);
  std::vector<ZipEntry> entries = {{"image.npy", npy_f32(std::string("(") + n + ", 3, 8, 8)", images(count))}};
  if (!labels.empty())
    entries.emplace_back("labels.npy", npy("<i8", std::string("(") + std::to_string(labels.size()) + ",)", bytes_of(labels)));
  return write_file(path, zip(entries));
}

}  // namespace octavo::test
