"""What a person is told when a call fails."""

from tokenwire_client import TokenwireClientError, UnavailableError


def explain(error: TokenwireClientError, *, target: str) -> str:
    """One or more lines, without a trace."""
    if isinstance(error, UnavailableError):
        match error.reason:
            case "MODEL_LOADING":
                return f"the server at {target} is still loading its model; try again in a moment"
            case "DRAINING":
                return f"the server at {target} is shutting down"
            case "":
                hint = "start one with `tokenwire serve` or name another with --target"
                return f"no server answers at {target}, or the connection broke; {hint}\n({error})"
    if error.violations:
        return "\n".join(violation.description for violation in error.violations)
    return str(error)
