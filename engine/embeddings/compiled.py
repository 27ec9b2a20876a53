"""Computes the transformer of an embedding model or reranker by OpenVINO, on a CPU: a third of torch's time, or less.

Only this file imports OpenVINO. It reads the loaded torch model itself, in memory, so that neither `optimum` nor a file
in another format is needed. Written for OpenVINO 2026.4 and sentence-transformers 6.2.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging
from transformers.utils.generic import ModelOutput

from engine.api import EngineStartError

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's number formats. Weights are loaded in float32 for each."""

TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}
"""The farthest that a value may be from torch's in float32, relative to the largest of them."""

PROBES = ((1, 3), (3, 24))
"""Shapes of batches that are computed both ways: texts, and tokens of the longest."""


class NotCompiled(Exception):
    """Why a model stays with torch."""


class Compiled(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """Stands in for a transformer within its sentence-transformers module. Any thread may call it."""

    def __init__(self, config: Any, compiled: Any, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.config = config
        self.device = torch.device("cpu")
        self._compiled = compiled
        self._names, self._output = names, output
        self._mine = threading.local()

    def forward(self, **features: Any) -> ModelOutput:
        """The one output that the next module reads, under the name by which it does."""
        request = getattr(self._mine, "request", None)
        if request is None:
            request = self._mine.request = self._compiled.create_infer_request()
        answer = request.infer({name: features[name].numpy() for name in self._names}, share_inputs=True)
        return ModelOutput({self._output: torch.from_numpy(answer[0])})


class _OneOutput(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """A transformer with named inputs and a single output, as the converter wants it."""

    def __init__(self, model: Any, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self._model, self._names, self._output = model, names, output

    def forward(self, *inputs: Any) -> Any:
        return self._model(**dict(zip(self._names, inputs, strict=True)), return_dict=True)[self._output]


def is_installed() -> bool:
    """Whether the extra `openvino` is there."""
    try:
        _openvino()
    except ImportError:
        return False
    return True


def _openvino() -> Any:
    # OpenVINO's converter reports its use to its makers if it finds this package, and nobody asked for that.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None forbids the import
    import openvino

    return openvino


def compile_transformer(module: Any, dtype: str, threads: int, lanes: int) -> None:
    """Replace the transformer of a sentence-transformers `Transformer` by its compiled form.

    `threads` processors are divided between `lanes` batches at a time. Raises `NotCompiled` and changes nothing if the
    model cannot be converted, or if its values would differ from torch's.
    """
    shape = module.modality_config["text"]
    output = shape["method_output_name"]
    output = output if isinstance(output, str) or output is None else output[0] if len(output) == 1 else None
    if shape["method"] != "forward" or output is None or getattr(module.config, "output_hidden_states", False):
        raise NotCompiled("it does not give one plain output")
    has_types = "token_type_ids" in module.tokenizer.model_input_names and (
        module.model_forward_params is None or "token_type_ids" in module.model_forward_params
    )
    names = ("input_ids", "attention_mask") + (("token_type_ids",) if has_types else ())
    model = module.model
    vocabulary = module.config.vocab_size
    try:
        with _quiet(), torch.inference_mode():
            inputs = tuple(_probe(2, 17, vocabulary, has_types).values())
            # The converter would trace it too, and once more for a check that the probes make anyway.
            traced = torch.jit.trace(_OneOutput(model, names, output), inputs, check_trace=False)
            converted = _openvino().convert_model(traced, example_input=inputs)
        for name, port in zip(names, converted.inputs, strict=True):
            port.get_tensor().set_names({name})
        hints = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": lanes,
            # The chats' engine needs every core that it can get.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = Compiled(module.config, _openvino().Core().compile_model(converted, "CPU", hints), names, output)
        farthest = max(_difference(model, compiled, output, _probe(*size, vocabulary, has_types)) for size in PROBES)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise NotCompiled(f"{type(error).__name__}: {reason}") from error
    if not farthest <= TOLERANCES[dtype]:
        raise NotCompiled(f"its values would be {farthest:.1e} from those of torch")
    module.model = compiled


@contextmanager
def _quiet() -> Iterator[None]:
    """The tracer warns of each branch in a model's code, and the probes find out whether one matters; it also reads
    attributes that transformers warns of."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)


def _probe(texts: int, longest: int, vocabulary: int, has_types: bool) -> dict[str, Any]:
    """A batch of chance tokens, each text shorter than the one before and padded to the longest."""
    ids = torch.randint(0, vocabulary, (texts, longest), generator=torch.Generator().manual_seed(longest))
    lengths = torch.tensor([max(1, longest - row * (longest // 4)) for row in range(texts)])
    mask = (torch.arange(longest)[None, :] < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": torch.zeros_like(ids)} if has_types else {})


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed
def _difference(model: Any, compiled: Any, output: str, features: dict[str, Any]) -> float:
    """The farthest two values, relative to the largest, padding left out."""
    one, other = model(**features, return_dict=True)[output], compiled(**features)[output]
    if one.ndim == 3:
        kept = features["attention_mask"].bool()
        one, other = one[kept], other[kept]
    return float((one - other).abs().max() / one.abs().max())


def wants_compiled(backend: str, device: str, dtype: str) -> bool:
    """Whether OpenVINO computes. Raises `EngineStartError` if it must and cannot."""
    if backend == "torch":
        return False
    reason = None
    if device != "cpu" or dtype not in PRECISIONS:
        reason = f"computes on a CPU, in {' or '.join(PRECISIONS)}, only"
    elif not is_installed():
        reason = 'is not installed: pip install "twowire[openvino]"'
    if reason and backend == "openvino":
        raise EngineStartError(f"--embedding-backend: openvino {reason}")
    return reason is None
