"""A tiny model with random weights that takes images, made by the tests: shaped like Idefics3, which needs no
torchvision. Four tokens stand for an image, and five frame them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from tests.live.servers.models.chat_parts import byte_tokenizer, chat_template, text_config

SIDE = 56
"""Each image is scaled to a square of so many pixels."""
PATCH = 14
SCALE = 2
IMAGE_TOKENS = (SIDE // PATCH // SCALE) ** 2

TEMPLATE = chat_template("image", "<image>")


def make_image_model(folder: Path) -> Path:
    """The model, in `folder`."""
    torch.manual_seed(3)
    tokenizer = byte_tokenizer(
        *("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"),
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    )
    images = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=TEMPLATE)
    tokenizer.chat_template = TEMPLATE
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=SCALE,
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config=text_config("llama", tokenizer),
        initializer_range=0.5,
    )
    model = Idefics3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
