"""Computes the transformer of an embedding model or reranker by OpenVINO, on a CPU, which takes less time than torch.

Only this file imports OpenVINO. It reads the loaded torch model itself, in memory, so that neither `optimum` nor a file
in another format is needed. Written for OpenVINO 2026.4 and sentence-transformers 6.2.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging
from transformers.utils.generic import ModelOutput

from engine.api import EngineStartError

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's number formats. The weights that it reads are in float32 for each."""

TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}
"""The farthest that a value may be from torch's in float32, relative to the largest of them."""

PROBES = ((3,), (24, 18, 12), (600, 3))
"""Batches that are computed both ways: the tokens of each text. The last has windows of attention in its padding."""

MAX_PARAMETERS = 600_000_000
"""`auto` leaves larger models to torch: for a while, a model is in memory three times."""


class NotCompiled(Exception):
    """Why a model stays with torch."""


class Compiled(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """Stands in for a transformer within its sentence-transformers module. Any thread may call it.

    `whole` gives a batch all processors, `shared` divides them between batches at a time.
    """

    def __init__(self, config: Any, threads: int, whole: Any, shared: Any, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.config = config
        self.device = torch.device("cpu")
        self._threads, self._whole, self._shared = threads, whole, shared
        self._names, self._output = names, output
        self._mine = threading.local()

    def _request(self) -> Any:
        """Of this thread, with as many processors as it has been given by torch's own setting."""
        name = "whole" if torch.get_num_threads() >= self._threads else "shared"
        request = getattr(self._mine, name, None)
        if request is None:
            request = (self._whole if name == "whole" else self._shared).create_infer_request()
            setattr(self._mine, name, request)
        return request

    def forward(self, **features: Any) -> ModelOutput:
        """The one output that the next module reads, under the name by which it does."""
        request = self._request()
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
    """Replace the transformer of a sentence-transformers `Transformer`, in float32, by its compiled form.

    A batch gets all of `threads` processors, or one of `lanes` at a time its share. Raises `NotCompiled` and changes
    nothing if the model cannot be converted, or if its values would differ from torch's.
    """
    model = module.model
    try:
        names, output = _inputs(module), _output(module)
        converted = _converted(model, names, output, _probe(module, names, (17, 13)))
        # The chats' engine needs every core that it can get, so no thread is pinned to one.
        hints = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        core = _openvino().Core()
        whole = core.compile_model(converted, "CPU", {**hints, "NUM_STREAMS": 1})
        shared = core.compile_model(converted, "CPU", {**hints, "NUM_STREAMS": lanes}) if lanes > 1 else whole
        compiled = Compiled(module.config, threads, whole, shared, names, output)
        differences = [_difference(model, compiled, output, _probe(module, names, lengths)) for lengths in PROBES]
    except NotCompiled:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise NotCompiled(f"{type(error).__name__}: {reason}") from error
    # A NaN is no number to compare with.
    if wrong := [one for one in differences if not one <= TOLERANCES[dtype]]:
        raise NotCompiled(f"its values would be {wrong[0]:.1e} from those of torch")
    module.model = compiled


def _inputs(module: Any) -> tuple[str, ...]:
    accepted = module.model_forward_params
    has_types = "token_type_ids" in module.tokenizer.model_input_names
    has_types = has_types and (accepted is None or "token_type_ids" in accepted)
    return ("input_ids", "attention_mask") + (("token_type_ids",) if has_types else ())


def _output(module: Any) -> str:
    """The name of the one output that the next module reads."""
    shape = module.modality_config["text"]
    output = shape["method_output_name"]
    if isinstance(output, Sequence) and not isinstance(output, str) and len(output) == 1:
        output = output[0]
    if (
        shape["method"] != "forward"
        or not isinstance(output, str)
        or getattr(module.config, "output_hidden_states", False)
    ):
        raise NotCompiled("it does not give one plain output")
    return output


def _converted(model: Any, names: tuple[str, ...], output: str, example: dict[str, Any]) -> Any:
    inputs = tuple(example.values())
    with _quiet(), torch.inference_mode():
        # The converter would trace it too, and once more for a check that the probes make anyway.
        traced = torch.jit.trace(_OneOutput(model, names, output), inputs, check_trace=False)
        converted = _openvino().convert_model(traced, example_input=inputs)
    for name, port in zip(names, converted.inputs, strict=True):
        port.get_tensor().set_names({name})
    return converted


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


def _probe(module: Any, names: tuple[str, ...], lengths: Sequence[int]) -> dict[str, Any]:
    """A batch of chance tokens, padded as the embedder pads them."""
    most = module.max_seq_length or max(lengths)
    lengths = [min(length, most) for length in lengths]
    longest = max(lengths)
    ids = torch.randint(
        0, module.config.vocab_size, (len(lengths), longest), generator=torch.Generator().manual_seed(longest)
    )
    mask = (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()
    if module.tokenizer.padding_side == "left":
        mask = mask.flip(1)
    features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: features[name] for name in names}


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
