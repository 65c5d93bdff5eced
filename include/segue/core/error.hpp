// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// Base of everything the library throws. `what()` is one sentence.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a caller or a file handed over is wrong: a shape, an option, a corrupt file. Programs exit with 2.
class InputError : public Error {
 public:
  using Error::Error;
};

/// The pool's upstream allocator could not serve a request.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// The caller asked to stop (Ctrl-C); state was saved first. Programs exit with 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// Throws `InputError("<where>: <what> is <found>, expected <expected>")`.
/// @param where the operator or file, @param what the argument or field.
[[noreturn]] inline void throw_input(std::string_view where, std::string_view what, std::string_view found,
                                     std::string_view expected) {
  std::string message;
  message.reserve(where.size() + what.size() + found.size() + expected.size() + 20);
  message.append(where).append(": ").append(what).append(" is ").append(found).append(", expected ").append(expected);
  throw InputError(message);
}

/// Throws `InputError("<where>: <sentence>")`.
[[noreturn]] inline void throw_input(std::string_view where, std::string_view sentence) {
  std::string message(where);
  message.append(": ").append(sentence);
  throw InputError(message);
}

SEGUE_NAMESPACE_END
