"""Draws whole dialogues for training: topics, exercises, tools, refusals, one to three turns."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from training.dialogues.roles import Definition, Marks
from training.dialogues.skills import FEW_LONG, Exchange, LongCounts, Skills
from training.dialogues.tools import Case, Tools
from training.dialogues.topics import DATA, Topic, read_toml, read_topics
from training.language.noise import Language, framed, roughened
from training.language.spintax import draw

Message = dict[str, Any]
"""As in OpenAI's interface."""

KOREAN_SHARE = 0.45
THINKING_SHARE = 0.06
SYSTEM_SHARE = 0.15
COUNT, REPEAT = "count", "repeat"
OFTEN = {"greet": 4, "who-are-you": 3}
"""How often a topic is drawn, in place of once: a first minute begins with these."""
NO_TOOL_SHARE = 0.2
TOOL = "tool {}"
"""The kind of a call and of the answer from its result, by the tool of the data."""
COPYING = {TOOL: 0.6, COUNT: 0.2, REPEAT: 0.2}
"""Of the questions that are answered by copying, when they are asked alone."""
SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are the guide.", "Answer briefly.", "Be concise.", "You are a chatbot.",
    "You are a helpful assistant. Answer in Markdown.", "Help the user with the server.", "Be polite and precise.",
    "You answer questions about twowire.", "You are an AI model.", "친절하게 답해 주세요.", "당신은 유용한 조수입니다.",
    "Keep answers short.", "You are a support agent.", "Never make things up.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shares:
    """How many dialogues have tools, and of the other turns, how many are an exercise. The rest is topics."""

    tools: float
    exercises: Mapping[str, float]
    long_counts: LongCounts = FEW_LONG
    calls: tuple[float, ...] = (0.35, 0.25, 0.2, 0.2)
    """Of the dialogues with a call, how many have one, two and so on."""
    results: float = 0.4
    earlier_results: float = 1.0
    """Of the last call, and of those before it, how many have their result and the answer from it."""
    invented_names: float = 0.15
    """Of the tools, how many have a name that does not say what they do."""


SHARES = Shares(0.24, {COUNT: 0.12, REPEAT: 0.10, "listing": 0.015, "json": 0.03, "unknown": 0.14})
# What is learned last: more of what is to be copied letter by letter, and more calls to a tool that was read.
LAST_SHARES = Shares(
    0.36,
    {COUNT: 0.12, REPEAT: 0.09, "listing": 0.01, "json": 0.02, "unknown": 0.13},
    LongCounts(0.15, 400),
    calls=(0.25, 0.15, 0.15, 0.15, 0.15, 0.15),
    results=0.3,
    earlier_results=0.4,
    invented_names=0.3,
)


@dataclass(slots=True)
class Dialogue:
    """Messages that end with the assistant's; every assistant message is to be learned."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None
    marks: list[Marks | None] = field(default_factory=list)
    """Of each answer's question."""
    definitions: list[Definition] = field(default_factory=list)
    """Of the tools."""
    enable_thinking: bool = False
    is_exact: bool = False
    """The last answer is to be learned to its end: a count, a call, a thought."""
    kind: str = ""
    """What the last question is about: a topic's name, an exercise's, or a tool's."""

    def add(self, role: str, asked: str, answer: Message, marks: Marks | None) -> None:
        self.messages += [{"role": role, "content": asked}, {"role": "assistant", **answer}]
        self.marks.append(marks)


