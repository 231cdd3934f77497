"""TRL: `AutoModelForCausalLMWithValueHead`, whose head stands among the language model's weights.

Its `state_dict` adds `v_head.summary.weight` [1, D] and `v_head.summary.bias` [1] to that of the
language model, and `save_pretrained` writes them as one. (What TRL's reward trainer writes is a
plain `ForSequenceClassification` directory, which needs no reader. Around a PEFT model the class
pickles its head into `pytorch_model.bin` beside the adapter.)
"""

from __future__ import annotations

from assay.errors import ModelError
from assay.model.foreign.directory import ForeignDirectory
from assay.model.foreign.head import ForeignHead, folded

ORIGIN = "TRL"
_WEIGHT, _BIAS = "v_head.summary.weight", "v_head.summary.bias"


def read(directory: ForeignDirectory) -> ForeignHead | None:
    """The value head among a model's weights; None where there is none.

    Raises:
        ModelError: the head is pickled beside an adapter.
    """
    if directory.holds("adapter_config.json"):
        if directory.holds("pytorch_model.bin"):
            raise ModelError(
                "its reward head is pickled beside the adapter (pytorch_model.bin), and Assay "
                "opens no pickles",
                where=directory.path,
                mend="in TRL merge the adapter and save again, as safetensors",
            )
        return None
    weight_1D = directory.tensor(_WEIGHT)
    if weight_1D is None:
        return None
    return folded(ORIGIN, directory.path, weight_1D, bias_1=directory.tensor(_BIAS))
