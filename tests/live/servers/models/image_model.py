"""A tiny model with random weights that takes images, made by the tests: shaped like Idefics3, which needs no
torchvision. Four tokens stand for an image, and five frame them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

SIDE = 56
"""Each image is scaled to a square of so many pixels."""
PATCH = 14
SCALE = 2
IMAGE_TOKENS = (SIDE // PATCH // SCALE) ** 2

TEMPLATE = """\
{%- for message in messages -%}
<|start|>{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif -%}
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
    tokenizer.add_special_tokens(["<|pad|>", "<|start|>", "<|end|>"])
    tokenizer.add_special_tokens(["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"])
    tokenizer.add_special_tokens([f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=2048
    )


def make_image_model(folder: Path) -> Path:
    """The model, in `folder`."""
    torch.manual_seed(3)
    tokenizer = _tokenizer()
    images = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=TEMPLATE)
    tokenizer.chat_template = TEMPLATE
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<image>", "<|pad|>", "<|end|>")}
    config = Idefics3Config(
        image_token_id=ids["<image>"],
        pad_token_id=ids["<|pad|>"],
        scale_factor=SCALE,
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "pad_token_id": ids["<|pad|>"],
            "bos_token_id": ids["<|end|>"],
            "eos_token_id": ids["<|end|>"],
            "initializer_range": 0.5,
        },
        initializer_range=0.5,
    )
    model = Idefics3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
