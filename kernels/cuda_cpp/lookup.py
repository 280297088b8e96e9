"""Eight fields looked up by hashed key, y[i, f] = table[f, keys[i] % entries]: does rearranging the table first pay?

table [8, entries] float32, keys [count] int32 from 0, y [count, 8] float32. One call must read the keys, write y, and read
what the keys ask of the table. A lookup in a table with a row a field touches 8 places, in a table with a record an entry
one; making the records moves 64 * entries bytes, in every call, as the table is new in every call.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor

_records: dict[tuple[torch.device, int], Tensor] = {}


def reference(table: Tensor, keys: Tensor) -> Tensor:
    """The values asked for; nothing is rounded."""
    return table[:, keys.long() % table.shape[1]].t().contiguous()


def by_field(table: Tensor, keys: Tensor, y: Tensor) -> None:
    """From the table as it is stored: a scattered read a field."""
    if table.is_cuda:
        launch("lookup", "launch_fields", table, keys, 0, y, table.shape[1], keys.shape[0])
        return
    y.copy_(torch.index_select(table, 1, keys % table.shape[1]).t())


def sorted_keys(table: Tensor, keys: Tensor, y: Tensor) -> None:
    """Lookups in order of the entry, so that neighbours share lines; pays for a sort and for scattered writes."""
    ordered, place = torch.sort(keys % table.shape[1])
    if table.is_cuda:
        launch("lookup", "launch_fields", table, ordered, place, y, table.shape[1], keys.shape[0])
        return
    y.index_copy_(0, place, torch.index_select(table, 1, ordered).t())


def by_record(table: Tensor, keys: Tensor, y: Tensor) -> None:
    """The table rearranged to one record an entry, then one scattered read a lookup."""
    entries = table.shape[1]
    records = _records.get((table.device, entries))
    if records is None:
        records = _records[table.device, entries] = torch.empty(entries, 8, device=table.device)
    if table.is_cuda:
        launch("lookup", "launch_records", table, keys, records, y, entries, keys.shape[0])
        return
    records.copy_(table.t())
    torch.index_select(records, 0, keys % entries, out=y)


def library(table: Tensor, keys: Tensor, y: Tensor) -> None:
    """torch's embedding on the transposed view, the one call that asks for this."""
    y.copy_(torch.nn.functional.embedding(keys % table.shape[1], table.t()))
