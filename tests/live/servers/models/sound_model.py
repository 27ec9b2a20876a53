"""A tiny model with random weights that takes sound in chats, made by the tests: shaped like Qwen2-Audio."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

MEL_BINS = 80
TOKENS_PER_S = 25
"""How many tokens stand for a second of sound."""

TEMPLATE = """\
{%- for message in messages -%}
<|start|>{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for part in message['content'] -%}
{%- if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif -%}
{%- endfor %}{% endif %}<|end|>
{%- endfor -%}
{%- if add_generation_prompt %}<|start|>assistant: {% endif -%}
"""


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and those that the processor needs."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>", "<|start|>", "<|end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=2048
    )


def _rename_weights(file: Path) -> None:
    """Give the language model's weights the names of published checkpoints, which vLLM reads: transformers 5.19 writes
    `model` twice."""
    weights = {name.replace(".model.model.", ".model."): tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


def make_sound_model(folder: Path) -> Path:
    """The model, in `folder`."""
    torch.manual_seed(3)
    tokenizer = _tokenizer()
    tokenizer.chat_template = TEMPLATE
    end, pad = (tokenizer.convert_tokens_to_ids(name) for name in ("<|end|>", "<|pad|>"))
    config = Qwen2AudioConfig(
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        audio_config={
            "num_mel_bins": MEL_BINS,
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 128,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "pad_token_id": pad,
            "bos_token_id": end,
            "eos_token_id": end,
            "initializer_range": 0.5,
        },
        initializer_range=0.5,
    )
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    _rename_weights(folder / "model.safetensors")
    ears = WhisperFeatureExtractor(feature_size=MEL_BINS)
    Qwen2AudioProcessor(ears, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return folder
