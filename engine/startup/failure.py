"""Explains in one sentence why an engine did not start: the option to change, the file, the cause.

Imports neither vLLM nor torch. The cause is an exception of this process, or one found in the output of the engine's
processes. The messages are those of vLLM 0.32; unknown ones are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.config import EngineConfig

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
    """`sentence` is for the operator; `lines` of the engine's output say more where it says little."""

    sentence: str
    lines: Sequence[str] = ()
    is_known: bool = False


def explain(error: BaseException, config: EngineConfig, output: Sequence[str] = ()) -> Cause:
    """Why the engine of `config` did not start. `output` is what its processes wrote."""
    kind, message, lines = type(error).__name__, _HEADLINE.sub("", str(error)), list[str]()
    if _WRAPPERS.search(message) or not message:
        found = _root(output)
        if found is not None:
            kind, message, lines = found
        elif killed := _KILLED.search(message):
            return Cause(
                f"the engine's process was ended by {_SIGNALS[killed[1]]}, mostly for lack of memory: see"
                f" --cpu-kv-cache-gib ({config.cpu_kv_cache_gib}), --gpu-memory-utilization and the system's log",
                output,
            )
        else:
            return Cause(
                f"--model: {config.model!r} cannot be served: the engine's process ended; see its output",
                output,
            )
    for pattern, sentence in _KNOWN:
        if known := pattern.search(message):
            return Cause(sentence.format(known[0], *known.groups(), config=config), is_known=True)
    # pydantic quotes vLLM's own checks as `Value error, …`.
    quoted = " ".join(message.removeprefix("Value error, ").partition(" [type=")[0].split())[:MAX_QUOTED_CHARS]
    what = f"{kind}: {quoted}" if kind not in ("ValueError", "ValidationError", "OSError", "Exception") else quoted
    return Cause(f"--model: {config.model!r} cannot be served: {what or kind}", lines)


def _root(output: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """The first exception that no other caused: its name, its message, and its traceback's lines."""
    by_process: dict[str, list[str]] = {}
    for line in output:
        plain = _ANSI.sub("", line)
        prefix = _PREFIX.match(plain)
        if prefix is None:
            by_process.setdefault("", []).append(plain)
        elif prefix["level"] in ("ERROR", "CRITICAL"):
            by_process.setdefault(prefix["process"], []).append(plain[prefix.end() :])
    # Any process may write lines without a prefix, after its own log.
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
    """The other lines of a message."""
    rest: list[str] = []
    for line in lines[:4]:
        if not line.strip() or line.startswith((_TRACEBACK, "[", *_CHAINED)) or _EXCEPTION.match(line):
            break
        rest.append(line.strip())
    return rest


_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in {
        r"max_model_len \((\d+)\) is greater than the derived max_model_len \([^=]*=(\d+)": (
            "--max-model-len: {1} is more than the {2} tokens that the model {config.model!r} was made for (its"
            " config.json); set it to at most that, or leave it out"
        ),
        (
            r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed.* memory \(([\d.]+) GiB\)"
            r".*maximum model length is (\d+)"
        ): (
            "--max-model-len: one context of {1} tokens needs {2} GiB of KV cache, and there is room for {3} GiB; raise"
            " --cpu-kv-cache-gib (on a GPU: --gpu-memory-utilization), or set --max-model-len {4}"
        ),
        r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed.* memory \(([\d.]+) GiB\)": (
            "--max-model-len: one context of {1} tokens needs {2} GiB of KV cache, and there is room for {3} GiB; raise"
            " --cpu-kv-cache-gib (on a GPU: --gpu-memory-utilization), or lower --max-model-len"
        ),
        (
            r"Available memory on node \S+ \(([\d.]+)/[\d.]+ GiB\) on kv cache allocation is less than requested"
            r" memory for kv \(([\d.]+)"
        ): "--cpu-kv-cache-gib: the KV cache needs {2} GiB, but only {1} GiB of memory are free",
        r"No available memory for the cache blocks": (
            "--gpu-memory-utilization: the model leaves no memory for the KV cache; raise it, or lower --max-model-len"
            " and --max-num-seqs"
        ),
        r"Free memory on device \S* ?\(([\d.]+)/([\d.]+) GiB\).*?\(([\d.]+), ([\d.]+) GiB\)": (
            "--gpu-memory-utilization: {3} of the GPU's memory is {4} GiB, but only {1} of {2} GiB are free; lower it,"
            " or stop whatever else uses the GPU"
        ),
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError": (
            "--model: the GPU has too little memory for {config.model!r}; lower --max-num-seqs or --max-model-len, or"
            " divide the model over several GPUs with --tensor-parallel-size"
        ),
        r"[Cc]an(?:not|'t) allocate memory|MemoryError": (
            "--model: there is too little memory for {config.model!r} and --cpu-kv-cache-gib {config.cpu_kv_cache_gib}"
        ),
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver": (
            "vLLM is installed for a GPU, and there is none that it can use; check that `nvidia-smi` lists one. For a"
            " CPU, `make install` installs another build"
        ),
        r"Command 'lscpu[^']*' returned non-zero exit status 127|No such file or directory: 'lscpu'": (
            "the program lscpu is missing, which tells vLLM of the CPUs; install the package util-linux"
        ),
        r"Model architectures \[([^\]]*)\] are not supported": (
            "--model: the config.json of {config.model!r} asks for the architecture {1}, which this version of vLLM"
            " does not support"
        ),
        r"Model architectures \[([^\]]*)\] failed to be inspected": (
            "--model: vLLM cannot load its code for {1}, the architecture of {config.model!r}; of models that take"
            " images, most need torchvision, which `make install` leaves out (docs/guides/images.md)"
        ),
        r"model type `([^`]*)` but Transformers does not recognize": (
            "--model: the config.json of {config.model!r} has the model_type {1!r}, which this version of Transformers"
            " does not support"
        ),
        r"The size of tensor a[^\n]*must match[^\n]*|size mismatch[^\n]*|Attempted to load weight [^\n]*": (
            "--model: the weights of {config.model!r} do not have the shapes that its config.json gives: {0:.160}"
        ),
        r"There is no module or parameter named[^\n]*|[Ww]eights were not initialized from checkpoint[^\n]*": (
            "--model: the weights of {config.model!r} do not fit its config.json: {0:.160}"
        ),
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)": (
            "--tensor-parallel-size: {2} does not divide the {1} attention heads of {config.model!r}"
        ),
        r"couldn't connect to '([^']*)'": (
            "--model: there is no folder {config.model!r}, and as a name on the Hugging Face hub it cannot be"
            " downloaded: {1} cannot be reached, and there is no copy in the cache"
        ),
        r"offline mode is enabled|specific connection error": (
            "--model: there is no folder {config.model!r}, and as a name on the Hugging Face hub it cannot be"
            " downloaded: the hub cannot be reached, and there is no copy in the cache"
        ),
        r"is not a local folder and is not a valid|gated repo|Repository Not Found|401 Client Error": (
            "--model: there is no folder {config.model!r}, and the Hugging Face hub has no model of that name, or none"
            " that can be read without a token (HF_TOKEN)"
        ),
    }.items()
)
"""What vLLM writes, and what to say of it: `{1}` is the pattern's first group, `{0}` all that matched. The first that
matches counts."""
