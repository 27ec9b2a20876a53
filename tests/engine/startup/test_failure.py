"""Why an engine did not start, in one sentence; from vLLM's exceptions and from what its processes wrote."""

from __future__ import annotations

import pytest

from engine.config import EngineConfig
from engine.startup.failure import explain

CONFIG = EngineConfig("./my-model", cpu_kv_cache_gib=2)
DIED = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")

WORKER = "(Worker pid=12) ERROR 11-29 23:19:17 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=11) ERROR 11-29 23:19:20 [core.py:1510] "


def output(cause: str) -> list[str]:
    """What a start wrote whose worker failed of `cause`, shortened: the worker's error, the engine core's, and what
    multiprocessing writes of that."""
    wrapped = "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace"
    return [
        "Triton is installed, but doesn't include CPU backend. Disabling Triton.",
        "(Worker pid=12) WARNING 11-29 23:19:10 [vllm.py:725] ValueError: of no account",
        f"{WORKER}WorkerProc failed to start.",
        f"{WORKER}Traceback (most recent call last):",
        f'{WORKER}  File "weight_utils.py", line 1208, in safetensors_weights_iterator',
        f"{WORKER}    with safe_open(st_file) as f:",
        *(WORKER + line for line in cause.splitlines()),
        f"{CORE}EngineCore failed to start.",
        f"{CORE}Traceback (most recent call last):",
        f'{CORE}  File "core.py", line 1482, in run_engine_core',
        CORE + wrapped,
        "Process EngineCore:",
        "Traceback (most recent call last):",
        '  File "process.py", line 314, in _bootstrap',
        wrapped,
    ]


def test_the_root_cause_is_read_from_what_the_processes_wrote() -> None:
    cause = explain(DIED, CONFIG, output("safetensors._safetensors_rust.SafetensorError: incomplete metadata"))
    assert cause.sentence == "--model: './my-model' cannot be served: SafetensorError: incomplete metadata"
    assert cause.lines[0].startswith("Traceback")
    assert len(cause.lines) == 4, "the traceback of the cause, and not of what came of it"


def test_colours_do_not_hide_it() -> None:
    lines = [f"\x1b[0;36m{line[:8]}\x1b[0m{line[8:]}" for line in output("RuntimeError: shapes differ")]
    assert explain(DIED, CONFIG, lines).sentence.endswith("RuntimeError: shapes differ")


def test_of_a_chain_the_last_exception_counts() -> None:
    chain = (
        "torch.OutOfMemoryError: tried to allocate 2 GiB\n"
        "\nThe above exception was the direct cause of the following exception:\n"
        "\nTraceback (most recent call last):\n"
        '  File "gpu_model_runner.py", line 1, in profile_run\n'
        "RuntimeError: CUDA out of memory occurred when warming up"
    )
    assert "--tensor-parallel-size" in explain(DIED, CONFIG, output(chain)).sentence


