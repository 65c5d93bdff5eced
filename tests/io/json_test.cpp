// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/io/json.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "segue/io/base64.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using io::Json;
using io::parse_json;
using support::contains;
using support::message_of;

namespace {

std::string error_of(const std::string& text) {
  return message_of<InputError>([&] { parse_json(text, "c.json"); });
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("JSON documents are read with kinds and order", "[io]") {
  const Json json = parse_json(
      R"({"b": -3, "a": [true, null, 1.5, "x\u00e9\n\ud83d\ude00"], "n": {"k": 1e3}, "": 9223372036854775807})",
      "c.json");
  CHECK(json.keys() == std::vector<std::string>{"b", "a", "n", ""});
  CHECK(json.get<int>("b", "c.json") == -3);
  CHECK(json.get<double>("b", "c.json") == -3.0);
  const Json& a = json.at("a", "c.json");
  REQUIRE(a.size() == 4);
  CHECK(a.items()[0].as<bool>("c.json"));
  CHECK(a.items()[1].is_null());
  CHECK(a.items()[2].as<float>("c.json") == 1.5f);
  CHECK(a.items()[3].as<std::string>("c.json") == "xé\n😀");
  CHECK(json.at("n", "c.json").get<double>("k", "c.json") == 1000.0);
  CHECK(json.at("n", "c.json").at("k", "c.json").kind() == Json::Kind::real);
  CHECK(json.get<std::int64_t>("", "c.json") == std::numeric_limits<std::int64_t>::max());
  CHECK(json.find("c") == nullptr);
  CHECK(json.contains("n"));
  CHECK(parse_json("[1, 2, 2]", "x").as<std::vector<int>>("x") == std::vector<int>{1, 2, 2});
  CHECK(parse_json(" 7 ", "x").as<int>("x") == 7);
}

TEST_CASE("Bad JSON is refused with the byte where it broke", "[io]") {
  CHECK(contains(error_of("{\"a\": tru}"), "c.json: not valid JSON at byte 10: syntax error"));
  CHECK(contains(error_of("[1, 2"), "c.json: not valid JSON at byte 6: "));
  CHECK(contains(error_of(""), "c.json: not valid JSON at byte 1: "));
  CHECK(contains(error_of("[1] x"), "not valid JSON at byte 5: "));
  CHECK(contains(error_of("[1,]"), "not valid JSON"));
  CHECK(contains(error_of("[01]"), "not valid JSON"));
  CHECK(contains(error_of("[NaN]"), "not valid JSON"));
  CHECK(contains(error_of("{a: 1}"), "not valid JSON"));
  CHECK(contains(error_of("[1] // no"), "not valid JSON"));
  CHECK(contains(error_of("\"\xC3\x28\""), "not valid JSON"));
  CHECK(contains(error_of("\"\\ud800\""), "not valid JSON"));
  CHECK(contains(error_of("\"a\nb\""), "not valid JSON"));
  CHECK(contains(error_of("1e999"), "c.json: not valid JSON"));
  CHECK(error_of(R"({"k": 1, "k": 2})") == "c.json: not acceptable JSON at byte 12: key 'k' is given twice");
  CHECK(contains(error_of(R"([{"o": {"k": 1, "k": 2}}])"), "key 'k' is given twice"));
  CHECK(error_of(R"([{"k": 1}, {"k": {"k": 2}}])") == "(nothing was thrown)");
  CHECK(error_of(nested(64)) == "(nothing was thrown)");
  CHECK(contains(error_of(nested(65)), "c.json: not acceptable JSON at byte 65: nesting is deeper than 64"));
  CHECK(contains(error_of(std::string(1'000'000, '[')), "nesting is deeper than 64"));
  CHECK(contains(error_of("9223372036854775808"), "the integer 9223372036854775808 exceeds 64 signed bits"));
  CHECK(error_of("-9223372036854775808") == "(nothing was thrown)");
  CHECK(contains(error_of("-9223372036854775809"), "the integer -9223372036854775809 exceeds 64 signed bits"));
  CHECK(contains(error_of("123456789012345678901234567890"), "exceeds 64 signed bits"));
  CHECK(contains(error_of("0." + std::string(100, '1')), "a number has 102 characters"));
  const std::string long_error = error_of("[" + std::string(100'000, 'x') + "]");
  CHECK(contains(long_error, "not valid JSON at byte 2"));
  CHECK(long_error.size() < 400);
}

TEST_CASE("A document with too many values is refused before it fills the memory", "[io]") {
  std::string text = "[0";
  for (int i = 0; i < (1 << 21); ++i) text += ",0";
  CHECK(contains(error_of(text + "]"), "more than 2097152 values"));
}

TEST_CASE("Getters name the key, what was found and what was expected", "[io]") {
  const Json json =
      parse_json(R"({"layers": "40", "eps": 1e-6, "list": [1, "b"], "heads": 300, "off": null})", "c.json");
  const auto error = [&](const auto& call) { return message_of<InputError>(call); };
  CHECK(error([&] { json.get<int>("layers", "c.json"); }) ==
        "c.json: key 'layers' is the string '40', expected an integer");
  CHECK(error([&] { json.get<std::int64_t>("eps", "c.json"); }) ==
        "c.json: key 'eps' is the number 0.000001, expected an integer");
  CHECK(error([&] { json.get<std::uint8_t>("heads", "c.json"); }) ==
        "c.json: key 'heads' is the number 300, expected an integer from 0 to 255");
  CHECK(error([&] { json.get<bool>("heads", "c.json"); }) ==
        "c.json: key 'heads' is the number 300, expected true or false");
  CHECK(error([&] { json.get<double>("list", "c.json"); }) == "c.json: key 'list' is an array of 2, expected a number");
  CHECK(error([&] { json.get<std::vector<int>>("list", "c.json"); }) ==
        "c.json: element 1 of key 'list' is the string 'b', expected an integer");
  CHECK(error([&] { json.get<std::string>("off", "c.json"); }) == "c.json: key 'off' is null, expected a string");
  CHECK(error([&] { json.get<int>("layer", "c.json"); }) == "c.json: key 'layer' is missing, did you mean 'layers'?");
  CHECK(error([&] { json.get<int>("patch_size", "c.json"); }) == "c.json: key 'patch_size' is missing");
  CHECK(error([&] { json.at("list", "c.json").get<int>("x", "c.json"); }) ==
        "c.json: the owner of key 'x' is an array of 2, expected an object");
  CHECK(json.get_or<int>("heads", 1, "c.json") == 300);
  CHECK(json.get_or<int>("off", 4, "c.json") == 4);
  CHECK(json.get_or<int>("absent", 5, "c.json") == 5);
  CHECK_THROWS_AS(json.get_or<int>("layers", 1, "c.json"), InputError);
  const std::vector<std::string> known = {"layers", "eps", "list", "head", "off"};
  CHECK(error([&] { json.allow_only(known, "c.json"); }) == "c.json: key 'heads' is not known, did you mean 'head'?");
}

TEST_CASE("JSON is written so that it reads back the same", "[io]") {
  Json json = Json::object();
  json["text"] = "quote \" back \\ tab \t bell \x07 del \x7F é 😀 / </script>";
  json["reals"] = std::vector<double>{0.1, 1.0, -0.0, 1e300, 5e-324, 3.0e-5, 123456789.0};
  json["floats"] = std::vector<float>{0.5f};
  json["ints"].push_back(std::numeric_limits<std::int64_t>::min());
  json["ints"].push_back(7u);
  json["empty"] = Json::array();
  json["none"] = nullptr;
  json["yes"] = true;
  json["inner"]["x"] = Json::object();
  json["text"] = json["text"];  // an existing key is found, not made anew
  for (const int indent : {-1, 0, 2, 4}) CHECK(parse_json(io::dump_json(json, indent), "x") == json);
  CHECK(json.size() == 8);
  CHECK(std::signbit(parse_json(io::dump_json(json), "x").at("reals", "x").items()[2].as<double>("x")));
  CHECK(io::dump_json(json, -1) ==
        "{\"text\":\"quote \\\" back \\\\ tab \\t bell \\u0007 del \x7F é 😀 / </script>\","
        "\"reals\":[0.1,1.0,-0.0,1e+300,5e-324,3e-05,123456789.0],\"floats\":[0.5],"
        "\"ints\":[-9223372036854775808,7],\"empty\":[],\"none\":null,\"yes\":true,\"inner\":{\"x\":{}}}");
  Json small;
  small["a"].push_back(1);
  small["b"] = "x";
  CHECK(io::dump_json(small) == "{\n  \"a\": [\n    1\n  ],\n  \"b\": \"x\"\n}");
}

TEST_CASE("What JSON cannot say is written as what it can", "[io]") {
  CHECK(io::dump_json(Json(std::nan(""))) == "null");
  CHECK(io::dump_json(Json(std::numeric_limits<float>::infinity())) == "null");
  CHECK(io::dump_json(Json("a\xFF"
                           "b\xC3"),
                      -1) ==
        "\"a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD\"");
  CHECK(io::dump_json(Json(std::string("\0", 1)), -1) == "\"\\u0000\"");
  CHECK_THROWS_AS(Json(~std::uint64_t{0}), InputError);
  CHECK_THROWS_AS(Json(1)["key"], InputError);
  CHECK_THROWS_AS(Json::object().push_back(1), InputError);
}

TEST_CASE("UTF-8 is checked to the letter", "[io]") {
  for (const std::string good : {"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                                 "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(io::is_utf8(good));
    CHECK(parse_json("\"" + good + "\"", "x").as<std::string>("x") == good);
  }
  for (const std::string bad : {"\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE1\x80",
                                "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "a\xC2z"}) {
    CHECK(!io::is_utf8(bad));
    CHECK_THROWS_AS(parse_json("\"" + bad + "\"", "x"), InputError);
  }
}

TEST_CASE("Base64 has the vectors of RFC 4648", "[io]") {
  const auto encode = [](const std::string& text) {
    return io::base64_encode(std::vector<std::uint8_t>(text.begin(), text.end()));
  };
  CHECK(encode("").empty());
  CHECK(encode("f") == "Zg==");
  CHECK(encode("fo") == "Zm8=");
  CHECK(encode("foo") == "Zm9v");
  CHECK(encode("foobar") == "Zm9vYmFy");
  CHECK(encode("\xFF\xFE\xFB") == "//77");
}
