// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A small JSON value for configurations, metrics and file headers. The parser itself is compiled once a program, in
// the .cpp that includes "segue/io/impl.hpp"; a program without it fails to link and the linker names `parse_json`.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

namespace detail {
class JsonBuilder;
template <class T>
struct JsonVector : std::false_type {};
template <class T>
struct JsonVector<std::vector<T>> : std::true_type {};
}  // namespace detail

/// A JSON value: null, boolean, integer (int64), real (double), string, array or object. Objects keep the order in
/// which their keys came; looking a key up is linear, so walk `keys()` and `items()` of large tables.
class Json {
 public:
  enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : kind_(Kind::boolean), integer_(value ? 1 : 0) {}
  /// Raises InputError for an unsigned value that int64 cannot hold.
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Json(T value) : kind_(Kind::integer), integer_(static_cast<std::int64_t>(value)) {
    if (!std::in_range<std::int64_t>(value)) throw_input("JSON", "integer", std::to_string(value), "at most 2^63 - 1");
  }
  template <std::floating_point T>
  Json(T value) : kind_(Kind::real), real_(static_cast<double>(value)) {}
  Json(std::string value) : kind_(Kind::string), text_(std::move(value)) {}
  Json(std::string_view value) : kind_(Kind::string), text_(value) {}
  Json(const char* value) : kind_(Kind::string), text_(value) {}
  template <class T>
  Json(const std::vector<T>& values) : kind_(Kind::array) {
    items_.reserve(values.size());
    for (const auto& value : values) items_.emplace_back(T(value));
  }

  static Json array() {
    Json json;
    json.kind_ = Kind::array;
    return json;
  }
  static Json object() {
    Json json;
    json.kind_ = Kind::object;
    return json;
  }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  bool is_number() const { return kind_ == Kind::integer || kind_ == Kind::real; }

  /// Number of elements of an array or an object; 0 for the rest.
  std::size_t size() const { return items_.size(); }
  /// The elements of an array, or the values of an object in the order of `keys()`.
  const std::vector<Json>& items() const { return items_; }
  /// The keys of an object in the order in which they came; empty for the rest.
  const std::vector<std::string>& keys() const { return keys_; }

