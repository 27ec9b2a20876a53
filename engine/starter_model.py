"""Makes the small random Llama that is served until a trained model ships: it babbles, through the real path.

Knows nothing of vLLM, torch or transformers: it writes the files that they read.

The model is random but for a few hidden dimensions that no layer writes to. They carry a constant and the
class of the current byte (vowel, consonant, ...) unchanged from the embedding to the output, where they weigh
the next byte by English letter frequencies and by which class follows which. The random rest sees the whole
context and stirs that choice, so that a greedy answer does not fall into a loop. Sampled at temperature 1, an
answer ends by itself after a hundred tokens or two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Weights = dict[str, NDArray[np.float32]]

SEED = 20
HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE, CONTEXT = 128, 4, 4, 2, 384, 2048
HEAD_SIZE = HIDDEN // HEADS

BEGIN, END = "<|begin|>", "<|end|>"
# A token's id is its place here, after the 256 bytes, whose ids are their values.
SPECIAL_TOKENS = (BEGIN, END, "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
VOCABULARY = 256 + len(SPECIAL_TOKENS)

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] in ('system', 'developer') -%}
    {{- '<|system|>' -}}
  {%- elif message['role'] in ('user', 'assistant', 'tool') -%}
    {{- '<|' + message['role'] + '|>' -}}
  {%- else -%}
    {{- raise_exception('There is no role ' + message['role']
                        + '; use system, developer, user, assistant or tool.') -}}
  {%- endif -%}
  {{- message['content'] or '' -}}
  {%- if message['tool_calls'] -%}
    {{- message['tool_calls'] | tojson -}}
  {%- endif -%}
  {{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|assistant|>' -}}
{%- endif -%}
"""

# How often a byte comes, in percent. The bytes that are not named come as often as the four lines below say.
FREQUENCIES = {
    " ": 18, "e": 12.7, "t": 9.1, "a": 8.2, "o": 7.5, "i": 7.0, "n": 6.7, "s": 6.3, "h": 6.1, "r": 6.0,
    "d": 4.3, "l": 4.0, "c": 2.8, "u": 2.8, "m": 2.4, "w": 2.4, "f": 2.2, "g": 2.0, "y": 2.0, "p": 1.9,
    "b": 1.5, "v": 1.0, "k": 0.8, ".": 1.2, ",": 1.2, "j": 0.15, "x": 0.15, "q": 0.1, "z": 0.1,
    # More than in prose: under a JSON schema strings and objects end only when these come.
    '"': 1.2, ":": 0.15, "}": 0.15, "]": 0.15,
}  # fmt: skip
OTHER_PRINTABLE = 0.03
NEITHER_PRINTABLE_NOR_ASCII = 0.0005
END_OF_ANSWER = 0.4
OTHER_SPECIAL = 1e-7

CLASSES = ("vowel", "consonant", "space", "mark")
# What is added to the log frequency of a byte of one class (column) after a byte of another (row).
FOLLOWS = (
    (-1.5, 0.5, 0.0, 0.0),
    (0.8, -1.5, -0.5, -0.5),
    (0.0, 0.0, -12.0, -4.0),
    (-2.0, -2.0, 3.0, -3.0),
)

# The hidden dimensions that no layer writes to: a constant, then one for each class.
RESERVED = 1 + len(CLASSES)
RESERVED_SIZE = 6.0
# The spread of what the random dimensions add to the logits.
STIR = 1.4
# About how large the last layer leaves the hidden state (its root mean square).
RESIDUAL_SIZE = 3.0


def starter_model_path() -> Path:
    """The folder that the starter model lies in by default; it need not exist.

    The name follows this file's text, so a changed script makes its model anew, beside the old one.
    """
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    # The XDG base directory specification: unset, empty and relative values all mean the default.
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = configured if configured.is_absolute() else Path.home() / ".cache"
    return cache / "twowire" / f"starter-model-{version}"


def ensure_starter_model(folder: Path | None = None) -> Path:
    """Makes the starter model in `folder` (by default the path above) if it is not there; returns the folder.

    Safe when several processes do this at once: each makes its own, and the first that is done is kept.
    Raises `FileExistsError` if the folder holds something else.
    """
    folder = folder or starter_model_path()
    if _is_model(folder):
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something else than a model; name an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In the same file system, so that the rename below is one step: nobody ever sees half a model.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_model(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        # Another process was first, and a rename replaces only an empty folder. Both made the same files.
        if not _is_model(folder):
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _write_model(folder: Path) -> None:
    _write_weights(folder / "model.safetensors", make_weights())
    make_tokenizer().save(str(folder / "tokenizer.json"))
    end, pad = _special_id(END), _special_id("<|pad|>")
    ids = {"bos_token_id": _special_id(BEGIN), "eos_token_id": end, "pad_token_id": pad}
    names = {"bos_token": BEGIN, "eos_token": END, "pad_token": "<|pad|>"}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        **ids,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
        **names,
    }
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "special_tokens_map.json", names)
    _write_json(folder / "generation_config.json", ids)
    _write_json(folder / "config.json", config)


