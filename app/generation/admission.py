"""What a request to generate passes on either wire, once it has been prepared: its tokens, then its place.

Does not know the wires.
"""

from __future__ import annotations

from app.observability.outcome import Wire
from app.security.caller import Caller
from app.services import Services
from engine.api import Prepared
from engine.deadlines import Deadlines
from engine.generation import Generation


async def run_admitted(
    services: Services, prepared: Prepared, wire: Wire, caller: Caller, deadlines: Deadlines
) -> Generation:
    """Take the prompt's tokens and put the request into the engine; what it makes is counted, too.

    The caller closes what it gets. Raises `TwowireError`; then nothing is held, and nothing was taken.
    """
    await services.rates.reserve(caller.client, prepared.prompt_tokens)
    try:
        observer = services.metrics.wires[wire]
        generation = await services.manager.run(
            prepared, observer, caller.owner, client=caller.client, deadlines=deadlines
        )
    except BaseException:
        await services.rates.spend(caller.client, -prepared.prompt_tokens)
        raise
    services.rates.follow(caller.client, generation)
    return generation