  /// Appends to an array; a null becomes an array first.
  Json& push_back(Json value) {
    if (is_null()) kind_ = Kind::array;
    if (!is_array()) throw_input("JSON", "the target of push_back", describe(), "an array");
    return items_.emplace_back(std::move(value));
  }
  /// The value of a key, made (as null) when it is missing; a null becomes an object first.
  Json& operator[](std::string_view key) {
    if (is_null()) kind_ = Kind::object;
    if (!is_object()) throw_input("JSON", "the owner of key " + in_quotes(key), describe(), "an object");
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i] == key) return items_[i];
    }
    keys_.emplace_back(key);
    return items_.emplace_back();
  }

  /// The value of a key, or nullptr where there is none.
  const Json* find(std::string_view key) const {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i] == key) return &items_[i];
    }
    return nullptr;
  }
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// The value of a key. Raises InputError that begins with `where` (a file name) if this is no object or has no such
  /// key; the sentence proposes the nearest key that is there.
  const Json& at(std::string_view key, std::string_view where) const {
    if (!is_object()) throw_input(where, "the owner of key " + in_quotes(key), describe(), "an object");
    if (const Json* value = find(key)) return *value;
    throw_input(where, "key " + in_quotes(key) + " is missing" + did_you_mean(key, keys_));
  }

  /// The value as a `T`: bool, an integer type (range-checked), float or double (integers are accepted), std::string,
  /// Json, or a std::vector of these. Raises InputError "<where>: <what> is <found>, expected <expected>".
  template <class T>
  T as(std::string_view where, std::string_view what = "the value") const {
    if constexpr (std::same_as<T, Json>) {
      return *this;
    } else if constexpr (std::same_as<T, bool>) {
      expect(kind_ == Kind::boolean, where, what, "true or false");
      return integer_ != 0;
    } else if constexpr (std::integral<T>) {
      expect(kind_ == Kind::integer, where, what, "an integer");
      if (!std::in_range<T>(integer_)) {
        throw_input(where, what, describe(),
                    "an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                        std::to_string(std::numeric_limits<T>::max()));
      }
      return static_cast<T>(integer_);
    } else if constexpr (std::floating_point<T>) {
      expect(is_number(), where, what, "a number");
      return static_cast<T>(kind_ == Kind::integer ? static_cast<double>(integer_) : real_);
    } else if constexpr (std::same_as<T, std::string>) {
      expect(is_string(), where, what, "a string");
      return text_;
    } else {
      static_assert(detail::JsonVector<T>::value,
                    "Json::as<T>: T must be bool, an integer, float, double, std::string, Json, or a vector of these");
      expect(is_array(), where, what, "an array");
      T values;
      values.reserve(items_.size());
      for (std::size_t i = 0; i < items_.size(); ++i) {
        values.push_back(
            items_[i].as<typename T::value_type>(where, "element " + std::to_string(i) + " of " + std::string(what)));
      }
      return values;
    }
  }

  /// The value of a key as a `T` (see `as`); a missing key is an error.
  template <class T>
  T get(std::string_view key, std::string_view where) const {
    return at(key, where).as<T>(where, "key " + in_quotes(key));
  }
  /// The value of a key as a `T`, or `fallback` where the key is missing or null. A wrong kind is still an error.
  template <class T>
  T get_or(std::string_view key, T fallback, std::string_view where) const {
    if (!is_object()) throw_input(where, "the owner of key " + in_quotes(key), describe(), "an object");
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return fallback;
    return value->as<T>(where, "key " + in_quotes(key));
  }

  /// Raises InputError when the object has a key that is not in `known` (any range of strings).
  template <class Names>
  void allow_only(const Names& known, std::string_view where) const {
    for (const std::string& key : keys_) {
      bool found = false;
      for (const auto& name : known) found = found || key == name;
      if (!found) throw_input(where, "key " + in_quotes(key) + " is not known" + did_you_mean(key, known));
    }
  }

  /// What this value is, for a sentence: `the string 'abc'`, `the number 3`, `an array of 4`.
  std::string describe() const {
    switch (kind_) {
      case Kind::null: return "null";
      case Kind::boolean: return integer_ != 0 ? "true" : "false";
      case Kind::integer: return "the number " + std::to_string(integer_);
      case Kind::real: return "the number " + std::to_string(real_);
      case Kind::string: return "the string " + in_quotes(text_);
      case Kind::array: return "an array of " + std::to_string(items_.size());
      case Kind::object: return "an object";
    }
    return "?";
  }

  bool operator==(const Json&) const = default;

 private:
  // The parser appends without the search that operator[] does: it has checked the keys already.
  friend class detail::JsonBuilder;

  void expect(bool holds, std::string_view where, std::string_view what, std::string_view expected) const {
    if (!holds) throw_input(where, what, describe(), expected);
  }

  // Plain members, not a std::variant: the values are few, and every header that reads a configuration includes this.
  Kind kind_ = Kind::null;
  std::int64_t integer_ = 0;
  double real_ = 0;
  std::string text_;
  std::vector<std::string> keys_;
  std::vector<Json> items_;
};

/// Parses one JSON document (RFC 8259, no comments). Raises InputError that begins with `where` and gives the byte
/// position: for a syntax error, text that is not UTF-8, a key given twice, nesting deeper than 64, an integer outside
/// int64, a number of more than 64 characters, more than 2^21 values, or anything after the document.
Json parse_json(std::string_view text, std::string_view where);

/// Writes a document; `indent` < 0 gives one line without spaces. Reals are printed with the fewest digits that read
/// back the same and always look like reals ("1.0"); NaN and infinities become null; bytes that are not UTF-8 become
/// U+FFFD. The result depends on nothing but the value.
std::string dump_json(const Json& json, int indent = 2);

/// True if `text` is valid UTF-8 (RFC 3629).
bool is_utf8(std::string_view text);

}  // namespace io
SEGUE_NAMESPACE_END
