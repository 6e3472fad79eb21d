"""Constrained answers to many schemas from a real server, judged by `jsonschema`."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from support.schema_corpus import SchemaCase
from support.schema_judge import SchemaJudge
from tokenwire.v1.chat_pb2 import Choice, FinishReason
from tokenwire_client import AsyncClient, json_schema
from tokenwire_client.errors import ConstraintFailedError, ConstraintInvalidError

MIN_COMPLETE_SHARE = 0.9
"""Of the answers to bounded schemas, with tokens enough."""


@dataclass(slots=True)
class ProofReport:
    """What came of the schemas of a corpus."""

    schemas: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Schemas that the server refused, by what it refuses."""
    failed: Counter[str] = field(default_factory=Counter)
    """Requests that ended with CONSTRAINT_FAILED, by the message."""
    answers: int = 0
    complete: int = 0
    """Answers that ended by themselves."""
    cut: int = 0
    """Answers that were cut by length."""
    invalid: list[str] = field(default_factory=list)
    """What is wrong with each complete answer that is not valid."""

    @property
    def complete_share(self) -> float:
        """Complete answers of all, from 0 to 1."""
        return self.complete / max(self.answers, 1)


async def prove(
    client: AsyncClient, cases: Sequence[SchemaCase], *, in_flight: int, max_tokens: int, timeout_s: float
) -> ProofReport:
    """Ask for an answer to each schema, so many at once; of every fourth at temperature 2, of every fifth for two.

    `timeout_s` bounds a request.
    """
    report, slots = ProofReport(schemas=len(cases)), asyncio.Semaphore(in_flight)

    async def ask(number: int, case: SchemaCase) -> None:
        async with slots:
            completion = await client.chat(
                f"Give me an example of {case.name} as JSON, short.",
                response_format=json_schema(case.schema),
                temperature=2.0 if number % 4 == 3 else 1.0,
                n=2 if number % 5 == 4 else 1,
                seed=number,
                max_completion_tokens=max_tokens,
                timeout_s=timeout_s,
            )
        for choice in completion.choices:
            _count(report, choice, case, number=number)

    async def count(number: int, case: SchemaCase) -> None:
        try:
            await ask(number, case)
        except ConstraintInvalidError as error:
            report.refused[_refused(error)] += 1
        except ConstraintFailedError as error:
            report.failed[str(error)] += 1

    async with asyncio.TaskGroup() as tasks:
        for number, case in enumerate(cases):
            tasks.create_task(count(number, case))
    return report


def _count(report: ProofReport, choice: Choice, case: SchemaCase, *, number: int) -> None:
    report.answers += 1
    if choice.finish_reason == FinishReason.FINISH_REASON_LENGTH:
        report.cut += 1
        return
    report.complete += 1
    if (problem := SchemaJudge(case.schema).problem(choice.content)) is not None:
        report.invalid.append(f"seed {number}: {problem} in {choice.content!r} for {case.schema!r}")


def _refused(error: ConstraintInvalidError) -> str:
    """The keyword that a refusal names, or the words that it begins with: "`the field`: `not` at the top …"."""
    reason = error.violations[0].description.partition("`: ")[2].removeprefix("failed to compile JSON schema: ")
    return reason.split("`")[1] if reason.startswith("`") else " ".join(reason.split()[:6])
