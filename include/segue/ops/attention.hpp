// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/cost.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct AttentionForward;
struct AttentionBackward;
}  // namespace op

namespace ops {

/// Extents of an attention: B samples, `queries` and `keys` tokens, H heads of D channels.
struct AttentionShape {
  std::int64_t batch = 0, queries = 0, keys = 0, heads = 0, head_dim = 0;
};

/// Two products; the exponentials are not counted.
template <class T>
constexpr Cost attention_forward_cost(const AttentionShape& s) {
  const double pairs = static_cast<double>(s.batch * s.heads) * static_cast<double>(s.queries * s.keys);
  const double rows = static_cast<double>(s.batch * s.heads) * static_cast<double>(2 * s.queries + 2 * s.keys);
  return {4 * pairs * static_cast<double>(s.head_dim), rows * static_cast<double>(s.head_dim) * sizeof(T)};
}
/// Five products.
template <class T>
constexpr Cost attention_backward_cost(const AttentionShape& s) {
  const double pairs = static_cast<double>(s.batch * s.heads) * static_cast<double>(s.queries * s.keys);
  const double rows = static_cast<double>(s.batch * s.heads) * static_cast<double>(4 * s.queries + 4 * s.keys);
  return {10 * pairs * static_cast<double>(s.head_dim), rows * static_cast<double>(s.head_dim) * sizeof(T)};
}

template <class T, class Device>
std::size_t attention_forward_workspace_bytes(const Exec<Device>& exec, const AttentionShape& shape) {
  return Kernel<op::AttentionForward, Device>::template workspace_bytes<T>(exec, shape);
}
template <class T, class Device>
std::size_t attention_backward_workspace_bytes(const Exec<Device>& exec, const AttentionShape& shape) {
  return Kernel<op::AttentionBackward, Device>::template workspace_bytes<T>(exec, shape);
}

}  // namespace ops

namespace detail {

template <class T, class Space>
void check_attention(std::string_view op, const ops::AttentionShape& s, const View<const T, 4, Space>& q,
                     const View<const T, 4, Space>& k, const View<const T, 4, Space>& v,
                     const View<const std::uint8_t, 2, Space>& key_mask) {
  static_assert(is_floating<T>, "attention(exec, ...): elements must be float, double, bfloat16 or float16");
  check_shape(op, "q", q, {s.batch, s.queries, s.heads, s.head_dim});
  check_shape(op, "k", k, {s.batch, s.keys, s.heads, s.head_dim});
  check_shape(op, "v", v, {s.batch, s.keys, s.heads, s.head_dim});
  if (key_mask.data_handle()) check_shape(op, "key_mask", key_mask, {s.batch, s.keys});
}

}  // namespace detail

namespace ops {

/// out = softmax(scale · q · kᵀ) · v for every sample and head, over the keys whose mask is not 0.
///
/// Shapes: q, out (B, Tq, H, D); k, v (B, Tk, H, D); key_mask (B, Tk) or `{}`: 0 hides a key; lse (B, H, Tq) or `{}`
/// receives log Σ exp(scale · q · k), which the backward needs. The last axis is contiguous, other strides are free
/// (slices of a fused projection, heads in any place).
/// A query that sees no key gives out = 0 and lse = -inf.
/// Dtypes: one element type, softmax and sums in `Accum`; probabilities of 16-bit elements may be rounded to that type
/// before they are multiplied, and gradients of scores likewise. Aliasing: out overlaps nothing else.
/// The score matrix is never stored; keys are visited in blocks with a running maximum (Milakov & Gimelshein,
/// arXiv:1805.02867; Dao et al., arXiv:2205.14135).
/// Determinism: a query's bits depend on its row of q and its sample's keys; not on threads, batch or other queries.
/// Scratch: `attention_forward_workspace_bytes` bytes.
/// @throws InputError if shapes do not match or the scratch is too small.
template <class Device, class Out, class T = typename Out::value_type>
void attention_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 4, typename Device::Space> q,
                       View<const std::type_identity_t<T>, 4, typename Device::Space> k,
                       View<const std::type_identity_t<T>, 4, typename Device::Space> v,
                       View<const std::uint8_t, 2, typename Device::Space> key_mask, float scale, const Out& out,
                       View<Accum<T>, 3, typename Device::Space> lse,
                       View<std::byte, 1, typename Device::Space> scratch) {
  const View<T, 4, typename Device::Space> outv = out;
  const AttentionShape s{q.extent(0), q.extent(1), k.extent(1), q.extent(2), q.extent(3)};
  detail::check_attention<T>("attention_forward", s, q, k, v, key_mask);
  detail::check_shape("attention_forward", "out", outv, q.shape());
  if (lse.data_handle()) detail::check_shape("attention_forward", "lse", lse, {s.batch, s.heads, s.queries});
  detail::check_scratch("attention_forward", scratch, attention_forward_workspace_bytes<T>(exec, s));
  if (exec.planning() || outv.empty()) return;
  Kernel<op::AttentionForward, Device>::run(exec, s, q, k, v, key_mask, scale, outv, lse, scratch);
}

