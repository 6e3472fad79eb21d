"""The long run: `python -m fuzz`. Prints a report and ends with 1 where something was wrong."""

import argparse
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from fuzz.http_schema import run_schemathesis
from fuzz.runs import Report, fuzz_contract, fuzz_http
from fuzz.target import Target

NUM_CALLS = 100_000
NUM_REAL_CALLS = 10_000
NUM_HTTP_CALLS = 20_000
NUM_SCHEMA_EXAMPLES = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--calls", type=int, default=NUM_CALLS, help="RPCs to the scripted engine")
    parser.add_argument("--real-calls", type=int, default=NUM_REAL_CALLS, help="RPCs to a tiny random model")
    parser.add_argument("--http-calls", type=int, default=NUM_HTTP_CALLS, help="HTTP requests")
    parser.add_argument("--schema-examples", type=int, default=NUM_SCHEMA_EXAMPLES, help="of schemathesis, a route")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        with Target(log=Path(folder) / "log") as target:
            reports.append(fuzz_contract(target, seed=options.seed, num_calls=options.calls))
            _show("RPCs, scripted engine", reports[-1])
            reports.append(fuzz_http(target, seed=options.seed, num_calls=options.http_calls))
            _show("HTTP, scripted engine", reports[-1])
            print("\n## schemathesis, scripted engine\n", flush=True)
            print(run_schemathesis(target, seed=options.seed, max_examples=options.schema_examples), flush=True)
        with Target(log=Path(folder) / "log", is_real=True) as target:
            reports.append(fuzz_contract(target, seed=options.seed, num_calls=options.real_calls))
            _show("RPCs, tiny random model", reports[-1])
    return 1 if any(report.defects for report in reports) else 0


def _show(title: str, report: Report) -> None:
    print(f"\n## {title}: {report.num_calls:,} calls in {report.seconds:.0f} s\n")
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for (name, status), count in sorted(report.outcomes.items()):
        by_name[name].append(f"{status} {count:,}")
    print("| call | inputs | what came of them |\n|---|---:|---|")
    for name, statuses in by_name.items():
        total = sum(count for (called, _), count in report.outcomes.items() if called == name)
        print(f"| `{name}` | {total:,} | {', '.join(statuses)} |")
    print("\n| | " + " | ".join(report.censuses[0]) + " |\n|---|" + "---:|" * len(report.censuses[0]))
    labels = ["before", *(f"after {count} quarters" for count in range(1, len(report.censuses) - 1)), "settled"]
    for label, census in zip(labels, report.censuses, strict=True):
        print(f"| {label} | " + " | ".join(f"{value:.4g}" for value in census.values()) + " |")
    for defect, example in report.defects.items():
        print(f"\nDEFECT {defect}\n  {example}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
