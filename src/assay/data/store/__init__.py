"""The tokenised store: rows are read, merged and tokenised once, whatever their number."""

from assay.data.store.account import Account, check_dropped, print_table
from assay.data.store.building import prepare_source
from assay.data.store.opening import StoredData, StoredGroups, open_store
from assay.data.store.settings import Preparation

__all__ = [
    "Account",
    "Preparation",
    "StoredData",
    "StoredGroups",
    "check_dropped",
    "open_store",
    "prepare_source",
    "print_table",
]
