// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/io/safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "segue/io/read_as.hpp"
#include "segue/io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using support::contains;
using support::message_of;

namespace {

std::string parse_error(const std::string& file) {
  return message_of<InputError>([&] { io::parse_safetensors(as_span(file), "x.safetensors"); });
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("A safetensors file written by hand is read", "[io]") {
  const std::string header = "{" + entry("b", "F32", "[2,1]", "[3,11]") + "," + entry("a", "U8", "[3]", "[0,3]") + "," +
                             entry("scalar", "I16", "[]", "[11,13]") + "," + entry("empty", "F64", "[0,4]", "[3,3]") +
                             R"(,"__metadata__":{"z":"1","format":"pt"}})" + "  ";
  const std::string file =
      hand_made(header, "\x01\x02\x03" + bytes_of<float>({1.5f, -2.0f}) + bytes_of<std::int16_t>({-7}));
  const io::SafetensorsContents contents = io::parse_safetensors(as_span(file), "x.safetensors");

  REQUIRE(contents.tensors.size() == 4);
  CHECK(contents.tensors[0].name == "a");
  CHECK(contents.tensors[1].name == "b");
  CHECK(contents.tensors[2].name == "empty");
  CHECK(contents.tensors[3].name == "scalar");
  CHECK(contents.tensors[1].dtype == DType::F32);
  CHECK(contents.tensors[1].shape == std::vector<std::int64_t>{2, 1});
  CHECK(contents.tensors[3].elements() == 1);
  CHECK(contents.tensors[2].elements() == 0);
  // "b" begins at an odd byte: the values must come out all the same.
  CHECK(io::read_vector<float>(contents.tensors[1]) == std::vector<float>{1.5f, -2.0f});
  CHECK(io::read_vector<double>(contents.tensors[1]) == std::vector<double>{1.5, -2.0});
  CHECK(io::read_vector<std::int64_t>(contents.tensors[3]) == std::vector<std::int64_t>{-7});
  CHECK(io::read_vector<std::uint8_t>(contents.tensors[0]) == std::vector<std::uint8_t>{1, 2, 3});
  CHECK(io::read_vector<double>(contents.tensors[2]).empty());
  CHECK(contents.metadata == io::Metadata{{"format", "pt"}, {"z", "1"}});
  REQUIRE(io::find_metadata(contents.metadata, "format") != nullptr);
  CHECK(*io::find_metadata(contents.metadata, "format") == "pt");
  CHECK(io::find_metadata(contents.metadata, "formal") == nullptr);
}

TEST_CASE("A safetensors file without tensors is read", "[io]") {
  CHECK(io::parse_safetensors(as_span(hand_made("{}", "")), "x").tensors.empty());
}

TEST_CASE("Hostile safetensors files are refused with one sentence", "[io]") {
  const std::string four(4, '\0');
  const std::string eight(8, '\0');
  const std::string good = "{" + entry("w", "F32", "[2]", "[0,8]") + "}";
  REQUIRE(parse_error(hand_made(good, eight)) == "(nothing was thrown)");

  struct Case {
    std::string what;
    std::string file;
    std::string expected;
  };
  const auto with_length = [&](std::uint64_t length) {
    std::string file = hand_made(good, eight);
    std::memcpy(file.data(), &length, sizeof length);
    return file;
  };
  const auto one = [&](const std::string& e, const std::string& data) { return hand_made("{" + e + "}", data); };
  const std::vector<Case> cases = {
      {"empty", "", "the file is 0 bytes long, expected at least the 8"},
      {"seven bytes", std::string(7, 'x'), "the file is 7 bytes long, expected at least the 8"},
      {"truncated in the header", hand_made(good, eight).substr(0, 30), "the file is truncated"},
      {"truncated at the end of the header", hand_made(good, "").substr(0, good.size() + 4), "the file is truncated"},
      {"truncated in the data", hand_made(good, four), "data_offsets is [0, 8], expected an end within the 4 bytes"},
      {"trailing bytes", hand_made(good, eight + "x"), "the data is 9 bytes long, expected 8"},
      {"huge header", with_length(100'000'001), "the header length is 100000001, expected at most 100000000"},
      {"header length 2^64 - 1", with_length(~std::uint64_t{0}), "the header length is 18446744073709551615"},
      {"header longer than the file", with_length(99'000'000), "the file is truncated"},
      {"header length 0", with_length(0), "the header does not start with '{'"},
      {"array", hand_made("[]", ""), "the header does not start with '{'"},
      {"leading space", hand_made(" {}", ""), "the header does not start with '{'"},
      {"bad json", hand_made("{\"w\":", ""), "not valid JSON at byte"},
      {"two documents", hand_made("{}{}", ""), "not valid JSON at byte"},
      {"zero byte in the header", hand_made(std::string("{\0}", 3), ""), "not valid JSON at byte"},
      {"not UTF-8", hand_made("{\"\xFF\":1}", ""), "not valid JSON at byte"},
      {"duplicate tensor",
       hand_made("{" + entry("w", "F32", "[1]", "[0,4]") + "," + entry("w", "F32", "[1]", "[4,8]") + "}", eight),
       "key 'w' is given twice"},
      {"duplicate field", hand_made(R"({"w":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}})", eight),
       "key 'dtype' is given twice"},
      {"duplicate metadata", hand_made(R"({"__metadata__":{"a":"1","a":"2"}})", ""), "key 'a' is given twice"},
      {"metadata number", hand_made(R"({"__metadata__":{"a":1}})", ""),
       "__metadata__ key 'a' is the number 1, expected a string"},
      {"metadata string", hand_made(R"({"__metadata__":"a"})", ""),
       "__metadata__ is the string 'a', expected an object"},
      {"entry no object", hand_made(R"({"w":3})", ""), "the entry of tensor 'w' is the number 3, expected an object"},
      {"no dtype", hand_made(R"({"w":{"shape":[2],"data_offsets":[0,8]}})", eight),
       "tensor 'w': key 'dtype' is missing"},
      {"no shape", hand_made(R"({"w":{"dtype":"F32","data_offsets":[0,8]}})", eight), "key 'shape' is missing"},
      {"no offsets", hand_made(R"({"w":{"dtype":"F32","shape":[2],"data_offset":[0,8]}})", eight),
       "key 'data_offsets' is missing, did you mean 'data_offset'?"},
      {"line break in a name", one(entry("w\\n\\u0000\\u001bx", "F31", "[2]", "[0,8]"), eight),
       "tensor 'w???x': the dtype"},
      {"very long name", one(entry(std::string(100'000, 'n'), "F31", "[2]", "[0,8]"), eight), "nnn…': the dtype is"},
      {"unknown dtype", one(entry("w", "F31", "[2]", "[0,8]"), eight), "tensor 'w': the dtype is 'F31', expected"},
      {"dtype in lower case", one(entry("w", "f32", "[2]", "[0,8]"), eight), "the dtype is 'f32'"},
      {"negative extent", one(entry("w", "F32", "[-2]", "[0,8]"), eight), "has a negative extent"},
      {"real extent", one(entry("w", "F32", "[2.0]", "[0,8]"), eight),
       "element 0 of key 'shape' is the number 2.000000, expected an integer"},
      {"shape no array", one(entry("w", "F32", "2", "[0,8]"), eight), "key 'shape' is the number 2, expected an array"},
      {"extents overflow", one(entry("w", "F32", "[4294967296,4294967296]", "[0,8]"), eight), "overflows 64 bits"},
      {"extents overflow to the right size", one(entry("w", "U8", "[4611686018427387905,4,2]", "[0,8]"), eight),
       "overflows 64 bits"},
      {"bits overflow", one(entry("w", "F64", "[288230376151711744]", "[0,8]"), eight), "overflows 64 bits"},
      {"overflow before a zero", one(entry("w", "F32", "[9223372036854775807,4,0]", "[0,0]"), ""), "overflows 64 bits"},
      {"extent beyond 64 bits", one(entry("w", "F32", "[99999999999999999999]", "[0,8]"), eight),
       "exceeds 64 signed bits"},
      {"extent beyond 63 bits", one(entry("w", "F32", "[9223372036854775808]", "[0,8]"), eight),
       "exceeds 64 signed bits"},
      {"half a byte", one(entry("w", "F4", "[3]", "[0,1]"), std::string(1, 0)),
       "is 12 bits of F4, expected a whole number"},
      {"six bits", one(entry("w", "F6_E2M3", "[2]", "[0,2]"), std::string(2, 0)), "is 12 bits of F6_E2M3"},
      {"one offset", one(entry("w", "F32", "[2]", "[8]"), eight), "data_offsets is 1 numbers, expected 2"},
      {"negative offset", one(entry("w", "F32", "[2]", "[-8,0]"), eight),
       "element 0 of key 'data_offsets' is the number -8"},
      {"offsets reversed", one(entry("w", "F32", "[2]", "[8,0]"), eight), "expected a begin that is not after the end"},
      {"offset far out", one(entry("w", "F32", "[2]", "[9223372036854775799,9223372036854775807]"), eight),
       "expected an end within the 8 bytes of data"},
      {"offsets too short", one(entry("w", "F32", "[2]", "[0,4]"), four), "expected 8 bytes for F32 of shape (2,)"},
      {"offsets too long", one(entry("w", "F32", "[1]", "[0,8]"), eight), "expected 4 bytes for F32 of shape (1,)"},
      {"same range twice",
       hand_made("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[0,8]") + "}", eight),
       "tensor 'b' begins at byte 0 of the data and overlaps tensor 'a', which ends at 8"},
      {"overlap",
       hand_made("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "U8", "[6]", "[2,8]") + "}", eight),
       "tensor 'b' begins at byte 2 of the data and overlaps tensor 'a'"},
      {"gap", hand_made("{" + entry("a", "U8", "[2]", "[0,2]") + "," + entry("b", "F32", "[1]", "[4,8]") + "}", eight),
       "tensor 'b' begins at byte 4 of the data and leaves a gap, expected 2"},
      {"gap at the start", one(entry("w", "F32", "[1]", "[4,8]"), eight), "leaves a gap, expected 0"},
      {"empty tensor inside another",
       hand_made("{" + entry("a", "U8", "[8]", "[0,8]") + "," + entry("e", "U8", "[0]", "[4,4]") + "}", eight),
       "overlaps tensor 'a'"},
  };
  for (const Case& c : cases) {
    INFO(c.what);
    const std::string message = parse_error(c.file);
    INFO(message);
    CHECK(message.starts_with("x.safetensors: "));
    CHECK(contains(message, c.expected));
    CHECK(!contains(message, "\n"));
  }
}

TEST_CASE("Every prefix of a good file is refused", "[io]") {
  const std::string file = hand_made("{" + entry("w", "F32", "[2]", "[0,8]") + "}", std::string(8, '\0'));
  for (std::size_t n = 0; n < file.size(); ++n) {
    INFO(n);
    // A copy of its own, so that the sanitizer sees a read past the end.
    const std::string part(file.data(), n);
    CHECK_THROWS_AS(io::parse_safetensors(as_span(part), "x"), InputError);
  }
}

TEST_CASE("A damaged header byte is either refused or harmless", "[io]") {
  const std::string header =
      "{" + entry("a", "BF16", "[2,3]", "[0,12]") + "," + entry("b", "F4", "[8]", "[12,16]") + "}";
  const std::string file = hand_made(header, std::string(16, '\x5A'));
  std::uint32_t state = 1;
  std::size_t refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string broken = file;
    for (int k = 0; k < 2; ++k) {
      state = state * 1664525u + 1013904223u;
      broken[(state >> 8) % (8 + header.size())] = static_cast<char>(state >> 24);
    }
    try {
      for (const io::TensorInfo& info : io::parse_safetensors(as_span(broken), "x").tensors) {
        REQUIRE(static_cast<std::uint64_t>(info.elements()) * static_cast<std::uint64_t>(bit_width(info.dtype)) ==
                info.data.size() * 8);
      }
    } catch (const InputError&) {
      ++refused;
    }
  }
  CHECK(refused > 2000);
}

TEST_CASE("Every dtype and shape survives writing and reading", "[io]") {
  const support::TempDir dir;
  const std::string path = (dir / "all.safetensors").string();
  const std::vector<std::vector<std::int64_t>> shapes = {{}, {8}, {0}, {3, 0, 5}, {1, 1, 1, 1, 1}, {2, 3, 4}, {4, 6}};
  io::SafetensorsWriter writer;
  struct Expected {
    std::string name;
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> data;
  };
  std::vector<Expected> all;
  unsigned next = 0;
  for (const DType dtype : io::detail::all_dtypes) {
    for (const auto& shape : shapes) {
      std::int64_t bits = bit_width(dtype);
      for (const std::int64_t n : shape) bits *= n;
      if (bits % 8 != 0) {
        CHECK_THROWS_AS(writer.add("odd", dtype, shape, {}), InputError);
        continue;
      }
      std::vector<std::byte> data(static_cast<std::size_t>(bits / 8));
      for (std::byte& b : data) b = static_cast<std::byte>(next = next * 5u + 3u);
      all.push_back({std::string(name(dtype)) + "/" + std::to_string(all.size()) + " \"ü\"\n", dtype, shape, data});
    }
  }
  for (const Expected& e : all) writer.add(e.name, e.dtype, e.shape, e.data);
  writer.metadata("key \\", "värde\t\"1\"");
  writer.write(path);

  const io::SafetensorsFile file(path);
  CHECK(file.path() == path);
  CHECK(file.tensors().size() == all.size());
  CHECK(file.metadata() == io::Metadata{{"key \\", "värde\t\"1\""}});
  for (const Expected& e : all) {
    const io::TensorInfo* info = file.find(e.name);
    INFO(e.name);
    REQUIRE(info != nullptr);
    CHECK(info->dtype == e.dtype);
    CHECK(info->shape == e.shape);
    CHECK(std::vector<std::byte>(info->data.begin(), info->data.end()) == e.data);
    const auto address = reinterpret_cast<std::uintptr_t>(info->data.data());
    CHECK(address % static_cast<std::size_t>(std::max(1, bit_width(e.dtype) / 8)) == 0);
  }
  CHECK(file.find("absent") == nullptr);
  CHECK(file.find("") == nullptr);
}

TEST_CASE("The writer's bytes are those of the official writer", "[io]") {
  const std::vector<float> f = {1.0f};
  const std::vector<std::uint8_t> u = {7};
  const std::vector<std::int64_t> i = {-1};
  io::SafetensorsWriter writer;
  writer.add<std::uint8_t>("a", {1}, u);
  writer.add<float>("z", {}, f);
  writer.add<float>("b", {1, 1}, f);
  writer.add_owned("c", DType::I64, {1}, std::vector<std::byte>(8, std::byte{0xFF}));
  writer.metadata("format", "pt");
  writer.metadata("alpha", "8");
  const std::string json = R"({"__metadata__":{"alpha":"8","format":"pt"},)"
                           R"("c":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},)"
                           R"("z":{"dtype":"F32","shape":[],"data_offsets":[12,16]},)"
                           R"("a":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}})";
  const std::size_t padded = (json.size() + 7) / 8 * 8;
  const std::string header = hand_made(json + std::string(padded - json.size(), ' '), "");
  CHECK(writer.header() == header);

  const support::TempDir dir;
  const std::string path = (dir / "w.safetensors").string();
  writer.write(path);
  CHECK(read_text_file(path) == header + bytes_of(i) + bytes_of(f) + bytes_of(f) + "\x07");
  CHECK(list_directory(dir.path().string()) == std::vector<std::string>{"w.safetensors"});
}

TEST_CASE("The header is padded by seven spaces at most", "[io]") {
  for (std::size_t n = 1; n <= 8; ++n) {
    io::SafetensorsWriter writer;
    writer.add_owned(std::string(n, 'n'), DType::U8, {0}, {});
    const std::string header = writer.header();
    CHECK(header.size() % 8 == 0);
    CHECK(header.size() - header.find_last_not_of(' ') <= 8);
  }
}

TEST_CASE("The writer refuses what a reader would", "[io]") {
  const std::vector<float> f = {1.0f, 2.0f};
  const auto add = [&](const std::string& tensor, std::vector<std::int64_t> shape) {
    return message_of<InputError>([&] {
      io::SafetensorsWriter writer;
      writer.add<float>("w", {2}, f);
      writer.add<float>(tensor, shape, f);
      writer.header();
    });
  };
  CHECK(contains(add("w", {2}), "tensor 'w' is added twice"));
  CHECK(contains(add("__metadata__", {2}), "cannot be named __metadata__"));
  CHECK(contains(add("\xC3", {2}), "not UTF-8"));
  CHECK(contains(add("v", {3}), "the data of tensor 'v' is 8 bytes, expected 12 for F32 of shape (3,)"));
  CHECK(contains(add("v", {-2}), "negative extent"));
  CHECK(add("v", {2, 1}) == "(nothing was thrown)");
  io::SafetensorsWriter twice;
  twice.metadata("k", "1");
  twice.metadata("k", "2");
  CHECK(contains(message_of<InputError>([&] { twice.header(); }), "metadata 'k' is added twice"));
  CHECK_THROWS_AS(io::SafetensorsWriter().metadata("k", "\xFF"), InputError);
}

TEST_CASE("A failed write leaves the old file and no other", "[io]") {
  const support::TempDir dir;
  const std::vector<float> f = {1.0f};
  io::SafetensorsWriter writer;
  writer.add<float>("w", {1}, f);
  write_file_atomically((dir / "file").string(), "old");
  const std::string below = (dir / "file").string() + "/w.safetensors";
  CHECK(contains(message_of<InputError>([&] { writer.write(below); }), "w.safetensors: cannot be written: "));
  CHECK_THROWS_AS(writer.write((dir / "missing").string() + "/w.safetensors"), InputError);
  writer.add<float>("w", {1}, f);
  CHECK_THROWS_AS(writer.write((dir / "file").string()), InputError);
  CHECK(read_text_file((dir / "file").string()) == "old");
  CHECK(list_directory(dir.path().string()) == std::vector<std::string>{"file"});
}

namespace {

template <class From>
io::TensorInfo tensor_of(const std::vector<From>& values) {
  return {"t", dtype_of<From>, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

}  // namespace

TEMPLATE_TEST_CASE("Small whole numbers convert between all types", "[io]", std::int8_t, std::uint8_t, std::int16_t,
                   std::uint16_t, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, float16, bfloat16, float,
                   double) {
  std::vector<TestType> values;
  for (int v = 0; v < 100; ++v) values.push_back(cast<TestType>(v));
  // One byte off, so that no element is aligned.
  std::string shifted = "x" + bytes_of(values);
  io::TensorInfo info = tensor_of(values);
  info.data = as_span(shifted).subspan(1);
  const auto check = [&](const auto& read) {
    REQUIRE(read.size() == 100);
    for (int v = 0; v < 100; ++v) CHECK(cast<double>(read[static_cast<std::size_t>(v)]) == v);
  };
  check(io::read_vector<float>(info));
  check(io::read_vector<double>(info));
  check(io::read_vector<float16>(info));
  check(io::read_vector<bfloat16>(info));
  check(io::read_vector<std::int32_t>(info));
  check(io::read_vector<std::int64_t>(info));
  check(io::read_vector<std::uint8_t>(info));
}

TEST_CASE("Reading rounds floats and refuses integers that do not fit", "[io]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto floats = [](const std::vector<double>& v) { return io::read_vector<float>(tensor_of(v)); };
  CHECK(floats({0.1, -1e300}) == std::vector<float>{0.1f, -std::numeric_limits<float>::infinity()});
  CHECK(std::isnan(floats({std::nan("")})[0]));
  CHECK(io::read_vector<bfloat16>(tensor_of<float>({1.00390625f, 3.0f}))[0].bits == 0x3F80);  // ties to even
  CHECK(io::read_vector<float16>(tensor_of<float>({65520.0f}))[0].bits == 0x7C00);

  const auto refused = [](const auto& values, auto target) {
    using To = decltype(target);
    const std::string message = message_of<InputError>([&] { io::read_vector<To>(tensor_of(values)); });
    return contains(message, "tensor 't': element 1 (") && contains(message, "without loss");
  };
  CHECK(refused(std::vector<double>{1, 0.5}, std::int32_t{}));
  CHECK(refused(std::vector<double>{1, infinity}, std::int64_t{}));
  CHECK(refused(std::vector<double>{1, std::nan("")}, std::int32_t{}));
  CHECK(refused(std::vector<double>{1, 9223372036854775808.0}, std::int64_t{}));
  CHECK(refused(std::vector<float>{1, 2147483648.0f}, std::int32_t{}));
  CHECK(refused(std::vector<float>{1, -1.0f}, std::uint8_t{}));
  CHECK(refused(std::vector<std::int16_t>{1, 256}, std::uint8_t{}));
  CHECK(refused(std::vector<std::uint64_t>{1, ~std::uint64_t{0}}, std::int64_t{}));
  CHECK(io::read_vector<std::int64_t>(tensor_of<double>({-9223372036854775808.0}))[0] ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(io::read_vector<std::int32_t>(tensor_of<double>({-2147483648.0, 2147483647.0}))[1] == 2147483647);
}

TEST_CASE("Reading a mapped tensor keeps none of the file resident", "[io]") {
  const auto resident_of_files = [] {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word)
      if (long long kib = 0; word == "RssFile:" && status >> kib) return kib * 1024;
    return -1LL;
  };
  if (resident_of_files() < 0) return;  // not Linux
  std::vector<float> values(std::size_t{8} << 20);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const support::TempDir dir;
  const std::string path = (dir / "big.safetensors").string();
  io::SafetensorsWriter writer;
  writer.add("a", DType::F32, {std::int64_t{8} << 20}, std::as_bytes(std::span(values)));
  writer.add("b", DType::U8, {3}, std::as_bytes(std::span("xyz", 3)));  // pieces begin at odd places
  writer.write(path);
  const io::SafetensorsFile file(path);
  const io::TensorInfo& info = *file.find("a");
  std::vector<float> same(values.size());
  std::vector<double> other(values.size());
  const long long before = resident_of_files();
  // Twice: what was let go is read again.
  for (int round = 0; round < 2; ++round) {
    io::read_as<float>(info, same);
    CHECK(same == values);
    io::read_as<double>(info, other);
    CHECK(std::equal(values.begin(), values.end(), other.begin()));
    CHECK(resident_of_files() - before < 8'000'000);
  }
  CHECK(io::read_vector<std::uint8_t>(*file.find("b")) == std::vector<std::uint8_t>{'x', 'y', 'z'});
}

TEST_CASE("Booleans are read as 0 and 1", "[io]") {
  const std::string data("\x00\x01\x02\xFF", 4);
  const io::TensorInfo info{"mask", DType::Bool, {4}, as_span(data)};
  CHECK(io::read_vector<float>(info) == std::vector<float>{0, 1, 1, 1});
  CHECK(io::read_vector<std::uint8_t>(info) == std::vector<std::uint8_t>{0, 1, 1, 1});
}

TEST_CASE("Types without a conversion and wrong sizes are refused by name", "[io]") {
  const std::string data(8, '\0');
  const io::TensorInfo packed{"w", DType::F8_E4M3, {8}, as_span(data)};
  CHECK(message_of<InputError>([&] { io::read_vector<float>(packed); }) ==
        "tensor 'w': its dtype is F8_E4M3, expected one that converts to F32");
  const io::TensorInfo pair{"w", DType::F32, {2}, as_span(data)};
  std::vector<float> three(3);
  CHECK(message_of<InputError>([&] { io::read_as<float>(pair, three); }) ==
        "tensor 'w': its shape (2,) is 2 elements, expected 3");
}
