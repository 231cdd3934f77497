"""Clients of `assay serve`. They import neither torch nor the server; HTTP is httpx's."""

from assay.client.answers import Rewards
from assay.client.asynchronous import AsyncRewardClient
from assay.client.failures import RewardError
from assay.client.settings import ClientSettings
from assay.client.synchronous import RewardClient

__all__ = ["AsyncRewardClient", "ClientSettings", "RewardClient", "RewardError", "Rewards"]
