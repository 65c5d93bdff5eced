// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "segue/core/view.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Checks an optional argument: absent, or of this shape.
template <class T, int Rank, class Space>
void check_optional(std::string_view op, std::string_view argument, const View<T, Rank, Space>& x,
                    const std::type_identity_t<Shape<Rank>>& expected) {
  if (x.data_handle()) check_shape(op, argument, x, expected);
}

template <class Space>
void check_scratch(std::string_view op, const View<std::byte, 1, Space>& scratch, std::int64_t bytes) {
  if (scratch.size() < bytes)
    throw_input(op, "scratch", std::to_string(scratch.size()) + " bytes", "at least " + std::to_string(bytes));
}

/// Checks how rows find their row in a table (rows.scale and the like): by `group`, or by `rows_per_group`.
template <class TableView, class GroupView>
void check_row_groups(std::string_view op, std::string_view argument, const TableView& table, const GroupView& group,
                      std::int64_t rows_per_group, std::int64_t rows, std::int64_t columns) {
  check_shape(op, argument, table, {table.extent(0), columns});
  if (group.data_handle()) {
    check_shape(op, "group", group, {rows});
    return;
  }
  if (rows_per_group <= 0)
    throw_input(op, "rows_per_group", std::to_string(rows_per_group), "a positive number where group is absent");
  if (ceil_div(rows, rows_per_group) > table.extent(0))
    throw_input(op, std::string("shape of ").append(argument), shape_string(table.shape()),
                "at least " + std::to_string(ceil_div(rows, rows_per_group)) + " rows for " + std::to_string(rows) +
                    " rows of x in groups of " + std::to_string(rows_per_group));
}

}  // namespace detail
SEGUE_NAMESPACE_END
