"""LLaMA-Factory: a language model or a PEFT adapter, and the head in a file beside it.

It trains TRL's model with a value head; its callback `fix_valuehead_checkpoint` then writes the
model by itself and `v_head.summary.weight` [1, D], `v_head.summary.bias` [1] to
`value_head.safetensors` (or, pickled, to `value_head.bin`). The reward is read at the last token,
without activation.
"""

from __future__ import annotations

from assay.errors import ModelError
from assay.model.foreign.directory import ForeignDirectory, names_in, read_tensor
from assay.model.foreign.head import ForeignHead, folded

ORIGIN = "LLaMA-Factory"
_FILE, _PICKLED = "value_head.safetensors", "value_head.bin"
_WEIGHT, _BIAS = "v_head.summary.weight", "v_head.summary.bias"


def read(directory: ForeignDirectory) -> ForeignHead | None:
    """The head of a directory that LLaMA-Factory wrote; None of any other.

    Raises:
        ModelError: the head is pickled, or is not there in its file.
    """
    if not directory.holds(_FILE):
        if directory.holds(_PICKLED):
            raise ModelError(
                f"its reward head is pickled ({_PICKLED}), and Assay opens no pickles",
                where=directory.path,
                mend=f"have LLaMA-Factory write {_FILE}: save_safetensors: true",
            )
        return None
    file = directory.path / _FILE
    names = names_in(file)
    if _WEIGHT not in names:
        raise ModelError(
            f"{_FILE} does not hold {_WEIGHT}", where=directory.path, mend="fetch the model again"
        )
    bias_1 = read_tensor(file, _BIAS) if _BIAS in names else None
    return folded(ORIGIN, directory.path, read_tensor(file, _WEIGHT), bias_1=bias_1)