KNOWN = {
    "--max-model-len: 100000 is more than the 4096 tokens": (
        "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (100000) is greater than the"
        " derived max_model_len (max_position_embeddings=4096.0 or model_max_length=None in model's config.json)."
    ),
    "--max-model-len: one context of 4096 tokens needs 3.0 GiB of KV cache, and there is room for 1.0 GiB": (
        "To serve at least one request with the model's max seq len (4096), (3.0 GiB KV cache is needed, which is"
        " larger than the available KV cache memory (1.0 GiB). Based on the available memory, the estimated maximum"
        " model length is 1360. Try increasing `gpu_memory_utilization`"
    ),
    "(on a GPU: --gpu-memory-utilization), or set --max-model-len 1360": (
        "model's max seq len (4096), (3.0 GiB KV cache is needed, which is larger than the available KV cache memory"
        " (1.0 GiB). Based on the available memory, the estimated maximum model length is 1360."
    ),
    "(on a GPU: --gpu-memory-utilization), or lower --max-model-len": (
        "model's max seq len (4096), (3.0 GiB KV cache is needed, which is larger than the available KV cache memory"
        " (1.0 GiB)."
    ),
    "downloaded: the hub cannot be reached": "Cannot reach https://h.co: offline mode is enabled.",
    "--cpu-kv-cache-gib: the KV cache needs 900.0 GiB, but only 10.66 GiB": (
        "Available memory on node 0 (10.66/12.59 GiB) on kv cache allocation is less than requested memory for kv"
        " (900.0 GiB). Decrease --kv-cache-memory-bytes"
    ),
    "--gpu-memory-utilization: the model leaves no memory": "No available memory for the cache blocks. Try increasing",
    "--gpu-memory-utilization: 0.9 of the GPU's memory is 70.0 GiB, but only 3.1 of 79.1 GiB are free": (
        "Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 70.0"
        " GiB). Decrease GPU memory utilization"
    ),
    "--model: the GPU has too little memory for './my-model'": "CUDA out of memory. Tried to allocate 2.00 GiB",
    "vLLM is installed for a GPU, and there is none": "Failed to infer device type, please set the environment",
    "the architecture 'NoSuchLM', which this version of vLLM": (
        "Model architectures ['NoSuchLM'] are not supported for now. Supported architectures: dict_keys([])"
    ),
    "need torchvision": (
        "1 validation error for ModelConfig\n  Value error, Model architectures ['LlavaForConditionalGeneration']"
        " failed to be inspected. Please check the logs for more details. [type=value_error, input_value=ArgsKwargs]"
    ),
    "has the model_type 'nosuch'": (
        "The checkpoint you are trying to load has model type `nosuch` but Transformers does not recognize this"
    ),
    "do not have the shapes that its config.json gives: The size of tensor a (512)": (
        "The size of tensor a (512) must match the size of tensor b (256) at non-singleton dimension 1"
    ),
    "do not fit its config.json: weights were not init": (
        "Following weights were not initialized from checkpoint: {'model.norm.weight'}"
    ),
    "--tensor-parallel-size: 9 does not divide the 4 attention heads": (
        "Value error, Total number of attention heads (4) must be divisible by tensor parallel size (9)."
    ),
    "--model: there is no folder './my-model', and as a name on the Hugging Face hub it cannot be downloaded: https": (
        "We couldn't connect to 'https://h.co' to load the files, and couldn't find them in the cached files."
    ),
    "the program lscpu is missing": "Command 'lscpu --json --online' returned non-zero exit status 127.",
    "no model of that name": "x/y is not a local folder and is not a valid model identifier listed on 'https://h.co'",
}


@pytest.mark.parametrize("said", KNOWN)
def test_what_is_known_names_the_option_and_the_numbers(said: str) -> None:
    for cause in (
        explain(ValueError(KNOWN[said]), CONFIG),
        explain(DIED, CONFIG, output(f"ValueError: {KNOWN[said]}")),
    ):
        assert said in cause.sentence
        assert "\n" not in cause.sentence
        assert not cause.lines, "the sentence says it all"


def test_what_is_not_known_is_quoted_on_one_line() -> None:
    cause = explain(
        ValueError("1 validation error for X\n  Value error, it is\nwrong [type=value_error, input={}]"), CONFIG
    )
    assert cause.sentence == "--model: './my-model' cannot be served: it is wrong"
    assert explain(KeyError("qk_norm"), CONFIG).sentence.endswith("KeyError: 'qk_norm'")


def test_a_killed_process_is_told_of_with_all_that_it_wrote() -> None:
    killed = RuntimeError(
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}"
    )
    cause = explain(killed, CONFIG, ["its last words"])
    assert "SIGKILL" in cause.sentence
    assert "--cpu-kv-cache-gib" in cause.sentence
    assert cause.lines == ["its last words"]
    assert "see its output" in explain(DIED, CONFIG, []).sentence
