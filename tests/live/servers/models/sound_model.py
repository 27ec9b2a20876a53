"""A tiny model with random weights that takes sound in chats, made by the tests: shaped like Qwen2-Audio."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from tests.live.servers.models.chat_parts import byte_tokenizer, chat_template, text_config

MEL_BINS = 80
TOKENS_PER_S = 25
"""How many tokens stand for a second of sound."""

TEMPLATE = chat_template("audio", "<|audio_bos|><|AUDIO|><|audio_eos|>")


def _rename_weights(file: Path) -> None:
    """Give the language model's weights the names of published checkpoints, which vLLM reads: transformers 5.19 writes
    `model` twice."""
    weights = {name.replace(".model.model.", ".model."): tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


def make_sound_model(folder: Path) -> Path:
    """The model, in `folder`."""
    torch.manual_seed(3)
    tokenizer = byte_tokenizer("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    tokenizer.chat_template = TEMPLATE
    config = Qwen2AudioConfig(
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        audio_config={
            "num_mel_bins": MEL_BINS,
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 128,
        },
        text_config=text_config("qwen2", tokenizer),
        initializer_range=0.5,
    )
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    _rename_weights(folder / "model.safetensors")
    ears = WhisperFeatureExtractor(feature_size=MEL_BINS)
    Qwen2AudioProcessor(ears, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return folder
