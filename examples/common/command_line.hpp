// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"

namespace example {

/// @throws segue::InputError unless `text` is a number in [low, high].
template <class T>
T parse_number(const std::string& name, const std::string& text, T low, T high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= low && value <= high)) {
    segue::throw_input(name, "its value", segue::in_quotes(text),
                       "a number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

/// A table of options that fill the members of a struct `O`; `--name value` and `--name=value` both do.
template <class O>
class CommandLine {
 public:
  using Setter = std::function<void(O&, const std::string& name, const std::string& value)>;

  /// @param value its placeholder in the help.
  CommandLine& custom(std::string name, std::string value, std::string help, Setter set) {
    table_.push_back({std::move(name), std::move(value), std::move(help), std::move(set)});
    return *this;
  }
  CommandLine& text(std::string name, std::string value, std::string help, std::string O::*member) {
    return custom(std::move(name), std::move(value), std::move(help),
                  [=](O& o, const std::string& option, const std::string& given) {
                    if (given.empty()) segue::throw_input(option, "its value is empty");
                    o.*member = given;
                  });
  }
  template <class T>
  CommandLine& number(std::string name, std::string value, std::string help, T O::*member, std::type_identity_t<T> low,
                      std::type_identity_t<T> high) {
    return custom(std::move(name), std::move(value), std::move(help),
                  [=](O& o, const std::string& option, const std::string& given) {
                    o.*member = parse_number<T>(option, given, low, high);
                  });
  }
  CommandLine& flag(std::string name, std::string help, bool O::*member) {
    return custom(std::move(name), "", std::move(help),
                  [=](O& o, const std::string&, const std::string&) { o.*member = true; });
  }

  /// @throws segue::InputError for an unknown option (with the nearest known one), a missing or malformed value.
  O parse(int argc, char** argv) const {
    O options;
    std::vector<std::string> names;
    for (const Option& option : table_) names.push_back(option.name);
    for (int i = 1; i < argc; ++i) {
      std::string name = argv[i], value;
      const std::size_t equals = name.find('=');
      const bool inline_value = name.starts_with("--") && equals != std::string::npos;
      if (inline_value) {
        value = name.substr(equals + 1);
        name.resize(equals);
      }
      const auto found = std::find_if(table_.begin(), table_.end(), [&](const Option& o) { return o.name == name; });
      if (found == table_.end()) {
        segue::throw_input("command line", "'" + name + "' is no option" + segue::did_you_mean(name, names));
      }
      if (found->value.empty() && inline_value) segue::throw_input(name, "takes no value");
      if (!found->value.empty() && !inline_value) {
        if (i + 1 >= argc) segue::throw_input(name, "needs a value: " + name + " " + found->value);
        value = argv[++i];
      }
      found->set(options, name, value);
    }
    return options;
  }

  /// One line an option.
  std::string help() const {
    std::string text;
    for (const Option& option : table_) {
      std::string left = "  " + option.name + (option.value.empty() ? "" : " " + option.value);
      left.resize(std::max<std::size_t>(left.size() + 2, 26), ' ');
      text += left + option.help + "\n";
    }
    return text;
  }

 private:
  struct Option {
    std::string name;
    std::string value;
    std::string help;
    Setter set;
  };
  std::vector<Option> table_;
};

/// "a,b" -> {"a", "b"}; empty parts are left out.
inline std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace example
