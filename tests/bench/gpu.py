"""Everything that is to be known of a GPU, in one call and one table.

python tests/bench/gpu.py [--tiny] [--json FILE] [--parts correctness,kernels,…] [--budget-s 570]

Each part (see gpu_parts) is a process of its own with a time limit of its own, and prints a row as soon as it has it:
what fails or takes too long does not lose the rest. `--tiny` tries out every line of it on a CPU, at sizes that say
nothing of speed: the kernels run in Triton's interpreter.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMITS_S = {
    "correctness": 150,
    "kernels": 70,
    "model": 130,
    "engine": 90,
    "service": 100,
    "generate": 110,
    "batching": 90,
}
"""Of the parts, in their order: what counts most comes first."""


def run_part(part: str, *, tiny: bool, limit_s: float) -> list[dict[str, str]]:
    """The rows that a part printed, and one that says so if it did not end well."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'service'}:{ROOT / 'clients' / 'python'}:{ROOT / 'tests'}"}
    environment |= {"PYTHONUNBUFFERED": "1", **({"TRITON_INTERPRET": "1"} if tiny else {})}
    command = [sys.executable, "-m", "bench.gpu_parts", part, *(["--tiny"] if tiny else [])]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    started = time.monotonic()
    try:
        output, _ = process.communicate(timeout=limit_s)
        end = "" if process.returncode == 0 else f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        output, _ = process.communicate()
        end = f"stopped after {limit_s:.0f} s"
    rows = [{"part": part, **json.loads(line)} for line in output.splitlines() if line.startswith('{"what"')]
    sys.stderr.write(f"-- {part}: {len(rows)} rows in {time.monotonic() - started:.0f} s {end}\n")
    return rows + ([{"part": part, "what": "NOT FINISHED", "value": end, "beside": ""}] if end else [])


def main() -> None:
    """Run the parts, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--parts", default=",".join(LIMITS_S))
    parser.add_argument("--budget-s", type=float, default=570)
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.budget_s
    rows = []
    for part in arguments.parts.split(","):
        remaining = deadline - time.monotonic()
        if remaining < 10:
            rows.append({"part": part, "what": "NOT STARTED", "value": "no time left", "beside": ""})
            continue
        rows += run_part(
            part, tiny=arguments.tiny, limit_s=min(LIMITS_S[part] * (4 if arguments.tiny else 1), remaining)
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("| part | what | value | beside |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['part']} | {row['what']} | {row['value']} | {row['beside']} |")


if __name__ == "__main__":
    main()