class Dialogues:
    """Everything there is to learn, to be drawn from."""

    def __init__(self, shares: Shares = SHARES, often: Mapping[str, int] = MappingProxyType(OFTEN)) -> None:
        self.shares = shares
        self.topics = read_topics()
        self._skills = Skills(shares.long_counts)
        self.tools = Tools(shares.invented_names)
        unknown = read_toml(DATA / "unknown.toml")
        self._unknown = {"en": unknown["en"], "ko": unknown["ko"]}
        self._lists: dict[str, list[str]] = unknown["lists"]
        self._names = list(self.topics)
        self._weights = [often.get(name, 1) for name in self._names]
        names = (*self.topics, *shares.exercises, *map(TOOL.format, self.tools.ids))
        self.kinds = {name: number for number, name in enumerate(names)}

    def draw(self, rng: random.Random) -> Dialogue:
        """One dialogue. With the same generator in the same state, the same one."""
        dialogue = Dialogue(enable_thinking=rng.random() < THINKING_SHARE)
        language: Language = "ko" if rng.random() < KOREAN_SHARE else "en"
        if rng.random() < SYSTEM_SHARE:
            dialogue.messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        if rng.random() < self.shares.tools:
            self._with_tools(dialogue, language, rng)
            return dialogue
        turns = rng.choices((1, 2, 3), (0.66, 0.24, 0.10))[0]
        last: Topic | None = None
        for _ in range(turns):
            if rng.random() < 0.06:
                language = "en" if language == "ko" else "ko"
            last = self._turn(dialogue, language, last, rng)
        return dialogue

    def marked(self, language: Language, rng: random.Random, shares: Mapping[str, float] = COPYING) -> Dialogue:
        """One question that is answered by copying parts of it, with its marks. No tools are told.

        `shares` are those of `TOOL`, `COUNT` and `REPEAT`.
        """
        dialogue = Dialogue()
        kind = rng.choices(*zip(*shares.items(), strict=True))[0]
        if kind == TOOL:
            self._call(dialogue, self.tools.case(self.tools.offered(rng)[0], language, rng), language, rng)
        else:
            self._exercise(dialogue, kind, language, rng)
        return dialogue

    def _turn(self, dialogue: Dialogue, language: Language, last: Topic | None, rng: random.Random) -> Topic | None:
        """Adds a turn that may lean on the one before; returns its topic, if it has one."""
        if last is not None and last.follow_ups and rng.random() < 0.5:
            follow_up = rng.choice(last.follow_ups)
            return self._ask(dialogue, self.topics[follow_up.topic], follow_up.questions[language], language, rng)
        if last is not None and rng.random() < 0.15:
            self._once_more(dialogue, last, language, rng)
            return last
        exercises = self.shares.exercises
        kind = rng.choices([*exercises, "topic"], [*exercises.values(), 1 - sum(exercises.values())])[0]
        if kind != "topic":
            self._exercise(dialogue, kind, language, rng)
            return None
        topic = self.topics[rng.choices(self._names, self._weights)[0]]
        return self._ask(dialogue, topic, topic.questions[language], language, rng)

    def _ask(
        self, dialogue: Dialogue, topic: Topic, questions: list[str], language: Language, rng: random.Random
    ) -> Topic:
        dialogue.kind = topic.name
        question = draw(rng.choice(questions), rng)
        self._add(dialogue, topic_exchange(question, topic, language, rng), language, rng)
        return topic

    def _once_more(self, dialogue: Dialogue, topic: Topic, language: Language, rng: random.Random) -> None:
        """«Say it again», «and in Korean?»: the last answer, perhaps in the other language."""
        dialogue.kind = topic.name
        kind = rng.choice(("again", "in_korean", "in_english"))
        if kind == "again":
            answer = dialogue.messages[-1]["content"].split("</think>")[-1].strip()
        else:
            answer = rng.choice(topic.answers["ko" if kind == "in_korean" else "en"])
        question = self._skills.again(kind, language, rng)
        self._add(dialogue, Exchange(question, answer, "Give the last answer once more.", False), language, rng)

    def _exercise(self, dialogue: Dialogue, kind: str, language: Language, rng: random.Random) -> None:
        dialogue.kind = kind
        make = self._declined if kind == "unknown" else getattr(self._skills, kind)
        self._add(dialogue, make(language, rng), language, rng)

    def _declined(self, language: Language, rng: random.Random) -> Exchange:
        question = draw(rng.choice(self._unknown[language]["ask"]), rng)
        question = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(self._lists[f"{language}_{slot[1]}"]), question)
        answer = rng.choice(self._unknown[language]["decline"])
        return Exchange(question, answer, "That is not about this server, and I only know this server.", False)

    def _add(self, dialogue: Dialogue, exchange: Exchange, language: Language, rng: random.Random) -> None:
        question = exchange.question
        if not exchange.is_exact:
            question = roughened(question, language, rng)
        elif not exchange.is_literal:
            question = framed(question, language, rng)
        thought = f"<think>\n{exchange.thought}\n</think>\n\n" if dialogue.enable_thinking else ""
        dialogue.is_exact = dialogue.enable_thinking or exchange.is_exact
        dialogue.add("user", question, {"content": thought + exchange.answer}, exchange.marks)

    def _with_tools(self, dialogue: Dialogue, language: Language, rng: random.Random) -> None:
        """Questions that call for a tool, their results and the answers; in some, no call fits."""
        offered = self.tools.offered(rng)
        dialogue.tools = [one.definition for one in offered]
        dialogue.definitions = [one.roles for one in offered]
        if rng.random() < NO_TOOL_SHARE:
            self._turn(dialogue, language, None, rng)
            return
        dialogue.is_exact = True
        calls = self.shares.calls
        for left in reversed(range(rng.choices(range(1, len(calls) + 1), calls)[0])):
            case = self.tools.case(rng.choice(offered), language, rng)
            self._call(dialogue, case, language, rng)
            if rng.random() < (self.shares.earlier_results if left else self.shares.results):
                dialogue.add("tool", case.result, {"content": case.answer}, None)

    def _call(self, dialogue: Dialogue, case: Case, language: Language, rng: random.Random) -> None:
        dialogue.kind = TOOL.format(case.tool)
        thought = f"<think>\nThe tool {case.name} fits.\n</think>\n\n" if dialogue.enable_thinking else ""
        call = {"type": "function", "function": {"name": case.name, "arguments": case.arguments}}
        answer: Message = {"content": thought, "tool_calls": [call]}
        dialogue.add("user", framed(case.question, language, rng), answer, case.marks)


def topic_exchange(question: str, topic: Topic, language: Language, rng: random.Random) -> Exchange:
    thought = f"The question is about {topic.name.replace('-', ' ')}."
    return Exchange(question, rng.choice(topic.answers[language]), thought, is_exact=False)
