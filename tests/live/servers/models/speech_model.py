"""A model of Whisper's shape that writes down a fixed text, whatever it hears.

Its decoder's layers add nothing, so the next token depends on the position alone: see `make_speech_model`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

SPOKEN = "de"
TEXT = "Hello world. Bye."
SEGMENTS = (("Hello world.", 0.0, 2.0), ("Bye.", 2.0, 4.0))
_SCRIPT = [" Hello", " world", ".", "<|2.00|>", "<|2.00|>", " Bye", ".", "<|4.00|>", "<|endoftext|>"]
PROMPT_TOKENS = 4
WORDS = [" Hello", " world", " Bye", " so", " on"]
SIZE = 64
CONTEXT = 448
ENDLESS_PROMPT = "so on " * 10
"""A prompt that shifts the answer beyond the fixed text, to where it has no end but the context's."""


def make_speech_model(folder: Path) -> Path:
    """At position 0 its next token is the language's, from the end of a transcript's usual prompt on `_SCRIPT`; after
    that, words without an end."""
    tokenizer = _tokenizer(folder)
    ids = tokenizer.get_vocab()
    torch.manual_seed(3)
    config = WhisperConfig(
        vocab_size=len(ids),
        d_model=SIZE,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * SIZE,
        decoder_ffn_dim=2 * SIZE,
        max_target_positions=CONTEXT,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    decoder = model.model.decoder
    endless = [WORDS[position % len(WORDS)] for position in range(CONTEXT)]
    first = PROMPT_TOKENS - 1
    wanted = [f"<|{SPOKEN}|>", *endless[1:first], *_SCRIPT, *endless[first + len(_SCRIPT) :]]
    with torch.no_grad():
        for layer in decoder.layers:
            for part in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                part.weight.zero_()
                part.bias.zero_()
        embedded = torch.nn.functional.normalize(torch.randn(len(ids), SIZE), dim=1)
        decoder.embed_tokens.weight.copy_(embedded)
        decoder.embed_positions.weight.copy_(30 * embedded[[ids[token.replace(" ", "Ġ")] for token in wanted]])
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"], max_length=CONTEXT
    )
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> WhisperTokenizer:
    """One token per byte, but for a few words; then Whisper's special tokens, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        whole = "Ġ"
        for letter in word.strip():
            if (whole, letter) not in merges:
                merges.append((whole, letter))
            whole += letter
            vocabulary.setdefault(whole, len(vocabulary))
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = WhisperTokenizer(tokenizer_object=plain, unk_token="<|endoftext|>")
    names = ["startoftranscript", *LANGUAGES, "translate", "transcribe", "startoflm", "startofprev", "nospeech"]
    tags = [f"<|{name}|>" for name in (*names, "notimestamps")]
    tokenizer.add_tokens(["<|endoftext|>", *tags], special_tokens=True)
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(1501)])
    return tokenizer
