"""Says in one sentence why an engine did not start: the option to change, the file, the cause.

Imports neither vLLM nor torch. The cause is an exception of this process, or one that stands in what the engine's
processes wrote. The messages are those of vLLM 0.32; one that is not known here is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.api import EngineConfig

MAX_QUOTED_CHARS = 400

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^\((?P<process>[^)]+ pid=\d+)\) (?P<level>[A-Z]+) [\d-]+ [\d:]+ \[[^\]]+\] ?")
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"^(?:[\w]+\.)*(\w*(?:Error|Exception|Warning|Exit|Interrupt)\w*)(?:: ?(.*))?$")
_WRAPPERS = re.compile(
    r"WorkerProc initialization failed|Engine core initialization failed|See (stack trace|root cause)|"
    r"please check the stack trace above"
)
_HEADLINE = re.compile(r"^\d+ validation errors? for [^\n]*\n\s*")
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")
_KILLED = re.compile(r"'[^']*': -(9|7|11|6)\b")
_SIGNALS = {"9": "SIGKILL", "7": "SIGBUS", "11": "SIGSEGV", "6": "SIGABRT"}


@dataclass(frozen=True, slots=True)
class Cause:
    """`sentence` is for the operator; `lines` are those of the engine's output that say more, where it says little."""

    sentence: str
    lines: Sequence[str] = ()
    is_known: bool = False


def explain(error: BaseException, config: EngineConfig, output: Sequence[str] = ()) -> Cause:
    """Why the engine of `config` did not start. `output` is what its processes wrote meanwhile."""
    kind, message, lines = type(error).__name__, _HEADLINE.sub("", str(error)), list[str]()
    if _WRAPPERS.search(message) or not message:
        found = _root(output)
        if found is not None:
            kind, message, lines = found
        elif killed := _KILLED.search(message):
            return Cause(
                f"the engine's process was ended by {_SIGNALS[killed[1]]}; mostly that is for lack of memory: see "
                f"{_memory_option(config)} and the system's log",
                output,
            )
        else:
            return Cause(
                f"--model: {config.model!r} cannot be served: the engine's process ended; what it wrote says why",
                output,
            )
    for pattern, sentence in _KNOWN:
        if known := pattern.search(message):
            return Cause(sentence(known, config), is_known=True)
    # `Value error, …` is how pydantic quotes a check of vLLM's own.
    quoted = " ".join(message.removeprefix("Value error, ").partition(" [type=")[0].split())[:MAX_QUOTED_CHARS]
    what = f"{kind}: {quoted}" if kind not in ("ValueError", "ValidationError", "OSError", "Exception") else quoted
    return Cause(f"--model: {config.model!r} cannot be served: {what or kind}", lines)


