"""Lets a trained guide answer, many prompts at a time, by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.dialogues.dialogues import Message

BATCH = 24


class Answering:
    """A guide in a folder. Greedy unless a temperature is given."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._model.eval()

    def prompt(self, messages: list[Message], **template_arguments: Any) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **template_arguments
        )
        return text

    def answers(self, prompts: list[str], *, max_tokens: int = 320, temperature: float = 0.0) -> list[str]:
        """The answer to each prompt, without the token that ends it."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            texts = self._generate([prompts[at] for at in places], max_tokens, temperature)
            for at, text in zip(places, texts, strict=True):
                answers[at] = text
        return answers

    def _generate(self, prompts: list[str], max_tokens: int, temperature: float) -> list[str]:
        import torch

        asked = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        sampling = {"temperature": temperature, "top_k": 0} if temperature else {"temperature": None}
        with torch.inference_mode():
            made = self._model.generate(**asked, max_new_tokens=max_tokens, do_sample=temperature > 0, **sampling)
        texts: list[str] = self.tokenizer.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts
