"""Scores a trained guide on the held-out questions; `make guide-eval` runs it."""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import GUIDE
from training.answering import Answering
from training.dialogues.dialogues import Message
from training.dialogues.skills import counted
from training.dialogues.topics import HELD_OUT, Topic, read_toml, read_topics
from training.language.noise import Language
from training.schedule import STEPS

CARD = Path(__file__).with_name("card.md")
SEED = 11
COUNTS = 30
COUNT_MAX_SPAN = 200
DECLINED = {"en": "only know this server", "ko": "이 서버에 대해서만"}
CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
SAMPLED = 20


@dataclass(frozen=True, slots=True)
class Result:
    """One question, what was answered, and whether that is right."""

    group: str
    question: str
    answer: str
    is_right: bool


class Evaluation:
    """All held-out questions, put to one guide."""

    def __init__(self, guide: Answering) -> None:
        self._guide = guide
        self._topics = read_topics()
        self._skills: list[dict[str, Any]] = read_toml(HELD_OUT / "skills.toml")["case"]

    def run(self) -> Iterator[Result]:
        yield from self._asked_topics("topics", "topics")
        yield from self._asked_topics("newcomer", "a newcomer's questions")
        yield from self._asked_topics("expert", "an expert's questions")
        yield from self._dialogues()
        yield from self._unknown()
        yield from self._counting()
        yield from self._exercises()
        yield from self._tool_calls()
        yield from self._tool_results()

    def samples(self) -> Iterator[tuple[str, str]]:
        """Some held-out questions and their answers at temperature 0.7."""
        questions = random.Random(SEED).sample(read_toml(HELD_OUT / "topics.toml")["question"], SAMPLED)
        texts = [question["text"] for question in questions]
        yield from zip(texts, self._guide.answers([self._prompt(text) for text in texts], temperature=0.7), strict=True)

    def _prompt(self, *texts: str) -> str:
        """Of one question, or of a dialogue that begins with the user and ends with the user."""
        roles = ("user", "assistant")
        return self._guide.prompt([{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)])

    def _asked_topics(self, name: str, group: str) -> Iterator[Result]:
        """The questions of a file; some of them follow on another, and its answer."""
        questions = read_toml(HELD_OUT / f"{name}.toml")["question"]
        before = [question["after"] for question in questions if "after" in question]
        said = dict(zip(before, self._guide.answers([self._prompt(text) for text in before]), strict=True))
        texts = [[text for text in (question.get("after"), said.get(question.get("after")), question["text"]) if text]
                 for question in questions]  # fmt: skip
        answers = self._guide.answers([self._prompt(*turns) for turns in texts])
        for question, answer in zip(questions, answers, strict=True):
            yield self._judged(group, question, question["text"], answer)

    def _judged(self, group: str, question: dict[str, Any], asked: str, answer: str) -> Result:
        topic: Topic = self._topics[question["topic"]]
        language: Language = question["lang"]
        return Result(f"{group} {language}", f"[{topic.name}] {asked}", answer, topic.is_answered_by(answer, language))

    def _dialogues(self) -> Iterator[Result]:
        """Each turn follows the guide's own answers, as in use."""
        dialogues = read_toml(HELD_OUT / "dialogues.toml")["dialogue"]
        said: list[list[str]] = [[] for _ in dialogues]
        for turn in range(max(len(dialogue["turns"]) for dialogue in dialogues)):
            going = [at for at, dialogue in enumerate(dialogues) if turn < len(dialogue["turns"])]
            for at in going:
                said[at].append(dialogues[at]["turns"][turn]["text"])
            for at, answer in zip(going, self._guide.answers([self._prompt(*said[at]) for at in going]), strict=True):
                said[at].append(answer)
                question = {"lang": dialogues[at]["lang"], **dialogues[at]["turns"][turn]}
                group = "dialogues, first turn" if turn == 0 else "dialogues, later turns"
                yield self._judged(group, question, " / ".join(said[at][:-1:2]), answer)

    def _unknown(self) -> Iterator[Result]:
        questions = read_toml(HELD_OUT / "unknown.toml")["question"]
        answers = self._guide.answers([self._prompt(question["text"]) for question in questions])
        for question, answer in zip(questions, answers, strict=True):
            yield Result(f"unknown {question['lang']}", question["text"], answer, DECLINED[question["lang"]] in answer)

    def _counting(self) -> Iterator[Result]:
        rng = random.Random(SEED)
        asked: list[tuple[str, str]] = []
        for _ in range(COUNTS):
            span = rng.randint(1, COUNT_MAX_SPAN)
            first = rng.randint(0, 1000 - span)
            text = rng.choice([case["text"] for case in self._skills if case["kind"] == "count"])
            text = text.replace("{a}", str(first)).replace("{b}", str(first + span))
            asked.append((text, counted(first, first + span)))
        answers = self._guide.answers([self._prompt(text) for text, _ in asked], max_tokens=2 * COUNT_MAX_SPAN + 20)
        for (text, expected), answer in zip(asked, answers, strict=True):
            yield Result("counting", text, answer, answer == expected)

    def _exercises(self) -> Iterator[Result]:
        cases = [case for case in self._skills if case["kind"] != "count"]
        answers = self._guide.answers([self._prompt(case["text"]) for case in cases])
        for case, answer in zip(cases, answers, strict=True):
            yield Result(case["kind"], case["text"], answer, self._is_done(case, answer))

    def _is_done(self, case: dict[str, Any], answer: str) -> bool:
        kind, language = case["kind"], case["lang"]
        if kind in ("greeting", "who"):
            return self._topics["greet" if kind == "greeting" else "who-are-you"].is_answered_by(answer, language)
        if kind == "list":
            places = [answer.find(item) for item in case["expect"]]
            return places == sorted(places) and places[0] >= 0
        return bool(answer == case["expect"])

    def _tool_calls(self) -> Iterator[Result]:
        cases = read_toml(HELD_OUT / "tools.toml")["case"]
        answers = self._guide.answers([self._guide.prompt(_asking(case), tools=_tools(case)) for case in cases])
        for case, answer in zip(cases, answers, strict=True):
            group = f"tool calls {case['lang']}" if case["expect_name"] else "no tool fits"
            yield Result(group, case["text"], answer, _is_expected_call(case, answer))

    def _tool_results(self) -> Iterator[Result]:
        cases = [case for case in read_toml(HELD_OUT / "tools.toml")["case"] if "result" in case]
        prompts = [self._guide.prompt(_answered(case), tools=_tools(case)) for case in cases]
        for case, answer in zip(cases, self._guide.answers(prompts), strict=True):
            is_right = all(part in answer for part in _listed(case["expect_contains"]))
            yield Result("tool results", f"{case['text']} {case['result']}", answer, is_right)


def _listed(one_or_more: str | list[str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def _tools(case: dict[str, Any]) -> list[Any]:
    return [json.loads(tool) for tool in case["tools"]]


def _asking(case: dict[str, Any]) -> list[Message]:
    return [{"role": "user", "content": case["text"]}]


def _answered(case: dict[str, Any]) -> list[Message]:
    function = {"name": case["expect_name"], "arguments": json.loads(case["expect_arguments"])}
    call: Message = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    return [*_asking(case), call, {"role": "tool", "content": case["result"]}]


def _is_expected_call(case: dict[str, Any], answer: str) -> bool:
    calls = CALL.findall(answer)
    if not case["expect_name"]:
        return "<tool_call>" not in answer
    try:
        (call,) = [json.loads(text) for text in calls]
    except ValueError:
        return False
    expected = {"name": case["expect_name"], "arguments": json.loads(case["expect_arguments"])}
    return bool(call == expected)


def scores(results: Iterable[Result]) -> dict[str, tuple[int, int]]:
    """For each group, how many were right, and of how many."""
    groups: dict[str, tuple[int, int]] = {}
    for result in results:
        right, of = groups.get(result.group, (0, 0))
        groups[result.group] = (right + result.is_right, of + 1)
    return groups


def table(results: Iterable[Result]) -> str:
    """The scores in Markdown."""
    rows = [f"| {group} | {right} of {of} | {right / of:.1%} |" for group, (right, of) in scores(results).items()]
    return "\n".join(["| Questions | Right | |", "|---|---|---|", *rows])


def write_card(folder: Path, results: Iterable[Result]) -> None:
    """Puts the model card beside the weights, with the scores just measured."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = (folder / "model.safetensors").stat().st_size
    topics = read_topics().values()
    values = {
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "parameters": f"{weights / 2 / 1e6:.1f}",
        "megabytes": f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f}",
        "vocabulary": f"{config['vocab_size']:,}",
        "context": f"{config['max_position_embeddings']:,}",
        "steps": f"{STEPS:,}",
        "topics": len(topics),
        "questions": f"{sum(len(asked) for topic in topics for asked in topic.questions.values()):,}",
        "scores": table(results),
    }
    text = CARD.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Score the guide.")
    parser.add_argument("folder", type=Path, nargs="?", default=GUIDE, help="engine/guide by default")
    parser.add_argument("--failures", action="store_true", help="print the questions that were answered wrongly")
    parser.add_argument("--card", action="store_true", help="write the scores into the model card beside the weights")
    arguments = parser.parse_args()
    evaluation = Evaluation(Answering(arguments.folder))
    results = list(evaluation.run())
    if arguments.failures:
        for result in results:
            if not result.is_right:
                print(f"--- {result.group}: {result.question}\n{result.answer}\n")
    for question, answer in evaluation.samples():
        print(f"--- at temperature 0.7: {question}\n{answer}\n")
    print(table(results))
    if arguments.card:
        write_card(arguments.folder, results)


if __name__ == "__main__":
    main()