def _root(output: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """The first exception that is not about another: its name, its message, and the lines of its traceback."""
    by_process: dict[str, list[str]] = {}
    for line in output:
        plain = _ANSI.sub("", line)
        prefix = _PREFIX.match(plain)
        if prefix is None:
            by_process.setdefault("", []).append(plain)
        elif prefix["level"] in ("ERROR", "CRITICAL"):
            by_process.setdefault(prefix["process"], []).append(plain[prefix.end() :])
    # What has no prefix was written by whichever process, after its own log.
    for process in sorted(by_process, key=lambda name: name == ""):
        found = _first_exception(by_process[process])
        if found is not None:
            return found
    return None


def _first_exception(lines: list[str]) -> tuple[str, str, list[str]] | None:
    found: tuple[str, str, list[str]] | None = None
    start: int | None = None
    for number, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            if found is not None and not any(mark in one for one in lines[number - 3 : number] for mark in _CHAINED):
                return found
            start = number if found is None else start
        elif start is not None and (exception := _EXCEPTION.match(line)):
            message = " ".join([exception[2] or "", *_rest(lines[number + 1 :])]).strip()
            if not _WRAPPERS.search(message):
                found = (exception[1], message, lines[start : number + 1])
            elif found is None:
                start = None
    return found


def _rest(lines: list[str]) -> list[str]:
    """The further lines of a message, until something else begins."""
    rest: list[str] = []
    for line in lines[:4]:
        if not line.strip() or line.startswith((_TRACEBACK, "[", *_CHAINED)) or _EXCEPTION.match(line):
            break
        rest.append(line.strip())
    return rest


def _memory_option(config: EngineConfig) -> str:
    return f"--cpu-kv-cache-gib ({config.cpu_kv_cache_gib}) and --gpu-memory-utilization"


Sentence = Callable[[re.Match[str], EngineConfig], str]


def _too_long_for_the_model(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--max-model-len: {found[1]} is more than the {float(found[2]):.0f} tokens that the model {config.model!r} was"
        " made for (its config.json); give at most that, or leave the option out"
    )


def _too_long_for_the_cache(found: re.Match[str], config: EngineConfig) -> str:
    at_most = f", or give --max-model-len {found[4]}" if found[4] else ", or lower --max-model-len"
    return (
        f"--max-model-len: one context of {found[1]} tokens needs {found[2]} GiB of KV cache, and there is room for"
        f" {found[3]} GiB; raise --cpu-kv-cache-gib (on a GPU: --gpu-memory-utilization){at_most}"
    )


def _no_memory_for_the_cache(found: re.Match[str], config: EngineConfig) -> str:
    return f"--cpu-kv-cache-gib: the KV cache needs {found[2]} GiB, but only {found[1]} GiB of memory are free"


def _no_room_beside_the_model(found: re.Match[str], config: EngineConfig) -> str:
    return (
        "--gpu-memory-utilization: the model leaves no memory for the KV cache; raise it, or lower --max-model-len and"
        " --max-num-seqs"
    )


def _gpu_in_use(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--gpu-memory-utilization: {found[3]} of the GPU's memory is {found[4]} GiB, but only {found[1]} of {found[2]}"
        " GiB are free; lower it, or stop whatever else uses the GPU"
    )


def _gpu_memory(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--model: the GPU has too little memory for {config.model!r}; lower --max-num-seqs or --max-model-len, or"
        " divide the model over several GPUs with --tensor-parallel-size"
    )


def _memory(found: re.Match[str], config: EngineConfig) -> str:
    return f"--model: there is too little memory for {config.model!r} and --cpu-kv-cache-gib {config.cpu_kv_cache_gib}"


def _no_gpu(found: re.Match[str], config: EngineConfig) -> str:
    return (
        "vLLM is installed for a GPU, and there is none that it could use; see whether `nvidia-smi` lists one. For a"
        " CPU, `make install` installs another build of it"
    )


def _architecture(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--model: the config.json of {config.model!r} asks for the architecture {found[1]}, which this version of vLLM"
        " does not know"
    )


def _model_type(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--model: the config.json of {config.model!r} has the model_type {found[1]!r}, which this version of"
        " Transformers does not know"
    )


def _shapes(found: re.Match[str], config: EngineConfig) -> str:
    return f"--model: the weights of {config.model!r} are not of the shapes that its config.json says: {found[0][:160]}"


def _tensors(found: re.Match[str], config: EngineConfig) -> str:
    return f"--model: the weights of {config.model!r} do not fit its config.json: {found[0][:160]}"


def _heads(found: re.Match[str], config: EngineConfig) -> str:
    return f"--tensor-parallel-size: {found[2]} does not divide the {found[1]} attention heads of {config.model!r}"


def _hub_away(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--model: there is no folder {config.model!r}, and as a name on the Hugging Face hub it cannot be downloaded:"
        f" {found[1] or 'the hub'} cannot be reached, and there is no copy in the cache"
    )


def _not_on_the_hub(found: re.Match[str], config: EngineConfig) -> str:
    return (
        f"--model: there is no folder {config.model!r}, and the Hugging Face hub has no model of that name, or none"
        " that may be read without a token (HF_TOKEN)"
    )


_KNOWN: tuple[tuple[re.Pattern[str], Sentence], ...] = tuple(
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in {
        r"max_model_len \((\d+)\) is greater than the derived max_model_len \([^=]*=([\d.]+)": _too_long_for_the_model,
        (
            r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed.* memory \(([\d.]+) GiB\)"
            r"(?:.*maximum model length is (\d+))?"
        ): _too_long_for_the_cache,
        (
            r"Available memory on node \S+ \(([\d.]+)/[\d.]+ GiB\) on kv cache allocation is less than requested"
            r" memory for kv \(([\d.]+)"
        ): _no_memory_for_the_cache,
        r"No available memory for the cache blocks": _no_room_beside_the_model,
        r"Free memory on device \S* ?\(([\d.]+)/([\d.]+) GiB\).*?\(([\d.]+), ([\d.]+) GiB\)": _gpu_in_use,
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError": _gpu_memory,
        r"[Cc]an(?:not|'t) allocate memory|MemoryError": _memory,
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver": _no_gpu,
        r"Model architectures \[([^\]]*)\] are not supported": _architecture,
        r"model type `([^`]*)` but Transformers does not recognize": _model_type,
        r"The size of tensor a[^\n]*must match[^\n]*|size mismatch[^\n]*|Attempted to load weight [^\n]*": _shapes,
        r"There is no module or parameter named[^\n]*|[Ww]eights were not initialized from checkpoint[^\n]*": _tensors,
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)": _heads,
        r"couldn't connect to '([^']*)'|offline mode is enabled()|specific connection error()": _hub_away,
        r"is not a local folder and is not a valid|gated repo|Repository Not Found|401 Client Error": _not_on_the_hub,
    }.items()
)