/// Gradients of `attention_forward`; the probabilities are computed again from lse.
///
/// Shapes: dout, dq like q; dk, dv like k; each of dq, dk and dv may be `{}` and is then not computed. They are
/// overwritten. Hidden keys get zero gradients. out and lse are those of the forward.
/// Determinism: a sample is cut into parts that depend on its own shape (on a GPU also on the number of
/// multiprocessors), whose shares are added in order; bits depend on neither threads nor batch.
/// Scratch: `attention_backward_workspace_bytes` bytes.
/// @throws InputError if shapes do not match or the scratch is too small; CudaError if the device refuses the launch,
/// as it may where other programs hold a part of its multiprocessors.
template <class Device, class DOut, class T = typename DOut::value_type>
void attention_backward(Exec<Device>& exec, const DOut& dout,
                        View<const std::type_identity_t<T>, 4, typename Device::Space> q,
                        View<const std::type_identity_t<T>, 4, typename Device::Space> k,
                        View<const std::type_identity_t<T>, 4, typename Device::Space> v,
                        View<const std::uint8_t, 2, typename Device::Space> key_mask, float scale,
                        View<const std::type_identity_t<T>, 4, typename Device::Space> out,
                        View<const Accum<T>, 3, typename Device::Space> lse,
                        View<std::type_identity_t<T>, 4, typename Device::Space> dq,
                        View<std::type_identity_t<T>, 4, typename Device::Space> dk,
                        View<std::type_identity_t<T>, 4, typename Device::Space> dv,
                        View<std::byte, 1, typename Device::Space> scratch) {
  const View<const T, 4, typename Device::Space> doutv = detail::const_view(dout);
  const AttentionShape s{q.extent(0), q.extent(1), k.extent(1), q.extent(2), q.extent(3)};
  detail::check_attention<T>("attention_backward", s, q, k, v, key_mask);
  detail::check_shape("attention_backward", "dout", doutv, q.shape());
  detail::check_shape("attention_backward", "out", out, q.shape());
  detail::check_shape("attention_backward", "lse", lse, {s.batch, s.heads, s.queries});
  if (dq.data_handle()) detail::check_shape("attention_backward", "dq", dq, q.shape());
  if (dk.data_handle()) detail::check_shape("attention_backward", "dk", dk, k.shape());
  if (dv.data_handle()) detail::check_shape("attention_backward", "dv", dv, k.shape());
  detail::check_scratch("attention_backward", scratch, attention_backward_workspace_bytes<T>(exec, s));
  if (exec.planning() || !(dq.data_handle() || dk.data_handle() || dv.data_handle())) return;
  Kernel<op::AttentionBackward, Device>::run(exec, s, doutv, q, k, v, key_mask, scale, out, lse, dq, dk, dv, scratch);
}

}  // namespace ops
SEGUE_NAMESPACE_END
