// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "segue/core/exec.hpp"
#include "segue/io/read_as.hpp"
#include "segue/io/safetensors.hpp"

SEGUE_NAMESPACE_BEGIN
namespace testing {

/// A safetensors file of recorded cases: tensors are called `<case>.<tensor>`, and the metadata key `<case>` holds the
/// case's parameters as JSON. Tensors come as copies in the memory of an Exec, converted to the asked element type.
/// All members throw InputError, naming the file, for what is not there or does not fit.
class Golden {
 public:
  explicit Golden(std::string path) : file_(std::move(path)) {}

  const std::string& path() const { return file_.path(); }
  const std::vector<io::TensorInfo>& tensors() const { return file_.tensors(); }
  bool contains(std::string_view name) const { return file_.find(name) != nullptr; }

  /// The tensors whose names start with `prefix`, by name without the prefix.
  std::vector<std::string> names(std::string_view prefix = {}) const {
    std::vector<std::string> found;
    for (const io::TensorInfo& info : file_.tensors())
      if (info.name.starts_with(prefix)) found.push_back(info.name.substr(prefix.size()));
    return found;
  }

  const io::TensorInfo& info(std::string_view name) const {
    if (const io::TensorInfo* found = file_.find(name)) return *found;
    throw_input(path(), "tensor '" + std::string(name) + "' is missing" + did_you_mean(name, names()));
  }

  /// Parameters of a case.
  io::Json parameters(std::string_view case_name) const {
    const std::string* text = io::find_metadata(file_.metadata(), case_name);
    if (!text) throw_input(path(), "case '" + std::string(case_name) + "' is missing");
    return io::parse_json(*text, path());
  }

  /// A tensor of this rank; a scalar is read as one element of rank 1.
  template <class T, int Rank, class Device>
  Tensor<T, Rank, typename Device::Space> tensor(Exec<Device>& exec, std::string_view name) const {
    const io::TensorInfo& found = info(name);
    Shape<Rank> shape;
    shape.fill(1);
    const bool scalar = found.shape.empty() && Rank == 1;
    if (!scalar && found.shape.size() != static_cast<std::size_t>(Rank))
      throw_input(path(), "the rank of tensor '" + std::string(name) + "'", std::to_string(found.shape.size()),
                  std::to_string(Rank));
    for (std::size_t i = 0; i < found.shape.size(); ++i) shape[i] = found.shape[i];
    return tensor<T, Rank>(exec, name, shape);
  }
  /// The same elements under other extents.
  template <class T, int Rank, class Device>
  Tensor<T, Rank, typename Device::Space> tensor(Exec<Device>& exec, std::string_view name,
                                                 const Shape<Rank>& shape) const {
    auto out = exec.template empty<T, Rank>(shape);
    std::vector<T> host(static_cast<std::size_t>(out.size()));
    io::read_as<T>(info(name), std::span<T>(host));
    exec.upload(host.data(), out.view());
    return out;
  }

  /// All elements in row-major order.
  std::vector<double> values(std::string_view name) const { return io::read_vector<double>(info(name)); }
  /// The only element.
  double value(std::string_view name) const {
    const auto all = values(name);
    if (all.size() != 1)
      throw_input(path(), "tensor '" + std::string(name) + "'", std::to_string(all.size()) + " numbers", "one");
    return all[0];
  }

 private:
  io::SafetensorsFile file_;
};

namespace detail {

/// Calls f(a element, b element) over all elements, in double.
template <class TA, class TB, int Rank, class F>
void for_each_pair(const View<TA, Rank, HostSpace>& a, const View<TB, Rank, HostSpace>& b, F&& f) {
  if (a.shape() != b.shape())
    throw_input("relative_error", "shape of a", shape_string(a.shape()), shape_string(b.shape()));
  if (a.empty()) return;
  Shape<Rank> index{};
  for (;;) {
    std::int64_t ia = 0, ib = 0;
    for (int i = 0; i < Rank; ++i) {
      ia += index[static_cast<std::size_t>(i)] * a.stride(i);
      ib += index[static_cast<std::size_t>(i)] * b.stride(i);
    }
    f(cast<double>(a.data_handle()[ia]), cast<double>(b.data_handle()[ib]));
    int axis = Rank - 1;
    while (axis >= 0 && ++index[static_cast<std::size_t>(axis)] == a.extent(axis))
      index[static_cast<std::size_t>(axis--)] = 0;
    if (axis < 0) return;
  }
}

}  // namespace detail

/// ‖a − b‖ / ‖b‖ in the Euclidean norm, in double; ‖a‖ where b is zero; NaN if either holds one. Views or Tensors in
/// host memory of one shape, any element types and strides.
template <class A, class B>
double relative_error(const A& a, const B& b) {
  using VA = View<const typename A::value_type, A::rank(), HostSpace>;
  using VB = View<const typename B::value_type, B::rank(), HostSpace>;
  double difference = 0, norm = 0;
  detail::for_each_pair(VA(a), VB(b), [&](double x, double y) {
    difference += (x - y) * (x - y);
    norm += y * y;
  });
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}
/// The same of numbers in a row.
template <class T>
double relative_error(const std::vector<T>& a, const std::vector<T>& b) {
  const auto view = [](const std::vector<T>& x) {
    return View<const T, 1, HostSpace>(x.data(), {static_cast<std::int64_t>(x.size())});
  };
  return relative_error(view(a), view(b));
}

}  // namespace testing
SEGUE_NAMESPACE_END
