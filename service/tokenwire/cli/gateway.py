"""`tokenwire gateway`: the REST API alone, in front of a service that runs elsewhere."""

import asyncio
import sys

from cyclopts import App
from cyclopts.config import Env

from tokenwire.config import GatewayConfig
from tokenwire.logs import configure_logs

app = App(name="gateway", config=(Env("TOKENWIRE_", command=False),))


@app.default
def gateway(
    *,
    config: GatewayConfig = GatewayConfig(),  # noqa: B008 (frozen)
) -> int:
    """Serve the OpenAI-compatible REST API of a Tokenwire service that runs elsewhere.

    API keys, request ids and trace contexts are handed on; the service decides. A flag wins over the environment.
    """
    try:
        # Here and not on top: help and wrong flags are then answered without the extra.
        from tokenwire.chat.call import call_fields
        from tokenwire.gateway.gateway import Gateway
        from tokenwire.listen import ListenError, format_address
        from tokenwire.security.watched_files import SecurityFileError
        from tokenwire.signals import stop_on_signals
    except ModuleNotFoundError as error:
        return _fail(f"`tokenwire gateway` needs more packages: pip install 'tokenwire[gateway]' ({error})")

    async def main() -> None:
        server = Gateway(config)
        with stop_on_signals() as signalled:
            try:
                await server.start()
                scheme = "http" if config.tls_cert is None else "https"
                address = format_address(config.host, server.port)
                print(f"tokenwire gateway: {scheme}://{address}/v1 for {config.target}", flush=True)
                await signalled.wait()
            finally:
                await server.stop()

    configure_logs(level=config.log_level, form=config.log_format, context=call_fields)
    try:
        asyncio.run(main())
    except (ListenError, SecurityFileError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"tokenwire: {message}", file=sys.stderr)
    return 1
