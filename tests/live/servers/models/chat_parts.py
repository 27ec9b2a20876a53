"""What the tests' models of images and of sound have in common: a tokenizer, a chat template and a language model."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def chat_template(kind: str, written: str) -> str:
    """One in which parts of one `kind` are `written` so."""
    return """\
{%- for message in messages -%}
<|start|>{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for part in message['content'] -%}
{%- if part['type'] == 'KIND' %}WRITTEN{% else %}{{ part['text'] }}{% endif -%}
{%- endfor %}{% endif %}<|end|>
{%- endfor -%}
{%- if add_generation_prompt %}<|start|>assistant: {% endif -%}
""".replace("KIND", kind).replace("WRITTEN", written)


def byte_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """One token for each byte, and the `special` ones that a processor needs."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>", "<|start|>", "<|end|>", *special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=2048
    )


def text_config(model_type: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The configuration of the language model."""
    return {
        "model_type": model_type,
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.5,
    }