def _write_weights(path: Path, weights: Weights) -> None:
    """Writes the safetensors format: the header's length (u64), the header (JSON), the matrices in its order.

    By hand, because numpy has no bfloat16 for the safetensors library to see. Source: the description of the
    format in the README of huggingface/safetensors.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    matrices: list[bytes] = []
    offset = 0
    for name, matrix in weights.items():
        content = _as_bfloat16(matrix)
        offsets = [offset, offset + len(content)]
        header[name] = {"dtype": "BF16", "shape": list(matrix.shape), "data_offsets": offsets}
        matrices.append(content)
        offset += len(content)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the matrices begin at a multiple of eight
    path.write_bytes(b"".join([len(encoded).to_bytes(8, "little"), encoded, *matrices]))


def _as_bfloat16(matrix: NDArray[np.float32]) -> bytes:
    """The upper halves of the float32 values, rounded to the nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(matrix).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _special_id(token: str) -> int:
    return 256 + SPECIAL_TOKENS.index(token)


def make_tokenizer() -> Tokenizer:
    """A byte-level tokenizer without merges: a token for each byte, its id the byte, and the special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = {character: byte for byte, character in enumerate(_byte_alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    # Nothing merges, so there are no words to be kept apart.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special_tokens = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    tokenizer.add_special_tokens(special_tokens)
    # A raw prompt begins like a chat does; this also makes the empty prompt one token long.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, _special_id(BEGIN))]
    )
    return tokenizer


def _byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    stand_ins = {byte: 0x100 + place for place, byte in enumerate(others)}
    return [chr(stand_ins.get(byte, byte)) for byte in range(256)]


def make_weights() -> Weights:
    """The weights under the names of Hugging Face's Llama, float32, the same on every call."""
    import numpy as np

    generator = np.random.default_rng(SEED)

    def random(rows: int, columns: int, gain: float) -> NDArray[np.float32]:
        """A matrix (rows, columns) whose product with a vector of spread 1 has the spread `gain`."""
        matrix = generator.standard_normal((rows, columns), np.float32)
        return matrix * np.float32(gain / np.sqrt(columns))

    # No layer sees the reserved dimensions, so that only the output weighs them.
    blind = np.ones(HIDDEN, np.float32)
    blind[:RESERVED] = 0
    weights: Weights = {"model.norm.weight": np.ones(HIDDEN, np.float32)}
    for layer in range(LAYERS):
        to_residual = {
            "self_attn.o_proj": random(HIDDEN, HEADS * HEAD_SIZE, 1.5),
            "mlp.down_proj": random(HIDDEN, INTERMEDIATE, 2.0),
        }
        for matrix in to_residual.values():
            matrix[:RESERVED] = 0
        matrices = {
            # Above 1, so that attention chooses a few places instead of averaging all.
            "self_attn.q_proj": random(HEADS * HEAD_SIZE, HIDDEN, 2.0),
            "self_attn.k_proj": random(KV_HEADS * HEAD_SIZE, HIDDEN, 2.0),
            "self_attn.v_proj": random(KV_HEADS * HEAD_SIZE, HIDDEN, 1.0),
            "mlp.gate_proj": random(INTERMEDIATE, HIDDEN, 1.0),
            "mlp.up_proj": random(INTERMEDIATE, HIDDEN, 1.0),
            **to_residual,
            "input_layernorm": blind,
            "post_attention_layernorm": blind.copy(),
        }
        weights |= {f"model.layers.{layer}.{name}.weight": matrix for name, matrix in matrices.items()}

    classes = [_class_of(token) for token in range(VOCABULARY)]
    embedding = generator.standard_normal((VOCABULARY, HIDDEN), np.float32)
    embedding[:, :RESERVED] = 0
    embedding[:, 0] = RESERVED_SIZE
    embedding[range(VOCABULARY), [1 + of_token for of_token in classes]] = RESERVED_SIZE
    weights["model.embed_tokens.weight"] = embedding

    output = random(VOCABULARY, HIDDEN, STIR)
    # The last norm shrinks the reserved dimensions with the others; this is about what it leaves of them.
    left = RESERVED_SIZE / RESIDUAL_SIZE
    output[:, 0] = np.log([_frequency_of(token) for token in range(VOCABULARY)]) / left
    output[:, 1:RESERVED] = np.array(FOLLOWS, np.float32).T[classes] / left
    weights["lm_head.weight"] = output
    return weights


def _class_of(token: int) -> int:
    character = chr(token)
    if token >= 256 or character.isspace():
        # What comes after a special token begins a word.
        name = "space"
    elif token < 128 and character.isalnum():
        name = "vowel" if character in "aeiouyAEIOUY" else "consonant"
    else:
        name = "mark"
    return CLASSES.index(name)


def _frequency_of(token: int) -> float:
    if token >= 256:
        return END_OF_ANSWER if token == _special_id(END) else OTHER_SPECIAL
    character = chr(token)
    if character in FREQUENCIES:
        return FREQUENCIES[character]
    return OTHER_PRINTABLE if character.isascii() and character.isprintable() else NEITHER_PRINTABLE_NOR_ASCII


def main() -> None:
    """Makes the model in the folder that the command line names, or in the default one, and prints which."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--quiet"]
    folder = ensure_starter_model(Path(arguments[0]) if arguments else None)
    if "--quiet" not in sys.argv:
        print(folder)


if __name__ == "__main__":
    main()
