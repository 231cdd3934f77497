"""A vLLM server that runs somewhere: token ids by HTTP, raw values back."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from assay.data.rendering import TokenIds
from assay.errors import ConfigError, ModelError, ResourceError
from assay.model.vllm.model import in_portions

FLAG = "--vllm-url"
_TOKENS_A_REQUEST = 16_384
_REQUESTS_AT_ONCE = 4
_SECONDS = 600.0
_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try where the server does not answer or is too busy."""
_AGAIN = (408, 429, 500, 502, 503, 504)


class ByUrl:
    """The model that a vLLM server serves under some name.

    Args:
        url: of the server, without a path of the API.
        names: by which the model may be called there, the likeliest first; where one model is
            served it is meant.

    Raises:
        ConfigError: the URL is none or holds a login, or several models are served and none has
            such a name.
        ResourceError: nothing answers there.
        ModelError: what is served gives no single raw value.
    """

    dtype = "unknown"

    def __init__(self, url: str, names: Sequence[str]) -> None:
        if "@" in url:
            raise ConfigError(
                "the address holds an '@', as of a login",
                where=FLAG,
                mend="write http://host:8000, and give a key in VLLM_API_KEY",
            )
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"'{url}' is no URL of a server", where=FLAG, mend="write http://host:8000"
            )
        self._url = url.rstrip("/").removesuffix("/v1")
        card = self._served(names)
        self._model = card["id"]
        self.max_length = int(card.get("max_model_len") or 1 << 30)
        self.served = {"served id": card["id"], "served root": card.get("root")}
        self.name = f"vllm at {self._url}"
        self._check_raw()

    def raw(self, sequences: Sequence[TokenIds]) -> list[float]:
        """By `/classify`, some requests at once."""
        portions = in_portions(sequences, _TOKENS_A_REQUEST)
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            asked = [[sequences[index] for index in portion] for portion in portions]
            return [value for found in pool.map(self._classified, asked) for value in found]

    def check_tokenizer(self, text: str, ids: TokenIds) -> None:
        """See that the server reads a text as this model does. (Some are told not to say.)

        Raises:
            ModelError: it does not: another model is served.
        """
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        try:
            found = self._answer("/tokenize", body).get("tokens")
        except ModelError:
            return
        if found != list(ids):
            raise ModelError(
                f"'{self._model}' at {self._url} has another tokenizer than --model",
                where=FLAG,
                mend="name the directory that the server was started with",
            )

    def _served(self, names: Sequence[str]) -> dict[str, Any]:
        """What the server says of the model."""
        served: dict[str, dict[str, Any]] = {
            str(card.get("id")): card for card in self._answer("/v1/models").get("data", ())
        }
        named = [name for name in names if name in served] or list(served)[: len(served) == 1]
        if not named:
            raise ConfigError(
                f"the server at {self._url} serves {', '.join(served) or 'no model'}",
                where=FLAG,
                mend=f"serve the model as {names[0]} (vllm serve --served-model-name)",
            )
        return served[named[0]] | {"id": named[0]}

    def _check_raw(self) -> None:
        [value] = self._values([(0,)])
        if len(value) != 1:
            raise ModelError(
                f"'{self._model}' at {self._url} gives {len(value)} values a text, not one reward",
                where=FLAG,
                mend="serve a reward model: vllm serve DIRECTORY --runner pooling",
            )

    def _classified(self, sequences: Sequence[TokenIds]) -> list[float]:
        return [value for [value] in self._values(sequences)]

    def _values(self, sequences: Sequence[TokenIds]) -> list[list[float]]:
        body = {"model": self._model, "input": list(map(list, sequences)), "use_activation": False}
        answer = self._answer("/classify", body)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            values = [list(map(float, row["probs"])) for row in rows]
        except (KeyError, TypeError, ValueError):
            values = []
        if len(values) != len(sequences):
            raise ModelError(
                f"the server at {self._url} does not answer as vLLM's /classify does",
                where=FLAG,
                mend="start it as: vllm serve DIRECTORY --runner pooling",
            )
        return values

    def _answer(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of an answer.

        Raises:
            ModelError: the server refuses; or what it says is no JSON object.
            ResourceError: it does not answer, time after time.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url + path, data, headers)
        said = ""
        for wait in (*_WAITS, None):
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                    found = json.load(response)
            except urllib.error.HTTPError as error:
                with error:
                    said = f"{error.code}: {_message(error.read())}"
                if error.code not in _AGAIN:
                    raise ModelError(
                        f"the vLLM server at {self._url} refuses {path} ({said})",
                        where=FLAG,
                        mend="start it as: vllm serve DIRECTORY --runner pooling; a key that it "
                        "asks for is taken from VLLM_API_KEY",
                    ) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                said = str(getattr(error, "reason", None) or error) or type(error).__name__
            else:
                if isinstance(found, dict):
                    return found
                said = "no JSON object"
            if wait is not None:
                time.sleep(wait)
        raise ResourceError(
            f"the vLLM server at {self._url} does not answer ({said[:300]})",
            where=FLAG,
            mend="see that it runs and is ready; what is done is not done again",
        )


def _message(body: bytes) -> str:
    """What a refusal says; bodies of other servers are cut short."""
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace")
    return " ".join(str(text).split())[:300]
